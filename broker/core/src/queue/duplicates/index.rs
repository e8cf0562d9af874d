//! Finds a remembered send by its key in one look, however many generations there are. Kept by the master beside
//! the state, so that neither a checkpoint nor a slave pays for it.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use super::{Duplicates, Generation, SendEntry, StoredAs};
use crate::ids::{LogTime, QueueId};

/// Forgotten sends that leave the index for each that comes: more than one, so that it never lags for long.
const FORGET_PER_SEND: u64 = 2;

/// Positions of remembered sends by key. Sends are numbered in the order of their storing.
#[derive(Debug, Default)]
pub(crate) struct SendIndex {
    /// Number of the newest send of each key, less the bits above 32.
    table: HashTable<u32>,
    /// The full generations, each with the number of its first entry; forgotten ones until they left the index.
    full: VecDeque<(u64, Arc<Generation>)>,
    /// Entries of the oldest generation that have left the index.
    left: usize,
    /// Number of the first entry of the newest generation.
    newest: u64,
    /// Number of the next send to take in.
    next: u64,
}

impl SendIndex {
    /// Takes in what was remembered, and takes out some of what was forgotten, since the last call.
    pub(crate) fn follow(&mut self, sends: &Duplicates) {
        if sends.dropped > self.newest {
            // Even the generation that was the newest is gone, before it was held here.
            *self = Self { newest: sends.dropped, next: sends.dropped, ..Self::default() };
        }
        let before = self.next;
        self.reserve(sends);
        let mut first = sends.dropped;
        for (number, generation) in sends.generations.iter().enumerate() {
            let end = first + generation.entries.len() as u64;
            if self.next < end {
                for entry in generation.entries.get((self.next - first) as usize..).unwrap_or_default() {
                    self.add(sends, entry.key);
                }
            }
            // Full ones never change again: to hold one makes nobody copy it.
            let is_full = number + 1 < sends.generations.len();
            if is_full && self.full.back().is_none_or(|(last, _)| *last < first) {
                self.full.push_back((first, Arc::clone(generation)));
            }
            self.newest = first;
            first = end;
        }
        for _ in 0..(self.next - before) * FORGET_PER_SEND {
            self.forget_one(sends);
        }
    }

    /// Where the send of this key was stored, if it is in the window.
    pub(crate) fn find(&self, sends: &Duplicates, key: u128, now: LogTime) -> Option<(QueueId, StoredAs)> {
        let is_it = |slot: &u32| self.entry(sends, *slot).is_some_and(|(_, _, entry)| entry.key == key);
        let slot = self.table.find(key as u64, is_it)?;
        let (number, first, entry) = self.entry(sends, *slot)?;
        let stored_at = first.plus(u64::from(entry.after_ms));
        let in_window = number >= sends.dropped && now.since(stored_at) <= sends.window_ms;
        in_window.then_some((entry.queue, entry.stored_as()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Makes room for all that is new at once: after a restart that is the whole window.
    fn reserve(&mut self, sends: &Duplicates) {
        let new = (sends.dropped + sends.len()).saturating_sub(self.next);
        let mut table = std::mem::take(&mut self.table);
        let hash = |slot: &u32| self.entry(sends, *slot).map_or(0, |(_, _, entry)| entry.key as u64);
        table.reserve(new as usize, hash);
        self.table = table;
    }

    fn add(&mut self, sends: &Duplicates, key: u128) {
        let slot = self.next as u32;
        let mut table = std::mem::take(&mut self.table);
        let key_of = |slot: &u32| self.entry(sends, *slot).map_or(0, |(_, _, entry)| entry.key);
        match table.find_mut(key as u64, |slot| key_of(slot) == key) {
            // The earlier send of this key is out of the window.
            Some(earlier) => *earlier = slot,
            None => drop(table.insert_unique(key as u64, slot, |slot| key_of(slot) as u64)),
        }
        self.table = table;
        self.next += 1;
    }

    fn forget_one(&mut self, sends: &Duplicates) {
        let Some((first, generation)) = self.full.front().filter(|(first, _)| *first < sends.dropped) else {
            return;
        };
        let slot = (first + self.left as u64) as u32;
        if let Some(entry) = generation.entries.get(self.left) {
            if let Ok(found) = self.table.find_entry(entry.key as u64, |other| *other == slot) {
                found.remove();
            }
            self.left += 1;
        } else {
            self.full.pop_front();
            self.left = 0;
        }
    }

    /// Number and entry of a slot, with the time that its generation began.
    fn entry<'a>(&'a self, sends: &'a Duplicates, slot: u32) -> Option<(u64, LogTime, &'a SendEntry)> {
        // All numbers in the table lie within 2^32 of the oldest.
        let oldest = self.full.front().map_or(sends.dropped, |(first, _)| *first);
        let number = oldest + u64::from(slot.wrapping_sub(oldest as u32));
        let at = self.full.partition_point(|(first, _)| *first <= number).checked_sub(1);
        if let Some((first, generation)) = at.and_then(|at| self.full.get(at))
            && let Some(entry) = generation.entries.get((number - first) as usize)
        {
            return Some((number, generation.first, entry));
        }
        // In a generation that is not held yet: the last one, but while catching up with others.
        let mut first = sends.dropped;
        for generation in &sends.generations {
            let end = first + generation.entries.len() as u64;
            if (first..end).contains(&number) {
                return Some((number, generation.first, generation.entries.get((number - first) as usize)?));
            }
            first = end;
        }
        None
    }
}
