//! What it means that people change what a group is to get: dead letters given back or taken away, and positions reset.

use std::sync::Arc;

use super::Applied;
use crate::ids::{GroupId, LogTime, Offset, QueueId, TopicId};
use crate::queue::index::Entry;
use crate::queue::progress::Progress;
use crate::queue::state::State;
use crate::record::Record;

impl State {
    pub(super) fn apply_replay(&mut self, now: LogTime, record: &Record<'_>) -> Applied {
        match record {
            Record::Replay { from, offset, topic, queue, only } => {
                let entry = self.take_dead_letter(*from, *offset)?;
                self.push(*topic, *queue, Entry { only: *only, ..entry }, now).map(drop)
            }
            Record::Purge { topic, offsets } => {
                offsets.iter().try_for_each(|offset| self.take_dead_letter(*topic, *offset).map(drop))
            }
            Record::ResetOffset { group, topic, positions } => {
                self.reset_offset(*group, *topic, positions, now)
            }
            _ => Err("record"),
        }
    }

    fn take_dead_letter(&mut self, topic: TopicId, offset: Offset) -> Result<Entry, &'static str> {
        self.topics.get(&topic).filter(|topic| topic.dead_letters).ok_or("dead-letter topic")?;
        let log_start = self.log_start;
        self.queue_mut(topic, QueueId(0))?.remove(offset, log_start).ok_or("dead letter")
    }

    fn reset_offset(
        &mut self,
        group: GroupId,
        topic: TopicId,
        positions: &[Offset],
        now: LogTime,
    ) -> Applied {
        let queues = &self.topics.get(&topic).ok_or("topic")?.queues;
        let fits = queues.iter().zip(positions).all(|(queue, position)| *position <= queue.next);
        if positions.len() != queues.len() || !fits {
            return Err("reset positions");
        }
        let subscription = self.group_mut(group)?.subscriptions.get_mut(&topic).ok_or("subscription")?;
        for (progress, position) in subscription.queues.iter_mut().zip(positions) {
            *progress = Arc::new(Progress::new(*position));
        }
        subscription.attempts.clear();
        subscription.last_used = subscription.last_used.max(now);
        Ok(())
    }
}
