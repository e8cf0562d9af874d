//! The records of the log: what happened, as the master decided it. Applying one reads no clock and draws no
//! random number, so that every replica reaches the same state.
//!
//! In a frame a record is `len varint | type u8 | version u8 | body`. An unknown type or version is an error that
//! halts the replica: skipping it would let its state drift from the others'. `docs/formats.md` lists the bytes.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::decode::{decode, decode_message};
pub(crate) use self::decode::{flush_policy, group_settings, message, topic_settings};
pub use self::encode::encode;
pub(crate) use self::encode::{
    batch_positions, put_flush_policy, put_group_settings, put_topic_settings, relocated_held_position,
    relocated_position,
};
use crate::config::FlushPolicy;
use crate::hash::SendKey;
use crate::ids::{
    AttemptHash, ClientHash, ConnectionId, Epoch, GroupId, HeldId, Lane, LogTime, Lsn, Nonce, Offset,
    QueueId, TagHash, TopicId,
};
use crate::queue::settings::{GroupSettings, TopicKind, TopicSettings};

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A master took over, or started again. All before it is committed when it is.
    EpochStart {
        /// The new epoch.
        epoch: Epoch,
    },
    /// From here on records of this level may follow; rises only.
    FeatureLevel(u32),
    /// How long a retried send is recognised.
    DuplicateWindow {
        /// In milliseconds of log time.
        millis: u64,
        /// In sends.
        entries: u64,
    },
    /// Records from here on count when they are flushed, or when they are written.
    FlushMode(FlushPolicy),
    /// A topic was made.
    TopicPut {
        /// Its number, never given twice.
        id: TopicId,
        /// Its name.
        name: &'a str,
        /// Its settings.
        settings: TopicSettings,
    },
    /// A topic was deleted, with its messages.
    TopicDelete(TopicId),
    /// A consumer group was made, or its settings changed.
    GroupPut {
        /// Its number, never given twice.
        id: GroupId,
        /// Its name.
        name: &'a str,
        /// Its settings.
        settings: GroupSettings,
    },
    /// A consumer group was deleted, with its positions.
    GroupDelete(GroupId),
    /// A group begins to consume a topic.
    Subscribe {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// Where it begins in each queue.
        start: Vec<Offset>,
    },
    /// A message.
    Message(MessageRecord<'a>),
    /// Messages of one send: all or none, since a record is never half there.
    Batch(Vec<MessageRecord<'a>>),
    /// The transaction of a half message ended.
    TransactionEnd {
        /// The half message.
        half: HeldId,
        /// Visible now, or gone.
        commit: bool,
    },
    /// A producer was asked about a half message.
    TransactionCheck {
        /// The half message.
        half: HeldId,
        /// When to ask next.
        next_check: LogTime,
    },
    /// Nobody said how the transaction of a half message ended: it is a dead letter, in place.
    TransactionGiveUp {
        /// The half message.
        half: HeldId,
        /// The topic of such messages; queue 0 of it.
        into: TopicId,
    },
    /// The first delayed messages become visible, in the order of their times and then of their storing.
    TimerFire {
        /// All of them are due at this time.
        up_to: LogTime,
        /// So many: bounded, so that applying one record takes no long time.
        count: u32,
    },
    /// A delayed message was recalled: it is gone.
    Recall {
        /// Its time.
        deliver_at: LogTime,
        /// The message.
        id: HeldId,
    },
    /// Messages were handed to a consumer.
    Pop(Pop),
    /// Deliveries ended: done for the group.
    Ack {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// Which messages.
        messages: Vec<(QueueId, Offset)>,
    },
    /// When messages come back was changed: by their consumer, by renewal, or because the consumer left.
    ChangeInvisible(ChangeInvisible),
    /// A receive attempt was repeated and handed the same deliveries once more.
    Repeat(Repeat),
    /// Deliveries that never reached their consumer: visible again, not counted.
    UndoPop {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// Which messages.
        messages: Vec<(QueueId, Offset)>,
    },
    /// A message became a dead letter. Its bytes stay where they are; the dead-letter topic points there.
    DeadLetter {
        /// The group that could not consume it.
        group: GroupId,
        /// Its topic.
        topic: TopicId,
        /// Its queue.
        queue: QueueId,
        /// Its offset.
        offset: Offset,
        /// The dead-letter topic; queue 0 of it.
        into: TopicId,
    },
    /// A dead letter was given back to its group, or to every group of its topic: it has a new offset there, and is a dead
    /// letter no more. Its bytes stay where they are.
    Replay {
        /// The dead-letter topic.
        from: TopicId,
        /// Its offset in queue 0 of that.
        offset: Offset,
        /// Where it goes.
        topic: TopicId,
        /// The queue.
        queue: QueueId,
        /// The only group that gets it; 0 is every group.
        only: GroupId,
    },
    /// Dead letters were taken away for good.
    Purge {
        /// The dead-letter topic.
        topic: TopicId,
        /// Their offsets in queue 0 of it.
        offsets: Vec<Offset>,
    },
    /// A group goes on at other positions of a topic, and forgets what was delivered to it there.
    ResetOffset {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// Where it goes on in each queue.
        positions: Vec<Offset>,
    },
    /// A message was copied to here, since its segment is to be dropped.
    Relocate {
        /// The queue that points to it, not always the one it was sent to.
        topic: TopicId,
        /// The queue.
        queue: QueueId,
        /// The offset.
        offset: Offset,
        /// The encoded message record, as it was.
        record: &'a [u8],
    },
    /// A message that waits was copied to here, since its segment is to be dropped.
    RelocateHeld {
        /// Which.
        key: HeldKey,
        /// The encoded message record, as it was.
        record: &'a [u8],
    },
    /// Nothing below is needed any more.
    DropBelow(Lsn),
    /// A group that has not consumed for long gives up what it owes of a topic below a position.
    Expire {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// Messages whose records lie below are done for the group.
        below: Lsn,
    },
    /// Every replica hashes its state as of everything before this record.
    StateMark,
    /// What came of that on the master, for the others to compare.
    StateHash {
        /// The [`Record::StateMark`].
        of: Lsn,
        /// See [`State::hash`](crate::queue::State::hash).
        hash: u128,
    },
}

/// What a message waits for before it is visible.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hold {
    /// Nothing: visible at once.
    None,
    /// Its delivery time.
    Until(LogTime),
    /// The end of its transaction; the producer is first asked at this time.
    Transaction(LogTime),
}

/// Names a message that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HeldKey {
    /// For this time.
    Until(LogTime, HeldId),
    /// For the end of its transaction.
    Transaction(HeldId),
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageRecord<'a> {
    /// Its topic.
    pub topic: TopicId,
    /// Its queue.
    pub queue: QueueId,
    /// Its offset there; 0 for a held one, which gets it when it becomes visible.
    pub offset: Offset,
    /// What it was sent as.
    pub kind: TopicKind,
    /// What it waits for.
    pub hold: Hold,
    /// Recognises a retry.
    pub key: SendKey,
    /// Hash of its tag.
    pub tag: TagHash,
    /// Hash of its message group.
    pub lane: Lane,
    /// Log time of its storing.
    pub stored_at: LogTime,
    /// The encoded [`MessageContent`](crate::message::MessageContent).
    pub content: &'a [u8],
}

/// Messages handed to a consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pop {
    /// For this group.
    pub group: GroupId,
    /// Of this topic.
    pub topic: TopicId,
    /// Goes into the handles.
    pub nonce: Nonce,
    /// To this client.
    pub client: ClientHash,
    /// Over this connection.
    pub connection: ConnectionId,
    /// Answering this attempt; 0 is none.
    pub attempt: AttemptHash,
    /// Hidden for this long, in milliseconds, from the record's log time.
    pub invisible_ms: u64,
    /// Renewed while the client lives.
    pub auto_renew: bool,
    /// What was taken of each queue.
    pub queues: Vec<PopQueue>,
}

/// What a [`Pop`] took of one queue.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PopQueue {
    /// The queue.
    pub queue: QueueId,
    /// Delivered again.
    pub again: Vec<Offset>,
    /// Fate of the messages from the group's position on, as runs.
    pub runs: Vec<(Fate, u32)>,
}

/// What a Pop did with a message that it came by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Fate {
    /// Delivered.
    Taken = 1,
    /// Passed over for good: the filter did not want it.
    Skipped = 2,
    /// Waits behind an earlier message of its message group.
    Parked = 3,
}

/// A receive attempt was repeated: its deliveries were handed out once more, with the same handles and a new lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repeat {
    /// The group.
    pub group: GroupId,
    /// The topic.
    pub topic: TopicId,
    /// Over this connection.
    pub connection: ConnectionId,
    /// Hidden for this long, in milliseconds, from the record's log time.
    pub invisible_ms: u64,
    /// Which messages.
    pub messages: Vec<(QueueId, Offset)>,
}

/// When messages come back was changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangeInvisible {
    /// The group.
    pub group: GroupId,
    /// The topic.
    pub topic: TopicId,
    /// They come back at this time.
    pub visible_at: LogTime,
    /// Still being worked on, so they count as in flight (a renewal); otherwise they wait out a back-off.
    pub held: bool,
    /// Their delivery is known to have arrived.
    pub confirmed: bool,
    /// The delivery does not count as an attempt.
    pub uncounted: bool,
    /// Which messages.
    pub messages: Vec<(QueueId, Offset)>,
}

/// A message as read back from the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// The topic it was sent to (its origin, for a dead letter).
    pub topic: TopicId,
    /// Its queue there.
    pub queue: QueueId,
    /// What it was sent as.
    pub kind: TopicKind,
    /// Log time of its storing.
    pub stored_at: LogTime,
    /// When it was to be delivered at the earliest; 0 is "at once".
    pub deliver_at: LogTime,
    /// The encoded [`MessageContent`](crate::message::MessageContent).
    pub content: Bytes,
}

/// Type numbers of the records. They never change their meaning; new ones are added.
mod kind {
    pub(super) const EPOCH_START: u8 = 1;
    pub(super) const FEATURE_LEVEL: u8 = 2;
    pub(super) const DUPLICATE_WINDOW: u8 = 3;
    pub(super) const FLUSH_MODE: u8 = 4;
    pub(super) const TOPIC_PUT: u8 = 10;
    pub(super) const TOPIC_DELETE: u8 = 11;
    pub(super) const GROUP_PUT: u8 = 12;
    pub(super) const GROUP_DELETE: u8 = 13;
    pub(super) const SUBSCRIBE: u8 = 14;
    pub(super) const MESSAGE: u8 = 20;
    pub(super) const BATCH: u8 = 21;
    pub(super) const TRANSACTION_END: u8 = 22;
    pub(super) const TRANSACTION_CHECK: u8 = 23;
    pub(super) const TIMER_FIRE: u8 = 24;
    pub(super) const RECALL: u8 = 25;
    pub(super) const TRANSACTION_GIVE_UP: u8 = 26;
    pub(super) const POP: u8 = 30;
    pub(super) const ACK: u8 = 31;
    pub(super) const CHANGE_INVISIBLE: u8 = 32;
    pub(super) const UNDO_POP: u8 = 33;
    pub(super) const DEAD_LETTER: u8 = 34;
    pub(super) const REPEAT: u8 = 35;
    pub(super) const REPLAY: u8 = 36;
    pub(super) const PURGE: u8 = 37;
    pub(super) const RESET_OFFSET: u8 = 38;
    pub(super) const RELOCATE: u8 = 40;
    pub(super) const DROP_BELOW: u8 = 41;
    pub(super) const STATE_HASH: u8 = 42;
    pub(super) const EXPIRE: u8 = 43;
    pub(super) const STATE_MARK: u8 = 44;
    pub(super) const RELOCATE_HELD: u8 = 45;
}

/// Version of every record body so far.
const VERSION: u8 = 1;
