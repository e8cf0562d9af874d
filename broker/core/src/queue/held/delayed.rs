//! Delayed messages by the time at which they are due. There may be ten million: what their key says already, and what all
//! of a chunk agree in, is not kept a second time.

use super::HeldMessage;
use crate::ids::{HeldId, Lane, LogTime, Lsn, QueueId, TagHash, TopicId};
use crate::queue::chunked::{ChunkedMap, Column, Columns, Value};

/// All delayed messages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delayed(ChunkedMap<(LogTime, HeldId), Kept>);

impl Delayed {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, time: LogTime, id: HeldId) -> Option<HeldMessage> {
        Some(self.0.get((time, id))?.message(id))
    }

    pub(super) fn insert(&mut self, time: LogTime, id: HeldId, message: &HeldMessage) {
        self.0.insert((time, id), Kept::new(id, message));
    }

    pub(super) fn remove(&mut self, time: LogTime, id: HeldId) -> Option<HeldMessage> {
        Some(self.0.remove((time, id))?.message(id))
    }

    /// Notes that the record of a message was copied to `lsn`. Where it was before; None where no such message waits.
    pub(super) fn relocate(&mut self, time: LogTime, id: HeldId, lsn: Lsn) -> Option<Lsn> {
        let before = self.get(time, id)?;
        self.0.insert((time, id), Kept::new(id, &HeldMessage { lsn, ..before }));
        Some(before.lsn)
    }

    /// The messages, by the order of their times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ((LogTime, HeldId), HeldMessage)> + '_ {
        self.0.iter().map(|((time, id), kept)| ((time, id), kept.message(id)))
    }

    /// When the first is due.
    pub(crate) fn next_due(&self) -> Option<LogTime> {
        self.0.first().map(|((time, _), _)| time)
    }

    /// Takes out the first, if it is due.
    pub(super) fn take_due(&mut self, up_to: LogTime) -> Option<HeldMessage> {
        self.next_due().filter(|time| *time <= up_to)?;
        let ((_, id), kept) = self.0.pop_first()?;
        Some(kept.message(id))
    }

    /// Takes out all of a topic.
    pub(super) fn extract(&mut self, topic: TopicId) -> impl Iterator<Item = HeldMessage> + use<> {
        let gone = self.0.extract(|kept| kept.topic == topic);
        gone.into_iter().map(|((_, id), kept)| kept.message(id))
    }
}

/// What is kept of a delayed message beside its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    /// Where its record was copied to; [`AT_ITS_ID`] where it was not.
    moved_to: Lsn,
    tag: TagHash,
    lane: Lane,
    topic: TopicId,
    queue: QueueId,
}

/// A record that was never copied lies where its id says. No record begins at the very beginning of a log.
const AT_ITS_ID: Lsn = Lsn(0);

impl Kept {
    fn new(id: HeldId, message: &HeldMessage) -> Self {
        let HeldMessage { lsn, tag, lane, topic, queue } = *message;
        Self { moved_to: if lsn.0 == id.0 { AT_ITS_ID } else { lsn }, tag, lane, topic, queue }
    }

    fn message(self, id: HeldId) -> HeldMessage {
        let Self { moved_to, tag, lane, topic, queue } = self;
        HeldMessage { lsn: if moved_to == AT_ITS_ID { Lsn(id.0) } else { moved_to }, tag, lane, topic, queue }
    }
}

impl Value for Kept {
    type Columns = KeptColumns;
}

/// The fields of many, each for itself: most have no tag, were never copied, and are of one topic.
#[derive(Clone, Debug, Default)]
struct KeptColumns {
    moved_to: Column<Lsn>,
    tag: Column<TagHash>,
    lane: Column<Lane>,
    topic: Column<TopicId>,
    queue: Column<QueueId>,
}

impl Columns<Kept> for KeptColumns {
    fn get(&self, at: usize) -> Option<Kept> {
        Some(Kept {
            moved_to: self.moved_to.get(at)?,
            tag: self.tag.get(at)?,
            lane: self.lane.get(at)?,
            topic: self.topic.get(at)?,
            queue: self.queue.get(at)?,
        })
    }

    fn insert(&mut self, at: usize, kept: Kept) {
        self.moved_to.insert(at, kept.moved_to);
        self.tag.insert(at, kept.tag);
        self.lane.insert(at, kept.lane);
        self.topic.insert(at, kept.topic);
        self.queue.insert(at, kept.queue);
    }

    fn set(&mut self, at: usize, kept: Kept) {
        self.moved_to.set(at, kept.moved_to);
        self.tag.set(at, kept.tag);
        self.lane.set(at, kept.lane);
        self.topic.set(at, kept.topic);
        self.queue.set(at, kept.queue);
    }

    fn remove(&mut self, at: usize) {
        self.moved_to.remove(at);
        self.tag.remove(at);
        self.lane.remove(at);
        self.topic.remove(at);
        self.queue.remove(at);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self {
            moved_to: self.moved_to.split_off(at),
            tag: self.tag.split_off(at),
            lane: self.lane.split_off(at),
            topic: self.topic.split_off(at),
            queue: self.queue.split_off(at),
        }
    }
}
