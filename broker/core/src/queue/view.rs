//! What people see of a shard: figures for administration, never for decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::HeldCounts;
use super::request::{GroupView, Name, TopicView};
use super::state::{Topic, dead_letter_topic};
use crate::ids::{HeldId, LogTime, Lsn, Offset, QueueId, TopicId};

/// A topic with its figures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicStatus {
    /// What it is.
    pub topic: TopicView,
    /// Oldest kept offset and next offset of each queue, in the order of their numbers.
    pub queues: Vec<(Offset, Offset)>,
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

/// A dead letter: its offset in the dead-letter topic, and where to read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeadLetterPosition {
    /// Its offset in the dead-letter topic.
    pub offset: Offset,
    /// Where its record lies.
    pub lsn: Lsn,
}

impl Topic {
    fn status(&self, id: TopicId, groups: Vec<Name>, held: HeldCounts) -> TopicStatus {
        let queues = self.queues.iter().map(|queue| (queue.min, queue.next)).collect();
        TopicStatus { topic: self.view(id), queues, groups, held }
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
        topics
            .map(|(id, topic)| topic.status(id, consumers.remove(&id).unwrap_or_default(), held(id)))
            .collect()
    }

    /// One topic.
    pub fn topic_status(&self, name: &str) -> Option<TopicStatus> {
        let (id, topic) = self.state.topic(name)?;
        let consumers = self.state.group_names.iter().filter(|(_, group)| {
            self.state.groups.get(group).is_some_and(|group| group.subscriptions.contains_key(&id))
        });
        let consumers = consumers.map(|(name, _)| Arc::clone(name)).collect();
        Some(topic.status(id, consumers, self.state.held.counts(id)))
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
            dead_letters: self.count_dead_letters(name),
            expired: group.expired,
            last_used: group.subscriptions.values().map(|subscription| subscription.last_used).max(),
        })
    }

    /// Dead letters of a group from an offset on, at most `limit`. None: there is no such group.
    pub fn dead_letters(&self, group: &str, from: Offset, limit: usize) -> Option<Vec<DeadLetterPosition>> {
        self.state.group(group)?;
        let Some((_, topic)) = self.state.topic(&dead_letter_topic(group)) else { return Some(Vec::new()) };
        let queue = topic.queues.first()?;
        let offsets = (from.0.max(queue.min.0)..queue.next.0).map(Offset);
        let found = offsets.filter_map(|offset| Some((offset, queue.get(offset)?)));
        let kept = found.filter(|(_, entry)| entry.is_kept(self.state.log_start));
        Some(kept.take(limit).map(|(offset, entry)| DeadLetterPosition { offset, lsn: entry.lsn }).collect())
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

    fn count_dead_letters(&self, group: &str) -> u64 {
        let topic = self.state.topic(&dead_letter_topic(group));
        topic.and_then(|(_, topic)| topic.queues.first()).map_or(0, super::index::MessageQueue::len)
    }
}
