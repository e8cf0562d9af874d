//! What people see of a shard: figures for administration, never for decisions.

use super::request::{GroupView, Name, TopicView};
use crate::ids::{LogTime, Lsn, Offset, QueueId};

/// A topic with its figures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicStatus {
    /// What it is.
    pub topic: TopicView,
    /// Oldest kept offset and next offset of each queue, in the order of their numbers.
    pub queues: Vec<(Offset, Offset)>,
    /// Groups that have a position in it, by name.
    pub groups: Vec<Name>,
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

impl super::Shard {
    /// Topics whose name contains the text, by name.
    pub fn topics(&self, _name_contains: &str) -> Vec<TopicStatus> {
        todo!()
    }
    /// One topic.
    pub fn topic_status(&self, _name: &str) -> Option<TopicStatus> {
        todo!()
    }
    /// Groups whose name contains the text, by name.
    pub fn groups(&self, _name_contains: &str) -> Vec<GroupStatus> {
        todo!()
    }
    /// One group.
    pub fn group_status(&self, _name: &str) -> Option<GroupStatus> {
        todo!()
    }
    /// Dead letters of a group from an offset on, at most `limit`. None: there is no such group.
    pub fn dead_letters(&self, _group: &str, _from: Offset, _limit: usize) -> Option<Vec<DeadLetterPosition>> {
        todo!()
    }
    /// Name of a topic by its number, while it exists.
    pub fn topic_name(&self, _id: crate::ids::TopicId) -> Option<Name> {
        todo!()
    }
    /// Log time of the newest step.
    pub fn log_time(&self) -> LogTime {
        todo!()
    }
}
