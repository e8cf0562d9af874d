//! Why a shard does not do what it is asked for: one struct a condition, with the words that users read, and one enum
//! an operation. Decides nothing.

use std::sync::Arc;

use thiserror::Error;

use super::Name;
use crate::queue::idle::IdleGroup;
use crate::queue::settings::TopicKind;
use crate::queue::state::DEAD_LETTER_PREFIX;

/// No topic of that name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("topic {topic} does not exist: {}", self.way_out())]
pub struct TopicNotFound {
    /// The name asked for.
    pub topic: Name,
}

impl TopicNotFound {
    fn way_out(&self) -> String {
        let topic = &self.topic;
        match topic.strip_prefix(DEAD_LETTER_PREFIX) {
            Some(group) => format!("it comes with the first dead letter of consumer group {group}"),
            None => {
                format!("create it with `rq topic create {topic}`, or start the broker with --auto-create")
            }
        }
    }
}

/// No consumer group of that name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("consumer group {group} does not exist: create it with `rq group create {group}`")]
pub struct GroupNotFound {
    /// The name asked for.
    pub group: Name,
}

/// The topic takes other messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the topic takes {topic:?} messages, this one is {message:?}: send it to a topic of its type")]
pub struct KindMismatch {
    /// What the topic takes.
    pub topic: TopicKind,
    /// What was sent.
    pub message: TopicKind,
}

/// The disk of some in-sync replica is too full for new messages. Nothing was stored.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "the disk is too full for new messages ({free_bytes} bytes free): nothing was stored; {}",
    way_out(.pinned_by.as_deref())
)]
pub struct DiskFull {
    /// What is left.
    pub free_bytes: u64,
    /// Of the groups that do not consume what they owe, the one that keeps most of the log.
    pub pinned_by: Option<Arc<IdleGroup>>,
}

fn way_out(pinned_by: Option<&IdleGroup>) -> String {
    let Some(idle) = pinned_by else { return "consume, delete topics or enlarge the volume".to_owned() };
    format!("{idle}: let it consume, delete the group, set --retention-inactive-group, or enlarge the volume")
}

/// Something of that name exists with other settings.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{name} exists already with other settings: delete it first or choose another name")]
pub struct ExistsDifferently {
    /// The name.
    pub name: Name,
}

/// The shard holds as many of these as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the limit of {limit} {what} is reached: delete some, or raise the limit")]
pub struct TooMany {
    /// Of what.
    pub what: &'static str,
    /// The limit.
    pub limit: usize,
}

/// The handle names no current delivery: acked already, delivered anew, or its topic is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the receipt handle is not of a current delivery: the message was acked, delivered again, or its topic deleted"
)]
pub struct StaleHandle;

/// The topic has no such half message, or had it too long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "no such transaction: give the transaction id as SendMessage returned it; one that ended over an hour ago is forgotten"
)]
pub struct NoSuchTransaction;

/// The transaction ended in another way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TransactionEnded {
    /// It was committed.
    #[error("the transaction was committed already: it cannot be rolled back")]
    Committed,
    /// It was rolled back.
    #[error("the transaction was rolled back already: it cannot be committed; send the message again")]
    RolledBack,
    /// Nobody said how it ended.
    #[error(
        "nobody ended the transaction though its producers were asked: its message is a dead letter now, see `rq dlq list TRANS_CHECK_MAX_TIME_TOPIC`"
    )]
    GivenUp,
}

/// The topic has no such delayed message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("no such delayed message: its time has come, or the handle is not of this topic")]
pub struct NoSuchDelayed;

/// Why there is no topic to use, not even a new one.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum TopicOnUseError {
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
}

impl From<TopicOnUseError> for SendError {
    fn from(error: TopicOnUseError) -> Self {
        match error {
            TopicOnUseError::TopicNotFound(error) => error.into(),
            TopicOnUseError::TooMany(error) => error.into(),
            TopicOnUseError::DiskFull(error) => error.into(),
        }
    }
}

impl From<TopicOnUseError> for ReceiveError {
    fn from(error: TopicOnUseError) -> Self {
        match error {
            TopicOnUseError::TopicNotFound(error) => error.into(),
            TopicOnUseError::TooMany(error) => error.into(),
            TopicOnUseError::DiskFull(error) => error.into(),
        }
    }
}

/// Why a send stored nothing.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum SendError {
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error(transparent)]
    KindMismatch(#[from] KindMismatch),
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Why a transaction was not ended, at least not so.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum EndTransactionError {
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error(transparent)]
    NoSuchTransaction(#[from] NoSuchTransaction),
    #[error(transparent)]
    TransactionEnded(#[from] TransactionEnded),
}

/// Why a message was not recalled.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum RecallError {
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error(transparent)]
    KindMismatch(#[from] KindMismatch),
    #[error(transparent)]
    NoSuchDelayed(#[from] NoSuchDelayed),
}

/// Why nothing was done about dead letters.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum DeadLetterError {
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error("{topic} is no dead-letter topic")]
    NoDeadLetterTopic { topic: Name },
}

/// Why a group stays where it is.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum ResetOffsetError {
    #[error(transparent)]
    GroupNotFound(#[from] GroupNotFound),
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error("the topic has {queues} queues: give a position for each")]
    OtherQueues { queues: usize },
}

/// Why a receive failed. Finding nothing is no failure.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum ReceiveError {
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error(transparent)]
    GroupNotFound(#[from] GroupNotFound),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
    /// Nothing was popped for it.
    #[error("a repeat of this receive took its place")]
    Repeated,
}

/// Why a consumer's call failed as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum ConsumeError {
    #[error(transparent)]
    GroupNotFound(#[from] GroupNotFound),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Why the invisible time was not changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum ChangeInvisibleError {
    #[error(transparent)]
    GroupNotFound(#[from] GroupNotFound),
    #[error(transparent)]
    StaleHandle(#[from] StaleHandle),
}

/// Why no topic was made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum CreateTopicError {
    #[error(transparent)]
    ExistsDifferently(#[from] ExistsDifferently),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
}

/// Why no consumer group was made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[allow(missing_docs, reason = "the conditions are documented where they are defined")]
pub enum CreateGroupError {
    #[error(transparent)]
    ExistsDifferently(#[from] ExistsDifferently),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
}
