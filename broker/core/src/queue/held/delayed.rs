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

    /// Takes out all of a topic, and shows each.
    pub(super) fn extract(&mut self, topic: TopicId, mut gone: impl FnMut(&HeldMessage)) {
        self.0.extract(|kept| kept.topic == topic, |(_, id), kept| gone(&kept.message(id)));
    }
}

/// What is kept of a delayed message beside its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept {
    /// See [`HeldMessage::moved_to`].
    moved_to: Lsn,
    tag: TagHash,
    lane: Lane,
    topic: TopicId,
    queue: QueueId,
}

impl Kept {
    fn new(id: HeldId, message: &HeldMessage) -> Self {
        let HeldMessage { tag, lane, topic, queue, .. } = *message;
        Self { moved_to: message.moved_to(id), tag, lane, topic, queue }
    }

    fn message(self, id: HeldId) -> HeldMessage {
        let Self { moved_to, tag, lane, topic, queue } = self;
        HeldMessage { lsn: HeldMessage::lsn(id, moved_to), tag, lane, topic, queue }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::OccupiedEntry;

    use proptest::prelude::*;

    use super::*;

    type Key = (LogTime, HeldId);

    #[derive(Clone, Debug)]
    enum Change {
        Insert(Key, HeldMessage),
        Relocate(Key, Lsn),
        Remove(Key),
        TakeDue(LogTime),
        Extract(TopicId),
    }

    fn key() -> impl Strategy<Value = Key> {
        (0_u64..40, 1_u64..40).prop_map(|(time, id)| (LogTime(time), HeldId(id)))
    }

    /// Most are alike in most, as they are in a broker.
    fn change() -> impl Strategy<Value = Change> {
        let message = (prop_oneof![4 => Just(0), 1 => 1_u64..3], 0_u64..2, 1_u32..4, 0_u16..4);
        prop_oneof![
            60 => (key(), message).prop_map(|(key, (tag, lane, topic, queue))| Change::Insert(key, HeldMessage {
                lsn: Lsn(key.1.0), tag: TagHash(tag), lane: Lane(lane), topic: TopicId(topic), queue: QueueId(queue),
            })),
            10 => (key(), 1_u64..90).prop_map(|(key, lsn)| Change::Relocate(key, Lsn(lsn))),
            20 => key().prop_map(Change::Remove),
            9 => (0_u64..20).prop_map(|time| Change::TakeDue(LogTime(time))),
            1 => (1_u32..4).prop_map(|topic| Change::Extract(TopicId(topic))),
        ]
    }

    fn apply(delayed: &mut Delayed, plain: &mut BTreeMap<Key, HeldMessage>, change: &Change) {
        match *change {
            Change::Insert((time, id), message) => {
                delayed.insert(time, id, &message);
                plain.insert((time, id), message);
            }
            Change::Relocate((time, id), lsn) => {
                let of_plain = plain.get_mut(&(time, id));
                let before = of_plain.map(|message| std::mem::replace(&mut message.lsn, lsn));
                assert_eq!(delayed.relocate(time, id, lsn), before);
            }
            Change::Remove((time, id)) => assert_eq!(delayed.remove(time, id), plain.remove(&(time, id))),
            Change::TakeDue(up_to) => {
                let first = plain.first_entry().filter(|first| first.key().0 <= up_to);
                assert_eq!(delayed.take_due(up_to), first.map(OccupiedEntry::remove));
            }
            Change::Extract(topic) => {
                let mut gone = Vec::new();
                delayed.extract(topic, |message| gone.push(*message));
                let of_plain = plain.extract_if(.., |_, message| message.topic == topic);
                assert!(gone.into_iter().eq(of_plain.map(|(_, message)| message)));
            }
        }
    }

    proptest! {
        #[test]
        fn they_are_what_a_plain_map_would_hold(changes in prop::collection::vec(change(), 0..2_000)) {
            let (mut delayed, mut plain) = (Delayed::default(), BTreeMap::new());
            for change in &changes {
                apply(&mut delayed, &mut plain, change);
            }
            prop_assert!(delayed.iter().eq(plain.iter().map(|(key, message)| (*key, *message))));
            prop_assert_eq!(delayed.len(), plain.len());
            prop_assert_eq!(delayed.next_due(), plain.keys().next().map(|(time, _)| *time));
        }
    }
}
