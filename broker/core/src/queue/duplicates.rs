//! Recognises a send that is repeated: the same client, message id and body into the same incarnation of a topic,
//! within a window of log time and of entries. Both bounds come from a log record.
//!
//! Entries are kept in generations of growing age. A full generation never changes again, so that a checkpoint
//! shares it instead of copying, and forgetting drops one whole generation. Only the master looks keys up, through
//! a [`SendIndex`] of its own.

mod index;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use self::index::SendIndex;
use crate::hash::SendKey;
use crate::ids::{HeldId, LogTime, Offset, QueueId, TopicId};

/// Default of the window in time: 5 minutes.
pub(super) const WINDOW_MS: u64 = 300_000;
/// Default of the window in entries.
pub(super) const WINDOW_ENTRIES: u64 = 2_000_000;
/// Into how many generations a full window falls.
const GENERATIONS: u64 = 16;

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StoredAs {
    /// A message at this offset of its queue.
    Visible(Offset),
    /// One that waits, or did.
    Held(HeldId),
}

/// A send that was stored. Small, because there are millions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SendEntry {
    pub(crate) key: u128,
    /// The offset, or what names the message that waits.
    number: u64,
    /// Milliseconds after the first entry of its generation.
    pub(crate) after_ms: u32,
    pub(crate) queue: QueueId,
    held: bool,
}

impl SendEntry {
    pub(crate) fn stored_as(&self) -> StoredAs {
        if self.held { StoredAs::Held(HeldId(self.number)) } else { StoredAs::Visible(Offset(self.number)) }
    }
}

/// Sends in the order of their storing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generation {
    pub(crate) first: LogTime,
    pub(crate) last: LogTime,
    pub(crate) entries: Vec<SendEntry>,
}

impl Generation {
    fn insert(&mut self, key: u128, at: LogTime, queue: QueueId, stored: StoredAs) {
        if self.entries.is_empty() {
            self.first = at;
        }
        self.last = at;
        let after_ms = u32::try_from(at.since(self.first)).unwrap_or(u32::MAX);
        let (number, held) = match stored {
            StoredAs::Visible(offset) => (offset.0, false),
            StoredAs::Held(id) => (id.0, true),
        };
        self.entries.push(SendEntry { key, number, after_ms, queue, held });
    }
}

/// The sends of the window.
#[derive(Clone, Debug)]
pub(crate) struct Duplicates {
    pub(crate) window_ms: u64,
    pub(crate) window_entries: u64,
    /// Sends forgotten for want of room before their time was over: retries of those would be stored twice.
    pub(crate) forgotten_early: u64,
    /// Sends forgotten since this state was made or read. Numbers the entries for the index, no part of the state.
    dropped: u64,
    pub(crate) generations: VecDeque<Arc<Generation>>,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self {
            window_ms: WINDOW_MS,
            window_entries: WINDOW_ENTRIES,
            forgotten_early: 0,
            dropped: 0,
            generations: VecDeque::new(),
        }
    }
}

/// The key within one incarnation of a topic.
pub(crate) fn key_in(topic: TopicId, key: SendKey) -> u128 {
    key.0 ^ u128::from(topic.0) << 64
}

impl Duplicates {
    /// Remembers a send.
    pub(crate) fn insert(&mut self, key: u128, now: LogTime, queue: QueueId, stored: StoredAs) {
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
            Arc::make_mut(last).insert(key, now, queue, stored);
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
            self.dropped += oldest.entries.len() as u64;
            self.generations.pop_front();
        }
    }

    /// Takes back what a checkpoint held.
    pub(crate) fn restore(&mut self, generation: &[(u128, LogTime, QueueId, StoredAs)]) {
        let entries = Vec::with_capacity(generation.len());
        let mut restored = Generation { entries, ..Generation::default() };
        for (key, at, queue, stored) in generation {
            restored.insert(*key, *at, *queue, *stored);
        }
        self.generations.push_back(Arc::new(restored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Duplicates {
        fn find(&self, key: u128, now: LogTime) -> Option<(QueueId, StoredAs)> {
            let mut index = SendIndex::default();
            index.follow(self);
            index.find(self, key, now)
        }
    }

    #[test]
    fn a_repeat_within_the_window_is_recognised_and_a_later_one_is_not() {
        let mut sends = Duplicates { window_ms: 100, ..Duplicates::default() };
        sends.insert(1, LogTime(1000), QueueId(3), StoredAs::Held(HeldId(7)));
        assert_eq!(sends.find(1, LogTime(1100)), Some((QueueId(3), StoredAs::Held(HeldId(7)))));
        assert_eq!(sends.find(1, LogTime(1101)), None);
        assert_eq!(sends.find(2, LogTime(1000)), None);
    }

    #[test]
    fn the_newest_entries_are_kept_and_those_forgotten_early_are_counted() {
        let mut sends = Duplicates { window_entries: 160, ..Duplicates::default() };
        for key in 0..1000 {
            sends.insert(key, LogTime(5), QueueId(0), StoredAs::Visible(Offset(key as u64)));
        }
        assert!(sends.len() >= 160 && sends.len() <= 180, "{}", sends.len());
        assert_eq!(sends.forgotten_early, 1000 - sends.len());
        for key in 840..1000 {
            assert_eq!(
                sends.find(key, LogTime(5)),
                Some((QueueId(0), StoredAs::Visible(Offset(key as u64))))
            );
        }
    }

    #[test]
    fn what_is_old_is_forgotten_even_when_few_sends_come() {
        let mut sends = Duplicates { window_ms: 100, ..Duplicates::default() };
        for minute in 0..50_u64 {
            sends.insert(
                u128::from(minute),
                LogTime(minute * 50),
                QueueId(0),
                StoredAs::Visible(Offset(minute)),
            );
        }
        assert!(sends.len() < 10, "{}", sends.len());
        assert_eq!(sends.forgotten_early, 0);
    }

    /// The index follows send by send, as the master does, through generations that come and go.
    #[test]
    fn an_index_that_followed_knows_what_a_new_one_knows() {
        let mut sends = Duplicates { window_ms: 1_000, window_entries: 64, ..Duplicates::default() };
        let mut followed = SendIndex::default();
        for number in 0..2_000_u64 {
            let now = LogTime(number * (1 + number % 7));
            // Keys come again after a while, when their first send is forgotten or is not.
            let key = u128::from(number % 97);
            let (stored, queue) = (StoredAs::Visible(Offset(number)), QueueId(0));
            followed.follow(&sends);
            assert_eq!(followed.find(&sends, key, now), sends.find(key, now), "at send {number}");
            if sends.find(key, now).is_none() {
                sends.insert(key, now, queue, stored);
                followed.follow(&sends);
                assert_eq!(followed.find(&sends, key, now), Some((queue, stored)));
            }
            assert!(followed.len() <= 3 * 64, "what was forgotten leaves the index");
        }
    }

    #[test]
    fn the_index_of_sends_in_batches_does_not_grow_beyond_the_window() {
        let mut sends = Duplicates { window_entries: 640, ..Duplicates::default() };
        let mut followed = SendIndex::default();
        for batch in 0..200_u64 {
            for number in batch * 100..(batch + 1) * 100 {
                sends.insert(u128::from(number), LogTime(5), QueueId(0), StoredAs::Visible(Offset(number)));
            }
            followed.follow(&sends);
            assert!(followed.len() < 1_000, "{}", followed.len());
        }
        let newest = followed.find(&sends, 19_999, LogTime(5));
        assert_eq!(newest, Some((QueueId(0), StoredAs::Visible(Offset(19_999)))));
    }
}
