//! What people do about what a group is to get: dead letters given back or taken away, and positions reset.

use std::sync::Arc;

use super::{Shard, Step};
use crate::ids::{GroupId, Offset, QueueId, TopicId};
use crate::queue::request::{
    DeadLetterError, GroupNotFound, Name, PurgeDeadLetters, ReplayDeadLetters, ResetOffset, ResetOffsetError,
    TopicNotFound,
};
use crate::queue::state::{DEAD_LETTER_PREFIX, UNRESOLVED_TOPIC};
use crate::record::Record;

impl Shard {
    /// Gives dead letters back, and says how many. One whose topic is gone, or its group, stays where it is.
    pub(super) fn replay_dead_letters(
        &mut self,
        step: &mut Step<'_>,
        replay: &ReplayDeadLetters,
    ) -> Result<u64, DeadLetterError> {
        let from = self.dead_letters_in(&replay.topic)?;
        let Some(only) = self.who_gets_back(&replay.topic) else { return Ok(0) };
        let mut replayed = 0;
        for (offset, topic, queue) in replay.letters.iter().copied() {
            let there = self.state.entry(from, QueueId(0), offset).is_some();
            if there && self.state.message_queue(topic, queue).is_some() {
                self.append(step, &Record::Replay { from, offset, topic, queue, only });
                self.polls.arrived(topic);
                replayed += 1;
            }
        }
        Ok(replayed)
    }

    /// Takes dead letters away, and says how many.
    pub(super) fn purge_dead_letters(
        &mut self,
        step: &mut Step<'_>,
        purge: &PurgeDeadLetters,
    ) -> Result<u64, DeadLetterError> {
        let topic = self.dead_letters_in(&purge.topic)?;
        let mut offsets: Vec<Offset> = purge.offsets.clone();
        offsets.sort_unstable();
        offsets.dedup();
        offsets.retain(|offset| self.state.entry(topic, QueueId(0), *offset).is_some());
        let purged = offsets.len() as u64;
        if purged > 0 {
            self.append(step, &Record::Purge { topic, offsets });
        }
        Ok(purged)
    }

    /// Has a group go on at other positions, held to what the queues have.
    pub(super) fn reset_offset(
        &mut self,
        step: &mut Step<'_>,
        reset: &ResetOffset,
    ) -> Result<(), ResetOffsetError> {
        let found = self.state.group(&reset.group).map(|(id, _)| id);
        let group = found.ok_or_else(|| GroupNotFound { group: Arc::clone(&reset.group) })?;
        let found = self.state.topic(&reset.topic).map(|(id, _)| id);
        let topic = found.ok_or_else(|| TopicNotFound { topic: Arc::clone(&reset.topic) })?;
        self.position(step, group, topic);
        let queues = self.state.topics.get(&topic).map_or(&[][..], |topic| &topic.queues);
        if queues.len() != reset.positions.len() {
            return Err(ResetOffsetError::OtherQueues { queues: queues.len() });
        }
        let held_to = queues.iter().zip(&reset.positions);
        let positions = held_to.map(|(queue, wanted)| (*wanted).clamp(queue.min, queue.next)).collect();
        self.append(step, &Record::ResetOffset { group, topic, positions });
        self.forget_watched(|of, watched| (of, watched) == (group, topic));
        self.polls.changed(topic, group);
        Ok(())
    }

    fn dead_letters_in(&self, name: &Name) -> Result<TopicId, DeadLetterError> {
        match self.state.topic(name) {
            Some((id, topic)) if topic.dead_letters => Ok(id),
            Some(_) => Err(DeadLetterError::NoDeadLetterTopic { topic: Arc::clone(name) }),
            None => Err(TopicNotFound { topic: Arc::clone(name) }.into()),
        }
    }

    /// The group whose dead letters lie in a topic; 0, for everyone, where they are no group's. None: it is gone.
    fn who_gets_back(&self, topic: &str) -> Option<GroupId> {
        if topic == UNRESOLVED_TOPIC {
            return Some(GroupId(0));
        }
        let group = topic.strip_prefix(DEAD_LETTER_PREFIX)?;
        self.state.group(group).map(|(id, _)| id)
    }
}
