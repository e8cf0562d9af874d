//! What can be wrong with a request, each with the RocketMQ code that the official clients expect for it.

use rq_core::handle::NotAHandle;
use rq_filter::SyntaxError;
use rq_proto::rocketmq::Code;
use thiserror::Error;

/// What is wrong with the name of a topic or consumer group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NameFault {
    /// Nothing but white space.
    #[error("it is blank")]
    Blank,
    /// Another character than `%|a-zA-Z0-9_-`.
    #[error("only letters, digits, '%', '|', '_' and '-' are allowed")]
    Character,
    /// Longer than allowed.
    #[error("it is longer than {limit} characters")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Kept for the broker itself.
    #[error("the name is reserved for the broker")]
    Reserved,
}

/// Why a request is refused before it reaches the engine. Nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Invalid {
    /// No or a blank `x-mq-client-id`.
    #[error(
        "the metadata x-mq-client-id is missing or blank: send a unique id of the client with every call"
    )]
    ClientIdRequired,
    /// The client id cannot be read.
    #[error(
        "the metadata x-mq-client-id has characters that are not printable ASCII: give the client an id without them"
    )]
    ClientIdNotAscii,
    /// The client id is longer than allowed.
    #[error("the metadata x-mq-client-id has {len} bytes: use at most {limit}")]
    ClientIdTooLong {
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The name of a topic.
    #[error("illegal topic name {name:?}: {fault}; choose another name")]
    Topic {
        /// The name.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// A message for a dead-letter topic.
    #[error("topic {name:?} holds dead letters, which only the broker writes: send to another topic")]
    DeadLetterTopic {
        /// The topic.
        name: String,
    },
    /// The name of a consumer group.
    #[error("illegal consumer group name {name:?}: {fault}; choose another name")]
    Group {
        /// The name.
        name: String,
        /// What is wrong with it.
        fault: NameFault,
    },
    /// The access point in the request.
    #[error("illegal access point {host:?}:{port}: give a host and a port from 1 to 65535")]
    AccessPoint {
        /// The host.
        host: String,
        /// The port.
        port: i32,
    },
    /// A send without a message.
    #[error("the request has no message: send at least one")]
    NoMessages,
    /// A send with messages of several topics.
    #[error("the messages are of different topics: send each topic's messages in a request of their own")]
    MixedTopics,
    /// A send with messages of several types.
    #[error(
        "some of the messages have a message group and others have none: send each type's messages in a request of their own"
    )]
    MixedTypes,
    /// A body of zero bytes.
    #[error("the message body is empty: send at least one byte")]
    BodyEmpty,
    /// A body over the limit.
    #[error("the message body has {len} bytes: send at most {limit}")]
    BodyTooLarge {
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The body is not what its digest says.
    #[error("the message body does not match its {digest} digest: it was damaged on the way, send it again")]
    BodyCorrupted {
        /// Kind of digest.
        digest: &'static str,
    },
    /// Too many user properties.
    #[error("the message has {count} user properties: send at most {limit}")]
    TooManyProperties {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// User properties, tag and keys over the limit.
    #[error("user properties, tag and keys have {len} bytes together: send at most {limit}")]
    PropertiesTooLarge {
        /// Their bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A property that the client library sets is over its limit.
    #[error("the system property {name} has {len} bytes: send at most {limit}")]
    SystemPropertyTooLarge {
        /// Its name.
        name: &'static str,
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// A user property key of RocketMQ's own.
    #[error("the user property key {key:?} is reserved: rename it")]
    PropertyReserved {
        /// The key.
        key: String,
    },
    /// A blank key, or a control character in a key or value.
    #[error(
        "the user property {key:?} has a blank key or a control character in its key or value: remove it"
    )]
    PropertyCharacter {
        /// The key.
        key: String,
    },
    /// A blank tag, or one with a `|` or control character.
    #[error("illegal tag {tag:?}: it must not be blank and not contain '|' or control characters")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// A blank key, or one with white space or control characters.
    #[error("illegal message key {key:?}: it must not be blank and not contain spaces or control characters")]
    Key {
        /// The key.
        key: String,
    },
    /// A message id that is blank, too long or has control characters.
    #[error(
        "illegal message id {id:?}: give a unique id of 1 to {limit} bytes that is not blank and has no control characters"
    )]
    MessageId {
        /// The id.
        id: String,
        /// The limit.
        limit: usize,
    },
    /// A message group that is blank, too long or has control characters.
    #[error("illegal message group {group:?}: use 1 to {limit} bytes, not blank, without control characters")]
    MessageGroup {
        /// The message group.
        group: String,
        /// The limit.
        limit: usize,
    },
    /// Too far in the future.
    #[error("the delivery time lies {ahead_ms} ms ahead: at most {limit_ms} ms are allowed")]
    DeliveryTime {
        /// How far.
        ahead_ms: u64,
        /// The limit.
        limit_ms: u64,
    },
    /// Orphaned-transaction recovery duration over the limit, or below 0.
    #[error("the orphaned transaction recovery duration is {ms} ms: use 0 to {limit_ms} ms")]
    RecoveryDuration {
        /// What was asked for.
        ms: i64,
        /// The limit.
        limit_ms: u64,
    },
    /// A malformed lite topic.
    #[error("illegal lite topic {lite_topic:?}: use 1 to {limit} letters, digits, '_' or '-'")]
    LiteTopic {
        /// The lite topic.
        lite_topic: String,
        /// The limit.
        limit: usize,
    },
    /// A negative priority.
    #[error("the priority is {priority}: use 0 or more")]
    Priority {
        /// The priority.
        priority: i32,
    },
    /// The stated type is not the one that the properties make it.
    #[error(
        "the message is labelled {stated} but its properties make it {actual}: set the properties of its type"
    )]
    TypeMismatch {
        /// The label.
        stated: &'static str,
        /// What it is.
        actual: &'static str,
    },
    /// A filter that does not compile.
    #[error("illegal filter expression {expression:?}: use '*', or up to {limit} tags joined by '||'")]
    Filter {
        /// The expression.
        expression: String,
        /// Most tags.
        limit: usize,
    },
    /// A SQL filter that does not compile.
    #[error(transparent)]
    Sql(#[from] SyntaxError),
    /// An invisible duration out of range.
    #[error("illegal invisible duration of {ms} ms: use {min_ms} to {max_ms} ms")]
    InvisibleTime {
        /// What was asked for; negative where the duration was.
        ms: i64,
        /// Shortest.
        min_ms: u64,
        /// Longest.
        max_ms: u64,
    },
    /// No invisible duration where one is needed.
    #[error("the invisible duration is missing: set it")]
    InvisibleTimeMissing,
    /// Attempt id over the limit.
    #[error("the attempt id has {len} bytes: use at most {limit}")]
    AttemptId {
        /// Its bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// An ack without an entry.
    #[error("the request has no entry: give at least one receipt handle")]
    NoEntries,
    /// An ack with too many entries.
    #[error("the request has {count} entries: send at most {limit} at once")]
    TooManyEntries {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a handle of this broker.
    #[error(transparent)]
    Handle(#[from] NotAHandle),
    /// Settings without or with an unknown client type.
    #[error("the settings name client type {client_type}, which is none of the known ones: set it")]
    ClientType {
        /// The number on the wire.
        client_type: i32,
    },
    /// Settings that are neither a producer's nor a consumer's.
    #[error("the settings are neither of a producer nor of a consumer: set publishing or subscription")]
    NoPublishingOrSubscription,
    /// Client properties that break their limits.
    #[error("illegal client property {key:?}: {rule}")]
    ClientProperty {
        /// The key, or blank where the whole is meant.
        key: String,
        /// What they must keep to.
        rule: &'static str,
    },
    /// A part of the API that this version does not have.
    #[error("{what} not implemented by this version of the broker: {instead}")]
    NotImplemented {
        /// What, with its verb.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
}

impl Invalid {
    /// The code for the body status.
    pub const fn code(&self) -> Code {
        match self {
            Self::ClientIdRequired => Code::ClientIdRequired,
            Self::Topic { .. } | Self::DeadLetterTopic { .. } => Code::IllegalTopic,
            Self::Group { .. } => Code::IllegalConsumerGroup,
            Self::AccessPoint { .. } => Code::IllegalAccessPoint,
            Self::NoMessages | Self::MixedTopics | Self::BodyCorrupted { .. } => Code::MessageCorrupted,
            Self::BodyEmpty => Code::MessageBodyEmpty,
            Self::BodyTooLarge { .. } => Code::MessageBodyTooLarge,
            Self::TooManyProperties { .. }
            | Self::PropertiesTooLarge { .. }
            | Self::SystemPropertyTooLarge { .. } => Code::MessagePropertiesTooLarge,
            Self::PropertyReserved { .. } | Self::PropertyCharacter { .. } => Code::IllegalMessagePropertyKey,
            Self::Tag { .. } => Code::IllegalMessageTag,
            Self::Key { .. } => Code::IllegalMessageKey,
            Self::MessageId { .. } => Code::IllegalMessageId,
            Self::MessageGroup { .. } => Code::IllegalMessageGroup,
            Self::DeliveryTime { .. } => Code::IllegalDeliveryTime,
            Self::LiteTopic { .. } => Code::IllegalLiteTopic,
            Self::MixedTypes | Self::TypeMismatch { .. } => Code::MessagePropertyConflictWithType,
            Self::Filter { .. } | Self::Sql(_) => Code::IllegalFilterExpression,
            Self::InvisibleTime { .. } | Self::InvisibleTimeMissing => Code::IllegalInvisibleTime,
            Self::Handle(_) => Code::InvalidReceiptHandle,
            Self::ClientType { .. } => Code::UnrecognizedClientType,
            Self::ClientProperty { .. } => Code::InvalidClientProperties,
            Self::NotImplemented { .. } => Code::NotImplemented,
            Self::ClientIdNotAscii
            | Self::ClientIdTooLong { .. }
            | Self::RecoveryDuration { .. }
            | Self::Priority { .. }
            | Self::AttemptId { .. }
            | Self::NoEntries
            | Self::TooManyEntries { .. }
            | Self::NoPublishingOrSubscription => Code::BadRequest,
        }
    }
}
