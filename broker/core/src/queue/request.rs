//! What can be asked of a shard, and what it answers: the seam between the gateway and the state machine.
//!
//! A request carries everything that is decided outside (names, hashes, random numbers, durations), so that the
//! state machine needs neither clock nor randomness. One error enum an operation says exactly how it can fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

pub use self::refusal::{
    ChangeInvisibleError, ConsumeError, CreateGroupError, CreateTopicError, DeadLetterError, DiskFull,
    EndTransactionError, ExistsDifferently, GroupNotFound, KindMismatch, NoSuchDelayed, NoSuchTransaction,
    RecallError, ReceiveError, ResetOffsetError, SendError, StaleHandle, TooMany, TopicNotFound,
    TopicOnUseError, TransactionEnded,
};
use super::retention::terms::{Owed, Policy};
use super::settings::{Backoff, GroupSettings, TopicKind, TopicSettings};
use crate::hash::SendKey;
use crate::ids::{
    AttemptHash, ClientHash, ConnectionId, GroupId, HeldId, Lane, LogTime, Lsn, Nonce, Offset, QueueId,
    TagHash, TopicId,
};

mod refusal;

/// Name of a topic or a consumer group, already checked by the gateway.
pub type Name = Arc<str>;

/// A request to a shard.
#[derive(Clone, Debug)]
pub enum Request {
    /// Stores messages.
    Send(Send),
    /// Takes messages, waiting for some if asked to.
    Receive(Receive),
    /// Ends deliveries: their messages are done for the group.
    Ack(Ack),
    /// Changes when a delivered message comes back.
    ChangeInvisible(ChangeInvisible),
    /// Moves a delivered message to the group's dead letters.
    ForwardToDeadLetters(ForwardToDeadLetters),
    /// Takes back deliveries that never reached their client.
    UndoPop(UndoPop),
    /// Who is alive; renews the leases of those with `auto_renew`.
    Vouch(Vouch),
    /// A client said goodbye: its renewed leases end at once.
    Release(ClientHash),
    /// Makes a topic.
    CreateTopic(CreateTopic),
    /// Removes a topic with its messages.
    DeleteTopic(Name),
    /// Makes a consumer group.
    CreateGroup(CreateGroup),
    /// Changes how often and when a consumer group gets what failed.
    UpdateGroup(UpdateGroup),
    /// Removes a consumer group with its positions.
    DeleteGroup(Name),
    /// Makes sure that a group exists and has a position in each topic.
    Subscribe(Subscribe),
    /// Tells what a topic is; makes it where topics are made on first use.
    ResolveTopic(Name),
    /// Ends the transaction of a half message.
    EndTransaction(EndTransaction),
    /// Takes a delayed message back before its time.
    Recall(Recall),
    /// Takes half messages whose producers are to be asked, waiting for some if asked to.
    TakeChecks(TakeChecks),
    /// What came of asking the producers of half messages.
    Checked(Checked),
    /// Gives dead letters back to who could not consume them.
    ReplayDeadLetters(ReplayDeadLetters),
    /// Takes dead letters away for good.
    PurgeDeadLetters(PurgeDeadLetters),
    /// Has a group go on elsewhere in a topic.
    ResetOffset(ResetOffset),
    /// Drops what retention lets go of below a position that the checkpoint has passed.
    Retain(Retain),
}

/// The answer to a [`Request`], of the same name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is the answer to the request of its name")]
pub enum Answer {
    Send(Result<Vec<Sent>, SendError>),
    Receive(Result<Vec<Delivery>, ReceiveError>),
    /// The other answer to a receive with [`Filter::Properties`]: it is to come again with verdicts on these, never none.
    Judge(Vec<Candidate>),
    Ack(Result<Vec<Result<(), StaleHandle>>, ConsumeError>),
    ChangeInvisible(Result<(), ChangeInvisibleError>),
    ForwardToDeadLetters(Result<(), ConsumeError>),
    UndoPop,
    Vouch,
    Release,
    CreateTopic(Result<TopicView, CreateTopicError>),
    DeleteTopic(Result<(), TopicNotFound>),
    CreateGroup(Result<GroupView, CreateGroupError>),
    UpdateGroup(Result<GroupView, GroupNotFound>),
    DeleteGroup(Result<(), GroupNotFound>),
    Subscribe(Result<GroupView, ConsumeError>),
    ResolveTopic(Result<TopicView, TopicOnUseError>),
    EndTransaction(Result<(), EndTransactionError>),
    Recall(Result<(), RecallError>),
    TakeChecks(Vec<Check>),
    Checked,
    ReplayDeadLetters(Result<u64, DeadLetterError>),
    PurgeDeadLetters(Result<u64, DeadLetterError>),
    ResetOffset(Result<(), ResetOffsetError>),
    Retain(Retained),
}

/// Messages of one topic, stored all or none.
#[derive(Clone, Debug)]
pub struct Send {
    /// The topic.
    pub topic: Name,
    /// In the order of their storing; never empty.
    pub messages: Vec<NewMessage>,
}

/// One message to store. The gateway makes it from the client's, off the log thread.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// What kind of topic it needs.
    pub kind: TopicKind,
    /// Recognises a retry of the same send.
    pub key: SendKey,
    /// Hash of its tag, or 0.
    pub tag: TagHash,
    /// Hash of its message group, or 0. Picks the queue, so that one message group keeps to one queue.
    pub lane: Lane,
    /// Delivered no earlier; 0 is "at once".
    pub deliver_at: LogTime,
    /// Of a half message: its producer is asked after so long, in milliseconds, instead of the shard's immunity time.
    pub recover_after_ms: Option<u64>,
    /// The encoded [`MessageContent`](crate::message::MessageContent).
    pub content: Bytes,
}

/// Where a message was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The topic's incarnation.
    pub topic: TopicId,
    /// The queue.
    pub queue: QueueId,
    /// Its offset there; 0 for one that waits, which gets it when it becomes visible.
    pub offset: Offset,
    /// Names it, if it waits or did: a half message or a delayed one.
    pub held: Option<HeldId>,
    /// It had been stored by an earlier send of the same key; nothing was stored now.
    pub duplicate: bool,
}

/// Takes up to `batch` messages of one topic for a group.
#[derive(Clone, Debug)]
pub struct Receive {
    /// The consumer group; made on first use where the shard is told so.
    pub group: Name,
    /// The topic.
    pub topic: Name,
    /// Which messages. The others are passed over for good.
    pub filter: Filter,
    /// Most messages to take; at least 1.
    pub batch: u32,
    /// How long the delivery hides each message, in milliseconds.
    pub invisible_ms: u64,
    /// The lease is renewed while the client lives.
    pub auto_renew: bool,
    /// A repeat of the same attempt gets the same batch.
    pub attempt: Option<AttemptHash>,
    /// Who asks.
    pub client: ClientHash,
    /// Over which connection.
    pub connection: ConnectionId,
    /// Goes into the handles of what is delivered.
    pub nonce: Nonce,
    /// How long to wait for a message, in milliseconds; 0 answers at once.
    pub wait_ms: u64,
}

/// Which messages of a topic a receive wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// All.
    All,
    /// Those with one of these tags. Sorted.
    Tags(Vec<TagHash>),
    /// Those that an expression over their properties wants, as far as it was judged.
    Properties(Judged),
}

/// What an expression over the properties of messages wants. The state machine never looks inside a message: where it needs a
/// verdict that is not here, the answer is [`Answer::Judge`], and the same receive comes again with more verdicts. A message
/// never changes, so neither does a verdict.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Judged {
    /// Hash of the expression: equal ones judge alike.
    pub expression: u64,
    /// The incarnation of the topic that was judged. Verdicts on another one count for nothing: it has other messages at the
    /// same offsets.
    pub topic: TopicId,
    /// Most messages that it is told to judge at once.
    pub most: u32,
    /// Whether the expression wants a message.
    pub verdicts: BTreeMap<(QueueId, Offset), bool>,
}

/// A message to be judged by an expression over its properties.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The incarnation of its topic.
    pub topic: TopicId,
    /// Its queue.
    pub queue: QueueId,
    /// Its offset.
    pub offset: Offset,
    /// Where its record lies in the log.
    pub lsn: Lsn,
}

/// One message delivered. Its bytes are read at [`Delivery::lsn`] by the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The topic's incarnation.
    pub topic: TopicId,
    /// Its queue.
    pub queue: QueueId,
    /// Its offset.
    pub offset: Offset,
    /// Where its record lies in the log.
    pub lsn: Lsn,
    /// 1 on the first delivery.
    pub attempt: u32,
    /// The nonce of the delivery, for the handle.
    pub nonce: Nonce,
    /// How long it is hidden from others, in milliseconds from now.
    pub invisible_ms: u64,
}

impl Delivery {
    /// Names this delivery, for the call that ends it.
    pub const fn handle(&self) -> Handle {
        let Self { topic, queue, offset, nonce, .. } = *self;
        Handle { topic, queue, offset, nonce }
    }
}

/// Names one delivery of one message. What a receipt handle says, see [`crate::handle`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Handle {
    /// The topic's incarnation.
    pub topic: TopicId,
    /// The queue.
    pub queue: QueueId,
    /// The offset.
    pub offset: Offset,
    /// The nonce of the delivery.
    pub nonce: Nonce,
}

/// Ends deliveries.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The consumer group.
    pub group: Name,
    /// The deliveries; each answered by itself.
    pub handles: Vec<Handle>,
}

/// Changes when a delivered message comes back, counted from now.
#[derive(Clone, Debug)]
pub struct ChangeInvisible {
    /// The consumer group.
    pub group: Name,
    /// The delivery.
    pub handle: Handle,
    /// Hidden for so long from now, in milliseconds. 0 makes it visible at once.
    pub invisible_ms: u64,
    /// The delivery does not count as an attempt.
    pub suspend: bool,
}

/// Moves a delivered message to the dead letters of its group. A stale handle is answered with success: clients
/// repeat this call until it succeeds.
#[derive(Clone, Debug)]
pub struct ForwardToDeadLetters {
    /// The consumer group.
    pub group: Name,
    /// The delivery.
    pub handle: Handle,
}

/// Takes back deliveries that could not be written to their client: visible at once, not counted as attempts.
/// What is no longer the current delivery is left alone.
#[derive(Clone, Debug)]
pub struct UndoPop {
    /// The consumer group.
    pub group: Name,
    /// The deliveries.
    pub handles: Vec<Handle>,
}

/// What a gateway knows of its clients, sent every few seconds.
#[derive(Clone, Debug)]
pub struct Vouch {
    /// The living clients.
    pub clients: Vec<LiveClient>,
}

/// A client with a living connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveClient {
    /// The client.
    pub client: ClientHash,
    /// One of its connections.
    pub connection: ConnectionId,
    /// Milliseconds since it last began a call on that connection. A delivery counts as received once the client
    /// called again after it.
    pub idle_ms: u64,
}

/// Makes a topic.
#[derive(Clone, Debug)]
pub struct CreateTopic {
    /// Its name.
    pub name: Name,
    /// What it is to be.
    pub settings: TopicSettings,
}

/// Makes a consumer group.
#[derive(Clone, Debug)]
pub struct CreateGroup {
    /// Its name.
    pub name: Name,
    /// What it is to be.
    pub settings: GroupSettings,
}

/// Changes how often and when a consumer group gets what failed. Its order and where it begins stay as they are.
#[derive(Clone, Debug)]
pub struct UpdateGroup {
    /// The group.
    pub name: Name,
    /// Deliveries of a message before it becomes a dead letter, if they change. What has had as many, or more, becomes one when
    /// its delivery ends, and at once if it waits to be delivered again.
    pub max_attempts: Option<u32>,
    /// Delays that clients are told, if they change.
    pub backoff: Option<Backoff>,
}

/// Makes sure that a group has a position in each topic, so that "latest" begins when the subscription does.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The group; made with default settings where groups are made on first use.
    pub group: Name,
    /// Topics to have a position in. Unknown ones are passed over.
    pub topics: Vec<Name>,
}

/// Ends the transaction of a half message. May be repeated: the same end is answered alike, the opposite is refused.
#[derive(Clone, Debug)]
pub struct EndTransaction {
    /// The topic.
    pub topic: Name,
    /// The topic's incarnation that the message was sent to.
    pub incarnation: TopicId,
    /// The half message.
    pub half: HeldId,
    /// Commit, which makes it visible, or roll back, which drops it.
    pub commit: bool,
}

/// Takes a delayed message back before its time. May be repeated.
#[derive(Clone, Debug)]
pub struct Recall {
    /// The topic.
    pub topic: Name,
    /// The topic's incarnation that the message was sent to.
    pub incarnation: TopicId,
    /// When it is to be delivered.
    pub deliver_at: LogTime,
    /// The message.
    pub id: HeldId,
}

/// Takes half messages whose producers are to be asked. Whoever takes one answers with [`Checked`] soon, or it goes to
/// another.
#[derive(Clone, Debug)]
pub struct TakeChecks {
    /// The topics of which the asking gateway has a living producer.
    pub topics: Vec<Name>,
    /// Most half messages to take.
    pub most: u32,
    /// How long to wait for one, in milliseconds; 0 answers at once.
    pub wait_ms: u64,
}

/// A half message whose producer is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// The half message.
    pub half: HeldId,
    /// The topic's incarnation.
    pub topic: TopicId,
    /// The queue that it will come into.
    pub queue: QueueId,
    /// Where its record lies in the log.
    pub lsn: Lsn,
}

/// What came of asking the producers of half messages.
#[derive(Clone, Debug)]
pub struct Checked {
    /// These were asked: it counts.
    pub asked: Vec<HeldId>,
    /// These could not be: it does not count, and another is asked at once.
    pub unasked: Vec<HeldId>,
}

/// Gives dead letters back: those of a group to that group alone, half messages that nobody ended to every group.
#[derive(Clone, Debug)]
pub struct ReplayDeadLetters {
    /// The dead-letter topic.
    pub topic: Name,
    /// Offsets in it, each with the incarnation of the topic and the queue that the message was sent to.
    pub letters: Vec<(Offset, TopicId, QueueId)>,
}

/// Takes dead letters away for good.
#[derive(Clone, Debug)]
pub struct PurgeDeadLetters {
    /// The dead-letter topic.
    pub topic: Name,
    /// Offsets in it. Those that are gone already count for nothing.
    pub offsets: Vec<Offset>,
}

/// Has a group go on elsewhere in a topic. What was delivered to it there before is forgotten: it comes again from the new
/// position on, and handles of earlier deliveries are dead.
#[derive(Clone, Debug)]
pub struct ResetOffset {
    /// The consumer group.
    pub group: Name,
    /// The topic.
    pub topic: Name,
    /// Where to go on in each queue, in the order of their numbers; held to what is there.
    pub positions: Vec<Offset>,
}

/// What the retention run found on a snapshot; checked again against the present state before anything is
/// dropped.
#[derive(Clone, Debug)]
pub struct Retain {
    /// Base of the first segment that stays. All below it is dropped unless a group still owes some of it.
    pub below: Lsn,
    /// No frame below is newer than this.
    pub newest: LogTime,
    /// Messages below that a group still owes, to be copied to the end of the log, with their encoded contents.
    pub relocate: Vec<Relocation>,
    /// What is kept.
    pub policy: Policy,
}

/// A message to copy to the end of the log, because its segment is to be dropped.
#[derive(Clone, Debug)]
pub struct Relocation {
    /// What points to it, and where it lies now.
    pub owed: Owed,
    /// The whole encoded record that lies there.
    pub record: Bytes,
}

/// What came of a [`Retain`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retained {
    /// The log may begin here once this answer is committed. Unchanged where something below was still owed.
    pub log_start: Lsn,
    /// What idle groups gave up for it.
    pub expired: Vec<Expired>,
}

/// What a group that has not consumed for long gave up of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expired {
    /// The group.
    pub group: Name,
    /// The topic.
    pub topic: Name,
    /// How many messages.
    pub messages: u64,
}

/// What a topic is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicView {
    /// Its name.
    pub name: Name,
    /// Its incarnation.
    pub id: TopicId,
    /// Its settings.
    pub settings: TopicSettings,
}

/// What a consumer group is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupView {
    /// Its name.
    pub name: Name,
    /// Its number.
    pub id: GroupId,
    /// Its settings.
    pub settings: GroupSettings,
}
