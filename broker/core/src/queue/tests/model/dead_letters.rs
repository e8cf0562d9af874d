//! What people do: dead letters given back or taken away, positions reset, and the number of attempts changed.

use std::sync::Arc;

use proptest::sample::Index;

use super::view::Fate;
use super::world::{DEAD_LETTERS, TOPICS, World, id_of};
use crate::ids::{LogTime, Offset, QueueId};
use crate::queue::request::{Answer, PurgeDeadLetters, ReplayDeadLetters, Request, ResetOffset, UpdateGroup};

impl World {
    /// What lies in a dead-letter topic, as the broker has it.
    pub(super) fn letters_in(&self, topic: &str) -> Vec<(Offset, String)> {
        let state = self.broker.shard.state();
        let Some((id, of_topic)) = state.topic(topic) else { return Vec::new() };
        let offsets = (of_topic.queues[0].min.0..of_topic.queues[0].next.0).map(Offset);
        let found = offsets.filter_map(|offset| Some((offset, state.entry(id, QueueId(0), offset)?.lsn)));
        found.map(|(offset, lsn)| (offset, self.broker.text(lsn))).collect()
    }

    fn pick_letter(&self, from: usize, which: Index) -> Option<(Offset, usize)> {
        let there = self.letters_in(DEAD_LETTERS[from]);
        let (offset, text) = (!there.is_empty()).then(|| there[which.index(there.len())].clone())?;
        let number = self.letters[from].iter().position(|letter| letter.text == text);
        Some((offset, number.expect("a dead letter of the model")))
    }

    /// One dead letter is given back, also when that is asked for twice.
    pub(super) fn replay(&mut self, from: usize, which: Index) {
        let Some((offset, number)) = self.pick_letter(from, which) else { return };
        let letter = self.letters[from].remove(number);
        let place = (offset, id_of(letter.topic), letter.queue);
        let replay = ReplayDeadLetters { topic: Arc::from(DEAD_LETTERS[from]), letters: vec![place; 2] };
        let answer = self.broker.ask(Request::ReplayDeadLetters(replay));
        assert_eq!(answer, Some(Answer::ReplayDeadLetters(Ok(1))));
        let only = (from < 2).then_some(from);
        self.show(&letter, only);
    }

    pub(super) fn purge(&mut self, from: usize, which: Index) {
        let Some((offset, number)) = self.pick_letter(from, which) else { return };
        self.letters[from].remove(number);
        let purge = PurgeDeadLetters { topic: Arc::from(DEAD_LETTERS[from]), offsets: vec![offset; 2] };
        let answer = self.broker.ask(Request::PurgeDeadLetters(purge));
        assert_eq!(answer, Some(Answer::PurgeDeadLetters(Ok(1))));
    }

    /// What has had more attempts already becomes a dead letter when its delivery ends.
    pub(super) fn update(&mut self, view: usize, max_attempts: u32) {
        let name = self.views[view].name;
        let update = UpdateGroup { name: Arc::from(name), max_attempts: Some(max_attempts), backoff: None };
        let answer = self.broker.ask(Request::UpdateGroup(update));
        let Some(Answer::UpdateGroup(Ok(updated))) = answer else { panic!("{answer:?}") };
        assert_eq!(updated.settings.max_attempts, max_attempts);
        for view in self.views.iter_mut().filter(|view| view.name == name) {
            view.max_attempts = max_attempts;
        }
    }

    /// A group goes on elsewhere: what lies before that is passed over, what lies behind it begins anew.
    pub(super) fn reset(&mut self, view: usize, positions: [u64; 2]) {
        let topic = self.views[view].topic;
        let next = |queue| self.next.get(&(topic, QueueId(queue))).copied().unwrap_or_default();
        // Up to a little behind the last.
        let wanted = [0, 1].map(|queue| Offset(positions[usize::from(queue)].min(next(queue).0 + 2)));
        let status = self.broker.shard.topic_status(TOPICS[topic].0).expect("the topic");
        let held_to = wanted.iter().zip(&status.queues).map(|(wanted, (min, next))| *wanted.clamp(min, next));
        let held_to: Vec<Offset> = held_to.collect();
        let name = self.views[view].name;
        let reset = ResetOffset {
            group: Arc::from(name),
            topic: Arc::from(TOPICS[topic].0),
            positions: wanted.to_vec(),
        };
        let answer = self.broker.ask(Request::ResetOffset(reset));
        assert_eq!(answer, Some(Answer::ResetOffset(Ok(()))));
        let (state, now) = (self.broker.shard.state(), self.broker.now);
        let view = &mut self.views[view];
        view.last_used = now;
        for ((queue, offset), copy) in &mut view.copies {
            let behind = *offset >= held_to[usize::from(queue.0)];
            let kept = state.entry(id_of(topic), *queue, *offset).is_some();
            if behind && kept {
                (copy.attempts, copy.visible_at, copy.seen) = (0, LogTime(0), false);
                copy.fate = Fate::Waiting;
            } else if behind {
                copy.fate = Fate::Gone;
            } else if !copy.fate.is_done() {
                copy.fate = Fate::Passed;
            }
        }
    }
}
