//! The index of one message queue: where each message lies in the log, with what a receive must know of it to
//! decide. 8 bytes a message in RAM; tags and message groups take 8 more only in the chunks that have some.
//!
//! Chunks are shared with checkpoints being written: the whole is cloned by cloning pointers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::ids::{GroupId, Lane, Lsn, Offset, TagHash};

/// Messages of a full chunk.
pub(crate) const CHUNK: usize = 1024;

/// What the index knows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) lsn: Lsn,
    pub(crate) tag: TagHash,
    pub(crate) lane: Lane,
    /// The only group that gets it: one that a dead letter was given back to. 0 is "every group".
    pub(crate) only: GroupId,
}

impl Entry {
    /// A message for every group.
    pub(crate) const fn new(lsn: Lsn, tag: TagHash, lane: Lane) -> Self {
        Self { lsn, tag, lane, only: GroupId(0) }
    }

    /// Whether a group gets it.
    pub(crate) fn is_for(&self, group: GroupId) -> bool {
        self.only == GroupId(0) || self.only == group
    }

    /// Whether the message is in a log that begins at `log_start`.
    pub(crate) fn is_kept(&self, log_start: Lsn) -> bool {
        self.lsn >= log_start && self.lsn != GONE
    }
}

/// Where a message lies that was taken away: no record does at the very beginning of a log.
const GONE: Lsn = Lsn(0);

/// Up to [`CHUNK`] messages, column by column. An empty column is all zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) lsns: Vec<u64>,
    pub(crate) tags: Vec<u64>,
    pub(crate) lanes: Vec<u64>,
    pub(crate) only: Vec<u64>,
}

impl Chunk {
    fn push(&mut self, entry: Entry) {
        push_column(&mut self.tags, self.lsns.len(), entry.tag.0);
        push_column(&mut self.lanes, self.lsns.len(), entry.lane.0);
        push_column(&mut self.only, self.lsns.len(), u64::from(entry.only.0));
        self.lsns.push(entry.lsn.0);
    }

    fn get(&self, at: usize) -> Option<Entry> {
        let column = |column: &[u64]| column.get(at).copied().unwrap_or(0);
        let lsn = Lsn(*self.lsns.get(at)?);
        let only = GroupId(column(&self.only) as u32);
        Some(Entry { lsn, tag: TagHash(column(&self.tags)), lane: Lane(column(&self.lanes)), only })
    }
}

/// Appends to a column of which trailing zeroes are left out while all are zero.
fn push_column(column: &mut Vec<u64>, len: usize, value: u64) {
    if value != 0 || !column.is_empty() {
        column.resize(len, 0);
        column.push(value);
    }
}

/// The messages of one queue, from the oldest kept to the newest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MessageQueue {
    /// Oldest kept.
    pub(crate) min: Offset,
    /// The next to come.
    pub(crate) next: Offset,
    /// Offset of the first entry of the first chunk.
    pub(crate) base: Offset,
    /// From this offset on, positions in the log rise with offsets. Before it some may not: relocated messages,
    /// dead letters and those that were held.
    pub(crate) ordered_from: Offset,
    /// All but the last are full.
    pub(crate) chunks: VecDeque<Arc<Chunk>>,
}

impl MessageQueue {
    pub(crate) fn push(&mut self, entry: Entry) -> Offset {
        if self.chunks.back().and_then(|last| last.lsns.last()).is_some_and(|last| *last > entry.lsn.0) {
            self.ordered_from = self.next.next();
        }
        match self.chunks.back_mut() {
            Some(last) if last.lsns.len() < CHUNK => Arc::make_mut(last).push(entry),
            _ => {
                let mut chunk = Chunk::default();
                chunk.push(entry);
                self.chunks.push_back(Arc::new(chunk));
            }
        }
        let offset = self.next;
        self.next = offset.next();
        offset
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<Entry> {
        if offset < self.min {
            return None;
        }
        let (chunk, at) = self.position(offset)?;
        self.chunks.get(chunk)?.get(at)
    }

    /// Takes a message away; its offset stays, and whoever comes to it passes it over. None where it is not there.
    pub(crate) fn remove(&mut self, offset: Offset, log_start: Lsn) -> Option<Entry> {
        let removed = self.get(offset).filter(|entry| entry.is_kept(log_start))?;
        self.relocate(offset, GONE)?;
        Some(removed)
    }

    /// Message group of a message; 0 where it has none or is gone.
    pub(crate) fn lane(&self, offset: Offset) -> Lane {
        self.get(offset).map_or(Lane(0), |entry| entry.lane)
    }

    /// Points a message to where it was copied. None where it is not there.
    pub(crate) fn relocate(&mut self, offset: Offset, lsn: Lsn) -> Option<()> {
        let (chunk, at) = self.position(offset).filter(|_| offset >= self.min)?;
        let chunk = self.chunks.get_mut(chunk)?;
        *Arc::make_mut(chunk).lsns.get_mut(at)? = lsn.0;
        self.ordered_from = self.ordered_from.max(offset.next());
        Some(())
    }

    /// Forgets all before `offset`.
    pub(crate) fn trim(&mut self, offset: Offset) {
        self.min = offset.clamp(self.min, self.next);
        while self.chunks.front().is_some_and(|first| self.base.0 + first.lsns.len() as u64 <= self.min.0) {
            if let Some(first) = self.chunks.pop_front() {
                self.base = Offset(self.base.0 + first.lsns.len() as u64);
            }
        }
        if self.chunks.is_empty() {
            self.base = self.next;
        }
    }

    /// Messages that are still there.
    pub(crate) fn count_kept(&self, log_start: Lsn) -> u64 {
        let before = (self.min.0 - self.base.0) as usize;
        let lsns = self.chunks.iter().flat_map(|chunk| &chunk.lsns).skip(before);
        lsns.filter(|lsn| **lsn >= log_start.0 && **lsn != GONE.0).count() as u64
    }

    /// The messages from an offset on that are still there.
    pub(crate) fn kept_from(
        &self,
        from: Offset,
        log_start: Lsn,
    ) -> impl Iterator<Item = (Offset, Entry)> + '_ {
        let offsets = (from.max(self.min).0..self.next.0).map(Offset);
        let entries = offsets.filter_map(|offset| Some((offset, self.get(offset)?)));
        entries.filter(move |(_, entry)| entry.is_kept(log_start))
    }

    /// Offsets from the oldest kept to the newest.
    pub(crate) fn len(&self) -> u64 {
        self.next.0 - self.min.0
    }

    fn position(&self, offset: Offset) -> Option<(usize, usize)> {
        let at = offset.0.checked_sub(self.base.0)? as usize;
        Some((at / CHUNK, at % CHUNK))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64) -> Entry {
        let lane = Lane(u64::from(number > 1500));
        Entry {
            only: GroupId(u32::from(number > 2500)),
            ..Entry::new(Lsn(10 + number * 10), TagHash(number % 3), lane)
        }
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_found_until_it_is_trimmed(pushed in 0_u64..5000, trim in 0_u64..6000) {
            let mut queue = MessageQueue::default();
            for number in 0..pushed {
                prop_assert_eq!(queue.push(entry(number)), Offset(number));
            }
            queue.trim(Offset(trim));
            let kept = trim.min(pushed)..pushed;
            for number in 0..pushed + 10 {
                prop_assert_eq!(queue.get(Offset(number)), kept.contains(&number).then(|| entry(number)));
            }
            prop_assert_eq!(queue.len(), kept.end - kept.start);
            prop_assert_eq!(queue.count_kept(Lsn(0)), kept.end - kept.start);
            let after = queue.push(entry(pushed));
            prop_assert_eq!((after, queue.get(after)), (Offset(pushed), Some(entry(pushed))));
        }
    }

    #[test]
    fn a_relocated_message_is_found_at_its_new_place() {
        let mut queue = MessageQueue::default();
        for number in 0..3000 {
            queue.push(entry(number));
        }
        let before = queue.clone();
        assert_eq!(queue.relocate(Offset(2047), Lsn(1)), Some(()));
        assert_eq!(queue.relocate(Offset(3000), Lsn(1)), None);
        assert_eq!(queue.get(Offset(2047)).unwrap().lsn, Lsn(1));
        assert_eq!(before.get(Offset(2047)), Some(entry(2047)), "a clone does not see it");
    }
}
