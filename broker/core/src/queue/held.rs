//! Messages that no consumer can see yet: half messages until their transaction ends, delayed ones until their
//! time. They lie in the log like any other; here is only where, and what becomes of them.

mod delayed;
mod ended;

use std::collections::BTreeMap;

pub(crate) use self::delayed::Delayed;
pub(crate) use self::ended::{Ended, Ending};
use super::chunked::{ChunkedMap, Column, Value};
use super::index::Entry;
use crate::ids::{HeldId, Lane, LogTime, Lsn, QueueId, TagHash, TopicId};
use crate::record::HeldKey;

/// A message that waits: what its index entry will be, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HeldMessage {
    /// Where its record lies now.
    pub(crate) lsn: Lsn,
    pub(crate) tag: TagHash,
    pub(crate) lane: Lane,
    pub(crate) topic: TopicId,
    pub(crate) queue: QueueId,
}

/// A record that was never copied lies where its id says. None lies at the very beginning of a log.
const AT_ITS_ID: Lsn = Lsn(0);

impl HeldMessage {
    /// Where the record of the message of this id was copied to; 0 where it never was.
    pub(crate) fn moved_to(&self, id: HeldId) -> Lsn {
        if self.lsn.0 == id.0 { AT_ITS_ID } else { self.lsn }
    }

    /// Where the record of a message lies of which that is known.
    pub(crate) fn lsn(id: HeldId, moved_to: Lsn) -> Lsn {
        if moved_to == AT_ITS_ID { Lsn(id.0) } else { moved_to }
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry::new(self.lsn, self.tag, self.lane)
    }
}

/// A half message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Half {
    pub(crate) message: HeldMessage,
    /// When its producer is asked next.
    pub(crate) next_check: LogTime,
    /// How often a producer was asked.
    pub(crate) checks: u32,
}

impl Value for Half {
    type Columns = Column<Self>;
}

/// How many messages of a topic wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeldCounts {
    /// For their time.
    pub delayed: u64,
    /// For the end of their transaction.
    pub halves: u64,
}

/// All messages that wait.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    pub(crate) delayed: Delayed,
    pub(crate) halves: ChunkedMap<HeldId, Half>,
    pub(crate) ended: Ended,
    /// Half messages that became dead letters, since the log began.
    pub(crate) given_up: u64,
    /// Follows from the first two.
    counts: BTreeMap<TopicId, HeldCounts>,
    /// Likewise: how many of their records begin in each region of the log, so that nobody has to look at all of them to
    /// know that the oldest segment has none.
    regions: BTreeMap<u64, u64>,
}

/// Bytes of a region, as a power of two: 16 MiB.
const REGION_BITS: u32 = 24;

impl Held {
    pub(crate) fn insert_delayed(&mut self, time: LogTime, id: HeldId, message: HeldMessage) {
        self.count_in(&message).delayed += 1;
        self.delayed.insert(time, id, &message);
    }

    pub(crate) fn insert_half(&mut self, id: HeldId, half: Half) {
        self.count_in(&half.message).halves += 1;
        self.halves.insert(id, half);
    }

    /// Takes out a half message, because its transaction has ended.
    pub(crate) fn end_half(&mut self, id: HeldId, now: LogTime, ending: Ending) -> Option<HeldMessage> {
        let half = self.halves.remove(id)?;
        self.count_out(&half.message, |counts| counts.halves -= 1);
        self.ended.insert(id, now, ending);
        self.given_up += u64::from(ending == Ending::GivenUp);
        Some(half.message)
    }

    /// Takes out a delayed message before its time.
    pub(crate) fn recall(&mut self, time: LogTime, id: HeldId, now: LogTime) -> Option<HeldMessage> {
        let message = self.delayed.remove(time, id)?;
        self.count_out(&message, |counts| counts.delayed -= 1);
        self.ended.insert(id, now, Ending::Recalled);
        Some(message)
    }

    /// Takes out the first delayed message, if it is due.
    pub(crate) fn take_due(&mut self, up_to: LogTime) -> Option<HeldMessage> {
        let message = self.delayed.take_due(up_to)?;
        self.count_out(&message, |counts| counts.delayed -= 1);
        Some(message)
    }

    /// How many messages are due, as far as `most`.
    pub(crate) fn count_due(&self, up_to: LogTime, most: usize) -> usize {
        self.delayed.iter().take(most).take_while(|((time, _), _)| *time <= up_to).count()
    }

    /// A producer was asked. None where no half message has this id.
    pub(crate) fn checked(&mut self, id: HeldId, next_check: LogTime) -> Option<()> {
        let half = self.halves.get(id)?;
        self.halves.insert(id, Half { next_check, checks: half.checks.saturating_add(1), ..half });
        Some(())
    }

    /// The record of a message was copied to `lsn`. None where no such message waits.
    pub(crate) fn relocate(&mut self, key: HeldKey, lsn: Lsn) -> Option<()> {
        let before = match key {
            HeldKey::Until(time, id) => self.delayed.relocate(time, id, lsn)?,
            HeldKey::Transaction(id) => {
                let half = self.halves.get(id)?;
                self.halves.insert(id, Half { message: HeldMessage { lsn, ..half.message }, ..half });
                half.message.lsn
            }
        };
        leave_region(&mut self.regions, before);
        *self.regions.entry(lsn.0 >> REGION_BITS).or_default() += 1;
        Some(())
    }

    /// The messages whose records lie below a position, by the order of their keys.
    pub(crate) fn below(&self, below: Lsn) -> impl Iterator<Item = (HeldKey, HeldMessage)> + '_ {
        let delayed = self.delayed.iter().map(|((time, id), message)| (HeldKey::Until(time, id), message));
        let halves = self.halves.iter().map(|(id, half)| (HeldKey::Transaction(id), half.message));
        let some = self.regions.first_key_value().is_some_and(|(region, _)| region << REGION_BITS < below.0);
        some.then(|| delayed.chain(halves).filter(move |(_, message)| message.lsn < below))
            .into_iter()
            .flatten()
    }

    /// Forgets the messages of a deleted topic.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) {
        if self.counts.remove(&topic).is_some() {
            let regions = &mut self.regions;
            self.delayed.extract(topic, |message| leave_region(regions, message.lsn));
            self.halves.extract(
                |half| half.message.topic == topic,
                |_, half| leave_region(regions, half.message.lsn),
            );
        }
    }

    /// How many messages of a topic wait.
    pub(crate) fn counts(&self, topic: TopicId) -> HeldCounts {
        self.counts.get(&topic).copied().unwrap_or_default()
    }

    fn count_in(&mut self, message: &HeldMessage) -> &mut HeldCounts {
        *self.regions.entry(message.lsn.0 >> REGION_BITS).or_default() += 1;
        self.counts.entry(message.topic).or_default()
    }

    fn count_out(&mut self, message: &HeldMessage, change: impl FnOnce(&mut HeldCounts)) {
        leave_region(&mut self.regions, message.lsn);
        if let Some(counts) = self.counts.get_mut(&message.topic) {
            change(counts);
            if *counts == HeldCounts::default() {
                self.counts.remove(&message.topic);
            }
        }
    }
}

fn leave_region(regions: &mut BTreeMap<u64, u64>, lsn: Lsn) {
    let region = lsn.0 >> REGION_BITS;
    if let Some(count) = regions.get_mut(&region) {
        *count -= 1;
        if *count == 0 {
            regions.remove(&region);
        }
    }
}
