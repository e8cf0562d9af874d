//! Recognises a send that is repeated: the same client, message id and body into the same incarnation of a topic,
//! within a window of log time and of entries. Both bounds come from a log record.
//!
//! Entries are kept in generations of growing age. A full generation never changes again, so that a checkpoint
//! shares it instead of copying, and forgetting drops one whole generation.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::hash::SendKey;
use crate::ids::{LogTime, Offset, QueueId, TopicId};

/// Default of the window in time: 5 minutes.
pub(super) const WINDOW_MS: u64 = 300_000;
/// Default of the window in entries.
pub(super) const WINDOW_ENTRIES: u64 = 2_000_000;
/// Into how many generations a full window falls.
const GENERATIONS: u64 = 16;

/// A send that was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SendEntry {
    pub(crate) key: u128,
    pub(crate) offset: Offset,
    /// Milliseconds after the first entry of its generation.
    pub(crate) after_ms: u32,
    pub(crate) queue: QueueId,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Generation {
    pub(crate) first: LogTime,
    pub(crate) last: LogTime,
    /// In the order of their storing: what a checkpoint writes.
    pub(crate) entries: Vec<SendEntry>,
    /// Positions in `entries` by key.
    table: HashTable<u32>,
}

impl Generation {
    fn find(&self, key: u128) -> Option<&SendEntry> {
        let at = self.table.find(key as u64, |at| self.key_at(*at) == Some(key))?;
        self.entries.get(*at as usize)
    }

    fn insert(&mut self, key: u128, at: LogTime, queue: QueueId, offset: Offset) {
        if self.entries.is_empty() {
            self.first = at;
        }
        self.last = at;
        let position = self.entries.len() as u32;
        let after_ms = u32::try_from(at.since(self.first)).unwrap_or(u32::MAX);
        self.entries.push(SendEntry { key, offset, after_ms, queue });
        let entries = &self.entries;
        self.table.insert_unique(key as u64, position, |at| {
            entries.get(*at as usize).map_or(0, |entry| entry.key as u64)
        });
    }

    fn key_at(&self, at: u32) -> Option<u128> {
        self.entries.get(at as usize).map(|entry| entry.key)
    }
}

/// The sends of the window.
#[derive(Clone, Debug)]
pub(crate) struct Duplicates {
    pub(crate) window_ms: u64,
    pub(crate) window_entries: u64,
    /// Sends forgotten for want of room before their time was over: retries of those would be stored twice.
    pub(crate) forgotten_early: u64,
    pub(crate) generations: VecDeque<Arc<Generation>>,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self {
            window_ms: WINDOW_MS,
            window_entries: WINDOW_ENTRIES,
            forgotten_early: 0,
            generations: VecDeque::new(),
        }
    }
}

/// The key within one incarnation of a topic.
pub(crate) fn key_in(topic: TopicId, key: SendKey) -> u128 {
    key.0 ^ u128::from(topic.0) << 64
}

impl Duplicates {
    /// Where the send of this key was stored, if it is in the window.
    pub(crate) fn find(&self, key: u128, now: LogTime) -> Option<(QueueId, Offset)> {
        self.generations.iter().rev().find_map(|generation| {
            let entry = generation.find(key)?;
            let stored_at = generation.first.plus(u64::from(entry.after_ms));
            (now.since(stored_at) <= self.window_ms).then_some((entry.queue, entry.offset))
        })
    }

    /// Remembers a send.
    pub(crate) fn insert(&mut self, key: u128, now: LogTime, queue: QueueId, offset: Offset) {
        let full = (self.window_entries / GENERATIONS).max(1);
        // A generation also closes by time, so that a slow trickle of sends is forgotten in steps as well.
        let fits = self.generations.back().is_some_and(|last| {
            (last.entries.len() as u64) < full && now.since(last.first) < (self.window_ms / 4).max(1)
        });
        if !fits {
            self.generations.push_back(Arc::default());
            self.forget(now);
        }
        if let Some(last) = self.generations.back_mut() {
            Arc::make_mut(last).insert(key, now, queue, offset);
        }
    }

    /// Entries remembered.
    pub(crate) fn len(&self) -> u64 {
        self.generations.iter().map(|generation| generation.entries.len() as u64).sum()
    }

    fn forget(&mut self, now: LogTime) {
        while let Some(oldest) = self.generations.front() {
            let out_of_time = now.since(oldest.last) > self.window_ms;
            let out_of_room = self.len() - oldest.entries.len() as u64 >= self.window_entries;
            if self.generations.len() < 2 || !(out_of_time || out_of_room) {
                return;
            }
            if !out_of_time {
                self.forgotten_early += oldest.entries.len() as u64;
            }
            self.generations.pop_front();
        }
    }

    /// Takes back what a checkpoint held.
    pub(crate) fn restore(&mut self, generation: &[(u128, LogTime, QueueId, Offset)]) {
        let mut restored = Generation::default();
        for (key, at, queue, offset) in generation {
            restored.insert(*key, *at, *queue, *offset);
        }
        self.generations.push_back(Arc::new(restored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_within_the_window_is_recognised_and_a_later_one_is_not() {
        let mut sends = Duplicates { window_ms: 100, ..Duplicates::default() };
        sends.insert(1, LogTime(1000), QueueId(3), Offset(7));
        assert_eq!(sends.find(1, LogTime(1100)), Some((QueueId(3), Offset(7))));
        assert_eq!(sends.find(1, LogTime(1101)), None);
        assert_eq!(sends.find(2, LogTime(1000)), None);
    }

    #[test]
    fn the_newest_entries_are_kept_and_those_forgotten_early_are_counted() {
        let mut sends = Duplicates { window_entries: 160, ..Duplicates::default() };
        for key in 0..1000 {
            sends.insert(key, LogTime(5), QueueId(0), Offset(key as u64));
        }
        assert!(sends.len() >= 160 && sends.len() <= 180, "{}", sends.len());
        assert_eq!(sends.forgotten_early, 1000 - sends.len());
        for key in 840..1000 {
            assert_eq!(sends.find(key, LogTime(5)), Some((QueueId(0), Offset(key as u64))));
        }
    }

    #[test]
    fn what_is_old_is_forgotten_even_when_few_sends_come() {
        let mut sends = Duplicates { window_ms: 100, ..Duplicates::default() };
        for minute in 0..50_u64 {
            sends.insert(u128::from(minute), LogTime(minute * 50), QueueId(0), Offset(minute));
        }
        assert!(sends.len() < 10, "{}", sends.len());
        assert_eq!(sends.forgotten_early, 0);
    }
}
