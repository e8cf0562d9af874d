//! What people see of a shard: figures for administration, never for decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::HeldCounts;
use super::index::MessageQueue;
use super::request::{GroupView, Name, TopicView};
use super::state::{Topic, UNRESOLVED_TOPIC, dead_letters_of};
use crate::ids::{HeldId, LogTime, Lsn, Offset, QueueId, TopicId};

/// A topic with its figures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicStatus {
    /// What it is.
    pub topic: TopicView,
    /// Oldest kept offset and next offset of each queue, in the order of their numbers.
    pub queues: Vec<(Offset, Offset)>,
    /// Messages kept, without dead letters that were given back or taken away.
    pub messages: u64,
    /// Groups that have a position in it, by name.
    pub groups: Vec<Name>,
    /// Messages that nobody can see yet.
    pub held: HeldCounts,
}

/// A transaction that has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenTransaction {
    /// Its half message.
    pub half: HeldId,
    /// The topic's incarnation.
    pub topic: TopicId,
    /// Its name.
    pub topic_name: Name,
    /// The queue that the message will come into.
    pub queue: QueueId,
    /// Where its record lies.
    pub lsn: Lsn,
    /// When its producer is asked next.
    pub next_check: LogTime,
    /// How often a producer was asked.
    pub checks: u32,
}

/// A consumer group with its figures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// What it is.
    pub group: GroupView,
    /// Its position in each queue that it consumes.
    pub progress: Vec<QueueProgress>,
    /// Messages in its dead-letter topic.
    pub dead_letters: u64,
    /// Messages that it gave up because it did not consume them in time.
    pub expired: u64,
    /// Its newest use of any topic, or the beginning of a subscription; None while it has none.
    pub last_used: Option<LogTime>,
}

/// A group's position in one message queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueProgress {
    /// The topic.
    pub topic: Name,
    /// The queue.
    pub queue: QueueId,
    /// First offset never delivered.
    pub next: Offset,
    /// Delivered, neither acked nor back yet.
    pub in_flight: u64,
    /// Waiting out a back-off, behind their message group, or for redelivery.
    pub waiting: u64,
    /// Never delivered.
    pub ready: u64,
}

/// A message of a queue, and where to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessagePlace {
    /// Its offset in the queue.
    pub offset: Offset,
    /// Where its record lies.
    pub lsn: Lsn,
}

impl Topic {
    fn status(&self, id: TopicId, groups: Vec<Name>, held: HeldCounts, log_start: Lsn) -> TopicStatus {
        let queues = self.queues.iter().map(|queue| (queue.min, queue.next)).collect();
        let kept = |queue: &MessageQueue| {
            // Only what is taken out one by one has to be counted so.
            if self.dead_letters { queue.count_kept(log_start) } else { queue.len() }
        };
        let messages = self.queues.iter().map(kept).sum();
        TopicStatus { topic: self.view(id), queues, messages, groups, held }
    }
}

impl super::Shard {
    /// Topics whose name contains the text, by name.
    pub fn topics(&self, name_contains: &str) -> Vec<TopicStatus> {
        // One pass over the groups: this runs on the log thread, and there may be many of both.
        let mut consumers: BTreeMap<TopicId, Vec<Name>> = BTreeMap::new();
        for (name, group) in &self.state.group_names {
            let Some(group) = self.state.groups.get(group) else { continue };
            for topic in group.subscriptions.keys() {
                consumers.entry(*topic).or_default().push(Arc::clone(name));
            }
        }
        let names = self.state.topic_names.iter().filter(|(name, _)| name.contains(name_contains));
        let topics = names.filter_map(|(_, id)| Some((*id, self.state.topics.get(id)?)));
        let held = |id| self.state.held.counts(id);
        let log_start = self.state.log_start;
        topics
            .map(|(id, topic)| {
                topic.status(id, consumers.remove(&id).unwrap_or_default(), held(id), log_start)
            })
            .collect()
    }

    /// One topic.
    pub fn topic_status(&self, name: &str) -> Option<TopicStatus> {
        let (id, topic) = self.state.topic(name)?;
        let consumers = self.state.group_names.iter().filter(|(_, group)| {
            self.state.groups.get(group).is_some_and(|group| group.subscriptions.contains_key(&id))
        });
        let consumers = consumers.map(|(name, _)| Arc::clone(name)).collect();
        Some(topic.status(id, consumers, self.state.held.counts(id), self.state.log_start))
    }

    /// Number of a topic, if there is one of this name.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.state.topic(name).map(|(id, _)| id)
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.state.topics.len()
    }

    /// Number of consumer groups.
    pub fn group_count(&self) -> usize {
        self.state.groups.len()
    }

    /// Groups whose name contains the text, by name.
    pub fn groups(&self, name_contains: &str) -> Vec<GroupStatus> {
        let names = self.state.group_names.keys().filter(|name| name.contains(name_contains));
        names.filter_map(|name| self.group_status(name)).collect()
    }

    /// One group.
    pub fn group_status(&self, name: &str) -> Option<GroupStatus> {
        let (id, group) = self.state.group(name)?;
        let mut progress = Vec::new();
        for (topic, subscription) in &group.subscriptions {
            let Some(topic) = self.state.topics.get(topic) else { continue };
            for (number, (position, messages)) in subscription.queues.iter().zip(&topic.queues).enumerate() {
                progress.push(QueueProgress {
                    topic: Arc::clone(&topic.name),
                    queue: QueueId(number as u16),
                    next: position.next,
                    in_flight: u64::from(position.in_flight),
                    waiting: position.pending.len() as u64 - u64::from(position.in_flight)
                        + u64::from(position.parked),
                    ready: messages.next.0.saturating_sub(position.next.0.max(messages.min.0)),
                });
            }
        }
        Some(GroupStatus {
            group: group.view(id),
            progress,
            dead_letters: self.count_dead_letters(name).unwrap_or(0),
            expired: group.expired,
            last_used: group.subscriptions.values().map(|subscription| subscription.last_used).max(),
        })
    }

    /// Dead letters from an offset on, at most `limit`: of a group, or those of [`UNRESOLVED_TOPIC`]. None: there is no such
    /// group.
    pub fn dead_letters(&self, of: &str, from: Offset, limit: usize) -> Option<Vec<MessagePlace>> {
        let Some(queue) = self.dead_letter_queue(of)? else { return Some(Vec::new()) };
        let offsets = (from.0.max(queue.min.0)..queue.next.0).map(Offset);
        Some(self.kept(queue, offsets).take(limit).collect())
    }

    /// The same at certain offsets, without those that are gone.
    pub fn dead_letters_at(&self, of: &str, offsets: &[Offset]) -> Option<Vec<MessagePlace>> {
        let Some(queue) = self.dead_letter_queue(of)? else { return Some(Vec::new()) };
        Some(self.kept(queue, offsets.iter().copied()).collect())
    }

    /// How many there are.
    pub fn count_dead_letters(&self, of: &str) -> Option<u64> {
        let count = |queue: &MessageQueue| queue.count_kept(self.state.log_start);
        self.dead_letter_queue(of).map(|queue| queue.map_or(0, count))
    }

    /// Messages of a queue at up to `limit` offsets from one on, without those that are gone.
    pub fn messages(&self, topic: TopicId, queue: QueueId, from: Offset, limit: u64) -> Vec<MessagePlace> {
        let Some(queue) = self.state.message_queue(topic, queue) else { return Vec::new() };
        let end = queue.next.0.min(from.0.saturating_add(limit));
        self.kept(queue, (from.0.max(queue.min.0)..end).map(Offset)).collect()
    }

    /// None: there is no such group. Some(None): it has no dead letters yet.
    #[allow(clippy::option_option, reason = "one asks for what is not there, the other finds nothing")]
    fn dead_letter_queue(&self, of: &str) -> Option<Option<&MessageQueue>> {
        if of != UNRESOLVED_TOPIC {
            self.state.group(of)?;
        }
        let topic = self.state.topic(&dead_letters_of(of));
        Some(topic.and_then(|(_, topic)| topic.queues.first()))
    }

    fn kept(
        &self,
        queue: &MessageQueue,
        offsets: impl Iterator<Item = Offset>,
    ) -> impl Iterator<Item = MessagePlace> {
        let found = offsets.filter_map(|offset| Some((offset, queue.get(offset)?)));
        let kept = found.filter(|(_, entry)| entry.is_kept(self.state.log_start));
        kept.map(|(offset, entry)| MessagePlace { offset, lsn: entry.lsn })
    }

    /// Transactions that have not ended, in the order of their half messages from one on, at most `limit`: of one topic, or of
    /// all.
    pub fn open_transactions(&self, topic: Option<&str>, from: HeldId, limit: usize) -> Vec<OpenTransaction> {
        let halves = self.state.held.halves.from(from);
        let open = halves.filter_map(|(half, open)| {
            let of_topic = self.state.topics.get(&open.message.topic)?;
            topic.is_none_or(|topic| *of_topic.name == *topic).then(|| OpenTransaction {
                half,
                topic: open.message.topic,
                topic_name: Arc::clone(&of_topic.name),
                queue: open.message.queue,
                lsn: open.message.lsn,
                next_check: open.next_check,
                checks: open.checks,
            })
        });
        open.take(limit).collect()
    }

    /// Name of a topic by its number, while it exists.
    pub fn topic_name(&self, id: TopicId) -> Option<Name> {
        self.state.topics.get(&id).map(|topic| Arc::clone(&topic.name))
    }

    /// Log time of the newest record.
    pub fn log_time(&self) -> LogTime {
        self.state.log_time
    }
}
