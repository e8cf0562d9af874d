//! Which of the oldest segments can go: those old enough, or consumed while the disk runs full, of which no group
//! still owes more than little. Looks at a snapshot, off the log thread; [`Request::Retain`] checks again.
//!
//! [`Request::Retain`]: super::request::Request::Retain

use std::collections::BTreeMap;
use std::sync::Arc;

use super::progress::Progress;
use super::state::{State, Subscription, Topic};
use crate::ids::{GroupId, LogTime, Lsn, Offset, QueueId, TopicId};
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

/// The positions that groups have in a topic.
#[derive(Debug, Default)]
struct Consumers<'a> {
    /// There are some.
    any: bool,
    /// Those of groups that give up nothing.
    lasting: Vec<(GroupId, &'a Subscription)>,
}

/// A look at what keeps the oldest segments.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The state to look at.
    pub state: &'a State,
    /// The newest segment that is to go.
    pub last: SealedSegment,
    /// Log time of the look.
    pub now: LogTime,
    /// What is kept.
    pub policy: &'a Policy,
}

impl Run<'_> {
    /// The messages in those segments that some group still owes, that are held, or that are dead letters not yet
    /// old enough; None where they are more than `limit`.
    #[must_use]
    pub fn owed(&self, limit: usize) -> Option<Vec<Owed>> {
        let held = self.state.held.below(self.last.end);
        let pointed = held.map(|(key, message)| Owed { pointer: Pointer::Held(key), lsn: message.lsn });
        let mut owed: Vec<Owed> = pointed.take(limit + 1).collect();
        if owed.len() > limit {
            return None;
        }
        let consumers = self.consumers();
        let nobody = Consumers::default();
        for (id, topic) in &self.state.topics {
            let consumers = consumers.get(id).unwrap_or(&nobody);
            for number in 0..topic.queues.len() {
                self.owed_in_queue((*id, topic, number), consumers, limit, &mut owed)?;
            }
        }
        Some(owed)
    }

    /// Who consumes each topic, in one pass over the groups: to look at all of them for each topic would hold up the
    /// log thread for seconds.
    fn consumers(&self) -> BTreeMap<TopicId, Consumers<'_>> {
        let mut consumers: BTreeMap<TopicId, Consumers<'_>> = BTreeMap::new();
        for (group, of_group) in &self.state.groups {
            for (topic, subscription) in &of_group.subscriptions {
                let of_topic = consumers.entry(*topic).or_default();
                of_topic.any = true;
                if !self.has_lapsed(subscription) {
                    of_topic.lasting.push((*group, subscription));
                }
            }
        }
        consumers
    }

    /// The groups, and of which topic, that give up what they owe in those segments.
    pub(crate) fn lapsed(&self) -> Vec<(GroupId, TopicId)> {
        let mut lapsed = Vec::new();
        for (group, of_group) in &self.state.groups {
            let idle =
                of_group.subscriptions.iter().filter(|(_, subscription)| self.has_lapsed(subscription));
            for (topic, subscription) in idle {
                let Some(of_topic) = self.state.topics.get(topic) else { continue };
                let mut queues = of_topic.queues.iter().zip(&subscription.queues);
                let start = self.state.log_start;
                let owes = |lsn: Lsn| (start..self.last.end).contains(&lsn);
                if queues
                    .any(|(messages, progress)| progress.oldest(*group, messages, start).is_some_and(owes))
                {
                    lapsed.push((*group, *topic));
                }
            }
        }
        lapsed
    }

    fn has_lapsed(&self, subscription: &Subscription) -> bool {
        let InactiveGroup::ExpireAfter(after) = self.policy.inactive_group else { return false };
        // The messages too must have waited: a group has not failed to consume what came a moment ago.
        self.state.served(subscription.last_used.max(self.last.newest), self.now) > after
    }

    fn owed_in_queue(
        &self,
        (id, topic, number): (TopicId, &Topic, usize),
        consumers: &Consumers<'_>,
        limit: usize,
        owed: &mut Vec<Owed>,
    ) -> Option<()> {
        let (below, log_start) = (self.last.end, self.state.log_start);
        let messages = topic.queues.get(number)?;
        let lasting = consumers.lasting.iter();
        let progresses: Vec<(GroupId, &Progress)> = lasting
            .filter_map(|(group, subscription)| {
                Some((*group, subscription.queues.get(number).map(Arc::as_ref)?))
            })
            .collect();
        let mut offset = messages.min;
        while let Some(entry) = messages.get(offset) {
            let kept_dead_letter = topic.dead_letters && number == 0 && {
                let since = topic.dead_since.get((offset.0 - messages.min.0) as usize);
                since.is_some_and(|since| self.now.since(*since) <= self.policy.keep_dead_letters_ms)
            };
            if entry.lsn < below && entry.is_kept(log_start) {
                let unclaimed = self.policy.keep_unclaimed && !consumers.any && !topic.dead_letters;
                let owes = |(group, progress): &(GroupId, &Progress)| {
                    entry.is_for(*group) && progress.owes(offset, entry.lane)
                };
                if kept_dead_letter || unclaimed || progresses.iter().any(owes) {
                    if owed.len() >= limit {
                        return None;
                    }
                    let pointer = Pointer::Queue(id, QueueId(number as u16), offset);
                    owed.push(Owed { pointer, lsn: entry.lsn });
                }
            } else if entry.lsn >= below && offset >= messages.ordered_from {
                // Nothing older follows.
                return Some(());
            }
            offset = offset.next();
        }
        Some(())
    }
}
