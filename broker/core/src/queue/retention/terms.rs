//! The terms of retention: for how long messages are kept, and what of an old segment somebody still owes.

use crate::ids::{LogTime, Lsn, Offset, QueueId, TopicId};
use crate::record::HeldKey;

/// What becomes of messages that a group owes and does not consume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InactiveGroup {
    /// They are kept for as long as it takes.
    #[default]
    Keep,
    /// They may be dropped, and are counted, once both they and the group's last use of their topic are older than
    /// this, in milliseconds. Time in which no broker served the shard does not count: nobody could consume.
    ExpireAfter(u64),
}

/// How long and how much is kept of what nobody owes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Messages that every group has consumed, or that no group wants, are kept this long, in milliseconds.
    pub keep_ms: u64,
    /// They go earlier once the log is larger than this, in bytes.
    pub keep_bytes: u64,
    /// Dead letters are kept this long, in milliseconds.
    pub keep_dead_letters_ms: u64,
    /// Messages of a topic that no group consumes count as owed. Set where segments go for want of room alone: a
    /// message that nobody has read yet is not given up for that.
    pub keep_unclaimed: bool,
    /// What becomes of messages that a group owes and does not consume.
    pub inactive_group: InactiveGroup,
    /// A group that owes something and has not consumed for this long is reported, in milliseconds.
    pub report_inactive_ms: u64,
    /// A segment is dropped, its owed messages copied to the end of the log, when those are at most this many
    /// thousandths of its bytes.
    pub relocate_below_permille: u32,
}

impl Default for Policy {
    /// 3 days as in RocketMQ; no bound in bytes; dead letters 14 days; idle groups keep what they owe and are
    /// reported after 7 days; relocation below a tenth.
    fn default() -> Self {
        Self {
            keep_ms: 72 * 3_600_000,
            keep_bytes: u64::MAX,
            keep_dead_letters_ms: 14 * 24 * 3_600_000,
            keep_unclaimed: false,
            inactive_group: InactiveGroup::Keep,
            report_inactive_ms: 7 * 24 * 3_600_000,
            relocate_below_permille: 100,
        }
    }
}

/// A sealed segment: it and all before it are to be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// The position after its last byte.
    pub end: Lsn,
    /// Log time of its newest frame.
    pub newest: LogTime,
}

/// What points to a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pointer {
    /// A queue, not always the one that it was sent to.
    Queue(TopicId, QueueId, Offset),
    /// It waits to be shown.
    Held(HeldKey),
}

/// A message that is still owed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owed {
    /// What points to it.
    pub pointer: Pointer,
    /// Where it lies.
    pub lsn: Lsn,
}

impl Policy {
    /// Whether a segment is old enough to go, or the log too large.
    #[must_use]
    pub fn lets_go(&self, segment: SealedSegment, now: LogTime, log_bytes: u64) -> bool {
        log_bytes > self.keep_bytes || now.since(segment.newest) > self.keep_ms
    }
}
