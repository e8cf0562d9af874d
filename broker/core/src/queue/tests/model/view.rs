//! What one consumer group may see of one topic, written down as plainly as possible: one line a message, every
//! question answered by looking at all of them.

use std::collections::BTreeMap;

use super::receive::{Asked, Waiting};
use crate::ids::{Lane, LogTime, Offset, QueueId, Ticket};
use crate::queue::request::Delivery;

/// A message as one group sees it.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) text: String,
    pub(super) lane: Lane,
    pub(super) attempts: u32,
    pub(super) visible_at: LogTime,
    pub(super) fate: Fate,
    /// It was delivered once, whatever became of that.
    pub(super) seen: bool,
}

/// Most messages of a queue that a group may have seen and not done.
pub(super) const PENDING_MAX: usize = 6;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Waiting,
    Delivered(Hold),
    Acked,
    /// It became a dead letter.
    Dead,
    /// Given up because the group did not consume.
    Expired,
    /// Passed over, because an expression did not want it or the group was set to go on behind it.
    Passed,
    /// The group was set to go on before it, and retention had dropped it.
    Gone,
}

impl Fate {
    /// It will not be delivered again.
    pub(super) const fn is_done(self) -> bool {
        !matches!(self, Self::Waiting | Self::Delivered(_))
    }
}

/// A delivery that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "four facts that do not exclude each other")]
pub(super) struct Hold {
    pub(super) nonce: u64,
    pub(super) client: u64,
    pub(super) attempt: Option<u64>,
    pub(super) since: LogTime,
    pub(super) length_ms: u64,
    pub(super) renewed: bool,
    pub(super) confirmed: bool,
    pub(super) repeated: bool,
    pub(super) worked_on: bool,
}

/// One group in one topic, and all messages that were ever visible to it there, in the order of their places.
#[derive(Debug)]
pub(super) struct View {
    /// The group's number and name.
    pub(super) group: usize,
    pub(super) name: &'static str,
    pub(super) topic: usize,
    pub(super) ordered: bool,
    pub(super) max_attempts: u32,
    pub(super) copies: BTreeMap<(QueueId, Offset), Copy>,
    /// The newest call of a consumer that did something, or renewal.
    pub(super) last_used: LogTime,
    /// The newest look for messages, which may have done something that is not seen here.
    pub(super) looked: LogTime,
    /// Messages given up because the group did not consume.
    pub(super) expired: u64,
    /// Somebody has messages to judge, and until then nobody else gets any.
    pub(super) judged_until: LogTime,
    /// The receives that wait.
    pub(super) waiting: BTreeMap<Ticket, Waiting>,
}

impl View {
    pub(super) fn new(
        (group, name): (usize, &'static str),
        topic: usize,
        ordered: bool,
        max_attempts: u32,
    ) -> Self {
        let (last_used, looked, judged_until) = (LogTime(0), LogTime(0), LogTime(0));
        let (copies, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self {
            group,
            name,
            topic,
            ordered,
            max_attempts,
            copies,
            last_used,
            looked,
            expired: 0,
            judged_until,
            waiting,
        }
    }

    /// Whether a message may be delivered.
    fn may_deliver(&self, place: (QueueId, Offset), now: LogTime) -> bool {
        let copy = &self.copies[&place];
        let ends = copy.fate.is_done();
        let earlier = self.copies.range((place.0, Offset(0))..place);
        let waits = self.ordered
            && copy.lane != Lane(0)
            && earlier
                .filter(|(_, earlier)| earlier.lane == copy.lane)
                .any(|(_, earlier)| !earlier.fate.is_done());
        !ends && copy.visible_at <= now && copy.attempts < self.max_attempts && !waits
    }

    /// What must be delivered: all that may be, but nothing new of a queue of which enough is not done.
    pub(super) fn deliverable(&self, now: LogTime) -> Vec<(QueueId, Offset)> {
        let due = |(queue, offset): &(QueueId, Offset)| {
            let open = || self.open(*queue) < PENDING_MAX;
            self.may_deliver((*queue, *offset), now) && (self.copies[&(*queue, *offset)].seen || open())
        };
        self.copies.keys().copied().filter(due).collect()
    }

    /// Messages of a queue that are not done and were delivered before, or are in line to be because the one
    /// before them in their message group is done.
    fn open(&self, queue: QueueId) -> usize {
        let of_queue = || self.copies.range((queue, Offset(0))..=(queue, Offset(u64::MAX)));
        let done = |copy: &Copy| copy.fate.is_done();
        let in_line = |place: &(QueueId, Offset), copy: &Copy| {
            let mut earlier = of_queue().filter(|(other, _)| *other < place);
            self.ordered
                && copy.lane != Lane(0)
                && earlier.clone().any(|(_, other)| other.lane == copy.lane)
                && earlier.all(|(_, other)| other.lane != copy.lane || done(other))
        };
        of_queue().filter(|(place, copy)| !done(copy) && (copy.seen || in_line(place, copy))).count()
    }

    /// What is held under a receive attempt.
    pub(super) fn held_by(&self, attempt: Option<u64>) -> Vec<(QueueId, Offset)> {
        let is_held = |copy: &Copy| match copy.fate {
            Fate::Delivered(hold) => attempt.is_some() && hold.attempt == attempt && hold.worked_on,
            _ => false,
        };
        self.copies.iter().filter(|(_, copy)| is_held(copy)).map(|(place, _)| *place).collect()
    }

    /// Checks what a receive got, message by message, and takes note of it.
    pub(super) fn delivered(&mut self, asked: Asked, got: &[Delivery], now: LogTime) {
        assert!(got.len() <= asked.batch, "{}: more than was asked for", self.name);
        self.last_used = if got.is_empty() { self.last_used } else { now };
        for delivery in got {
            let place = (delivery.queue, delivery.offset);
            assert!(
                self.may_deliver(place, now),
                "{}: {delivery:?} at {now}: {:#?}",
                self.name,
                self.copies[&place]
            );
            let copy = self.copies.get_mut(&place).unwrap();
            copy.attempts += 1;
            copy.seen = true;
            assert_eq!(delivery.attempt, copy.attempts, "{}: attempts grow by one", self.name);
            assert!(asked.wants(&copy.text), "{}: not wanted: {}", self.name, copy.text);
            assert_eq!(delivery.nonce.0, asked.nonce);
            copy.visible_at = now.plus(asked.invisible_ms);
            copy.fate = Fate::Delivered(Hold {
                nonce: asked.nonce,
                client: asked.client,
                attempt: asked.attempt,
                since: now,
                length_ms: asked.invisible_ms,
                renewed: asked.renew,
                confirmed: false,
                repeated: false,
                worked_on: true,
            });
        }
        for delivery in got {
            let seen = |(place, copy): &(&(QueueId, Offset), &Copy)| place.0 == delivery.queue && copy.seen;
            let not_done = |copy: &Copy| !copy.fate.is_done();
            let open = self.copies.iter().filter(seen).filter(|(_, copy)| not_done(copy)).count();
            assert!(open <= PENDING_MAX || delivery.attempt > 1, "{}: {open} are not done", self.name);
        }
    }

    /// Checks what a repeated attempt got.
    pub(super) fn repeated(&mut self, asked: Asked, got: &[Delivery], now: LogTime) {
        let mut places: Vec<_> = got.iter().map(|delivery| (delivery.queue, delivery.offset)).collect();
        places.sort_unstable();
        self.last_used = now;
        assert_eq!(places, self.held_by(asked.attempt), "{}: the batch of a repeated attempt", self.name);
        for delivery in got {
            let copy = self.copies.get_mut(&(delivery.queue, delivery.offset)).unwrap();
            assert_eq!(delivery.attempt, copy.attempts, "a repeat is no further attempt");
            copy.visible_at = now.plus(asked.invisible_ms);
            let Fate::Delivered(hold) = &mut copy.fate else { panic!("{copy:?}") };
            assert_eq!(delivery.nonce.0, hold.nonce, "a repeat has the same handles");
            (hold.since, hold.length_ms, hold.repeated, hold.confirmed) =
                (now, asked.invisible_ms, true, false);
        }
    }

    /// The copy whose current delivery a handle names.
    pub(super) fn current(&mut self, delivery: &Delivery) -> Option<&mut Copy> {
        let copy = self.copies.get_mut(&(delivery.queue, delivery.offset))?;
        match copy.fate {
            Fate::Delivered(hold) if hold.nonce == delivery.nonce.0 => Some(copy),
            _ => None,
        }
    }

    /// Changes every delivery that is being worked on.
    pub(super) fn for_each_hold(&mut self, mut change: impl FnMut(&mut Hold, &mut LogTime)) {
        for copy in self.copies.values_mut() {
            if let Fate::Delivered(hold) = &mut copy.fate
                && hold.worked_on
            {
                change(hold, &mut copy.visible_at);
            }
        }
    }

    /// What had its last delivery becomes a dead letter when that runs out; what was taken back, at once.
    pub(super) fn bury(&mut self, now: LogTime) -> Vec<(QueueId, Copy)> {
        let mut buried = Vec::new();
        for ((queue, _), copy) in &mut self.copies {
            let out = matches!(copy.fate, Fate::Delivered(_) | Fate::Waiting) && copy.visible_at <= now;
            if out && copy.attempts >= self.max_attempts {
                copy.fate = Fate::Dead;
                buried.push((*queue, copy.clone()));
            }
        }
        buried
    }

    /// When the next delivery runs out, as far as somebody has to do something then, or patience.
    pub(super) fn next_event(&self) -> Option<LogTime> {
        let needed = |copy: &Copy| match copy.fate {
            Fate::Delivered(_) if copy.attempts >= self.max_attempts => Some(copy.visible_at),
            Fate::Delivered(_) if !self.waiting.is_empty() => Some(copy.visible_at.max(self.judged_until)),
            _ => None,
        };
        let patience = self.waiting.values().map(|waiting| waiting.until);
        self.copies.values().filter_map(needed).chain(patience).min()
    }

    /// What the group still owes.
    pub(super) fn owed(&self) -> impl Iterator<Item = (QueueId, Offset)> {
        self.copies.iter().filter(|(_, copy)| !copy.fate.is_done()).map(|(place, _)| *place)
    }
}
