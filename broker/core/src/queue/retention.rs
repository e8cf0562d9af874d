//! Which of the oldest segments can go: those old enough, or consumed while the disk runs full, of which no group
//! still owes more than little. Looks at a snapshot, off the log thread; [`Request::Retain`] checks again.
//!
//! [`Request::Retain`]: super::request::Request::Retain

use super::state::{State, Topic};
use crate::ids::{LogTime, Lsn, Offset, QueueId, TopicId};

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
    /// A segment is dropped, its owed messages copied to the end of the log, when those are at most this many
    /// thousandths of its bytes.
    pub relocate_below_permille: u32,
}

impl Default for Policy {
    /// 3 days as in RocketMQ; no bound in bytes; dead letters 14 days; relocation below a tenth.
    fn default() -> Self {
        Self {
            keep_ms: 72 * 3_600_000,
            keep_bytes: u64::MAX,
            keep_dead_letters_ms: 14 * 24 * 3_600_000,
            keep_unclaimed: false,
            relocate_below_permille: 100,
        }
    }
}

/// A sealed segment, the oldest of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedSegment {
    /// The position after its last byte.
    pub end: Lsn,
    /// Log time of its newest frame.
    pub newest: LogTime,
}

/// A message that is still owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    /// The queue that points to it.
    pub topic: TopicId,
    /// The queue.
    pub queue: QueueId,
    /// The offset.
    pub offset: Offset,
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

/// The messages below a position that some group still owes, that are held, or that are dead letters not yet old
/// enough; None where they are more than `limit`.
#[must_use]
pub fn owed_below(state: &State, below: Lsn, policy: &Policy, limit: usize) -> Option<Vec<Owed>> {
    let mut owed = Vec::new();
    // A held message cannot be pointed elsewhere: it keeps its segment until it is shown or dropped.
    if state.held.messages.range(..below).next().is_some() {
        return None;
    }
    for (id, topic) in &state.topics {
        for number in 0..topic.queues.len() {
            owed_in_queue(state, (*id, topic, number), below, policy, limit, &mut owed)?;
        }
    }
    Some(owed)
}

fn owed_in_queue(
    state: &State,
    (id, topic, number): (TopicId, &Topic, usize),
    below: Lsn,
    policy: &Policy,
    limit: usize,
    owed: &mut Vec<Owed>,
) -> Option<()> {
    let messages = topic.queues.get(number)?;
    let progresses: Vec<_> =
        state.groups.values().filter_map(|group| group.subscriptions.get(&id)?.queues.get(number)).collect();
    let mut offset = messages.min;
    while let Some(entry) = messages.get(offset) {
        let kept_dead_letter = topic.dead_letters && number == 0 && {
            let since = topic.dead_since.get((offset.0 - messages.min.0) as usize);
            since.is_some_and(|since| state.log_time.since(*since) <= policy.keep_dead_letters_ms)
        };
        if entry.lsn < below && entry.lsn >= state.log_start {
            let unclaimed = policy.keep_unclaimed && progresses.is_empty() && !topic.dead_letters;
            if kept_dead_letter
                || unclaimed
                || progresses.iter().any(|progress| progress.owes(offset, entry.lane))
            {
                if owed.len() >= limit {
                    return None;
                }
                owed.push(Owed { topic: id, queue: QueueId(number as u16), offset, lsn: entry.lsn });
            }
        } else if entry.lsn >= below && offset >= messages.ordered_from {
            // Nothing older follows.
            return Some(());
        }
        offset = offset.next();
    }
    Some(())
}
