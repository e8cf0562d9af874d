//! Which of the oldest segments can go: those old enough, or consumed while the disk runs full, of which no group
//! still owes more than little. Looks at a snapshot, off the log thread; [`Request::Retain`] checks again.
//!
//! [`Request::Retain`]: super::request::Request::Retain

pub(crate) mod terms;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::terms::{InactiveGroup, Owed, Pointer, Policy, SealedSegment};

use super::progress::Progress;
use super::state::{State, Subscription, Topic};
use crate::ids::{GroupId, LogTime, Lsn, QueueId, TopicId};

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
