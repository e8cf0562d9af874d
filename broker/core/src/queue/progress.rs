//! How far one consumer group is in one message queue: what was never delivered, what is delivered and not done,
//! and, for a FIFO group, what waits behind its message group.
//!
//! A message below `next` is done unless it is `pending` or parked in a lane. No list of acked messages is kept,
//! so acks out of order cost nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::index::MessageQueue;
use crate::ids::{AttemptHash, ClientHash, ConnectionId, GroupId, Lane, LogTime, Lsn, Nonce, Offset};

/// A delivery that has not ended. It ends by ack, by redelivery or by becoming a dead letter, not by time: past
/// [`Pending::visible_at`] it can be delivered again, and until then its holder may still ack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "four facts that do not exclude each other")]
pub(crate) struct Lease {
    pub(crate) nonce: Nonce,
    pub(crate) client: ClientHash,
    pub(crate) connection: ConnectionId,
    /// The receive attempt it answered; 0 is none.
    pub(crate) attempt: AttemptHash,
    pub(crate) popped_at: LogTime,
    pub(crate) length_ms: u64,
    /// Renewed while the client lives.
    pub(crate) auto_renew: bool,
    /// Known to have reached the client.
    pub(crate) confirmed: bool,
    /// Handed out again to a repeat of its receive attempt: that its first answer got lost says nothing any more.
    pub(crate) repeated: bool,
    /// Being worked on; not so while it waits out a back-off.
    pub(crate) held: bool,
}

/// A message below `next` that is not done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pending {
    /// Not delivered again before.
    pub(crate) visible_at: LogTime,
    /// Deliveries so far.
    pub(crate) attempts: u32,
    pub(crate) lane: Lane,
    pub(crate) lease: Option<Lease>,
}

/// A group's position in a queue.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// First offset never looked at.
    pub(crate) next: Offset,
    pub(crate) pending: BTreeMap<Offset, Pending>,
    /// The pending by the time at which they can be delivered again.
    pub(crate) due: BTreeSet<(LogTime, Offset)>,
    /// FIFO groups: each message group with a pending message, and the offsets that wait behind it.
    pub(crate) lanes: BTreeMap<Lane, VecDeque<Offset>>,
    /// Pending whose lease is held.
    pub(crate) in_flight: u32,
    /// Offsets waiting in lanes.
    pub(crate) parked: u32,
}

impl Progress {
    /// At the start of a subscription.
    pub(crate) fn new(next: Offset) -> Self {
        Self { next, ..Self::default() }
    }

    /// Delivers the message at `next` for the first time. Its lane is 0, or free.
    pub(crate) fn deliver(&mut self, lane: Lane, visible_at: LogTime, lease: Lease) {
        if lane != Lane(0) {
            self.lanes.insert(lane, VecDeque::new());
        }
        self.put(self.next, Pending { visible_at, attempts: 1, lane, lease: Some(lease) });
        self.next = self.next.next();
    }

    /// Leaves the message at `next` for later, because its message group has an earlier one pending. False where
    /// it has none.
    pub(crate) fn park(&mut self, lane: Lane) -> bool {
        let Some(waiting) = self.lanes.get_mut(&lane) else { return false };
        waiting.push_back(self.next);
        self.parked += 1;
        self.next = self.next.next();
        true
    }

    /// A message is done: acked, dead-lettered or gone. The next of its message group, if any, can be delivered.
    pub(crate) fn finish(&mut self, offset: Offset) -> Option<Pending> {
        let done = self.take_out(offset)?;
        let Some(waiting) = self.lanes.get_mut(&done.lane) else { return Some(done) };
        match waiting.pop_front() {
            Some(next) => {
                self.parked -= 1;
                self.put(next, Pending { visible_at: LogTime(0), attempts: 0, lane: done.lane, lease: None });
            }
            None => drop(self.lanes.remove(&done.lane)),
        }
        Some(done)
    }

    /// A message that was looked at is given up: pending, or waiting in a lane.
    pub(crate) fn give_up(&mut self, offset: Offset, lane: Lane) {
        if self.finish(offset).is_none()
            && let Some(waiting) = self.lanes.get_mut(&lane)
            && let Ok(at) = waiting.binary_search(&offset)
        {
            waiting.remove(at);
            self.parked -= 1;
        }
    }

    /// What was looked at and is not done, in no order.
    pub(crate) fn not_done(&self) -> impl Iterator<Item = Offset> {
        self.pending.keys().chain(self.lanes.values().flatten()).copied()
    }

    /// Where the oldest record lies that the group, whose progress this is, still needs of what is in the log.
    pub(crate) fn oldest(&self, group: GroupId, messages: &MessageQueue, log_start: Lsn) -> Option<Lsn> {
        let seen = self.not_done().filter_map(|offset| messages.get(offset));
        let mut oldest = seen.filter(|entry| entry.is_kept(log_start)).map(|entry| entry.lsn).min();
        let mut offset = self.next.max(messages.min);
        while let Some(entry) = messages.get(offset) {
            if entry.is_kept(log_start) && entry.is_for(group) {
                oldest = Some(oldest.map_or(entry.lsn, |oldest| oldest.min(entry.lsn)));
                if offset >= messages.ordered_from {
                    // Nothing older follows.
                    break;
                }
            }
            offset = offset.next();
        }
        oldest
    }

    /// Replaces what is known of a pending message. None where it is not pending.
    pub(crate) fn change(&mut self, offset: Offset, change: impl FnOnce(&mut Pending)) -> Option<()> {
        let mut pending = self.take_out(offset)?;
        change(&mut pending);
        self.put(offset, pending);
        Some(())
    }

    /// Whether the group still needs this message, whose message group is `lane`.
    pub(crate) fn owes(&self, offset: Offset, lane: Lane) -> bool {
        let parked = || self.lanes.get(&lane).is_some_and(|waiting| waiting.binary_search(&offset).is_ok());
        offset >= self.next || self.pending.contains_key(&offset) || parked()
    }

    fn take_out(&mut self, offset: Offset) -> Option<Pending> {
        let pending = self.pending.remove(&offset)?;
        self.due.remove(&(pending.visible_at, offset));
        self.in_flight -= u32::from(pending.lease.is_some_and(|lease| lease.held));
        Some(pending)
    }

    /// Puts a message under its times. With `take_out` the only place where `due` and `in_flight` are kept in step.
    pub(crate) fn put(&mut self, offset: Offset, pending: Pending) {
        self.due.insert((pending.visible_at, offset));
        self.in_flight += u32::from(pending.lease.is_some_and(|lease| lease.held));
        self.pending.insert(offset, pending);
    }
}
