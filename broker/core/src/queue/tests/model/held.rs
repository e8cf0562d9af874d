//! What no consumer can see yet, written down as plainly as possible: one line a message.

use std::collections::BTreeMap;

use super::world::Message;
use crate::ids::{HeldId, LogTime, Ticket};

/// The producer of a half message is not asked before; see [`crate::queue::TransactionLimits`].
pub(super) const IMMUNITY_MS: u64 = 2_000;
/// From one check to the next.
pub(super) const INTERVAL_MS: u64 = 3_000;
/// After so many it is a dead letter.
pub(super) const CHECKS_MAX: u32 = 2;
/// Whoever took a check tells what came of it within so long, or somebody else gets it.
pub(super) const TAKEN_MS: u64 = 20_000;
/// For how long it is known how a message ended that had waited.
pub(super) const ENDED_WINDOW_MS: u64 = 3_600_000;
/// What could not be asked is asked again after so long.
pub(super) const UNASKED_MS: u64 = 1_000;

/// A half message.
#[derive(Clone, Debug)]
pub(super) struct Half {
    pub(super) id: HeldId,
    pub(super) message: Message,
    /// As the log says it.
    pub(super) next_check: LogTime,
    pub(super) checks: u32,
    pub(super) stage: Stage,
}

/// How far a half message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// To be asked about, from then on.
    Due(LogTime),
    /// Somebody asks, and has until then.
    Taken(LogTime),
    /// Asked about as often as may be; given up then.
    Exhausted(LogTime),
    Committed,
    RolledBack,
    GivenUp,
}

/// A delayed message.
#[derive(Clone, Debug)]
pub(super) struct Delayed {
    pub(super) id: HeldId,
    pub(super) message: Message,
    pub(super) deliver_at: LogTime,
    pub(super) fate: Fate,
}

/// What became of a delayed message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Waits,
    Shown,
    Recalled,
}

/// Somebody who waits for checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker {
    pub(super) most: usize,
    pub(super) until: LogTime,
}

/// All messages that ever waited, in the order of their sending, and who waits to ask about them.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) halves: Vec<Half>,
    pub(super) delayed: Vec<Delayed>,
    /// What ended by a call or was given up, and when, in that order.
    pub(super) endings: Vec<(HeldId, LogTime)>,
    pub(super) takers: BTreeMap<Ticket, Taker>,
}

impl Half {
    pub(super) fn new(id: HeldId, message: Message, next_check: LogTime) -> Self {
        Self { id, message, next_check, checks: 0, stage: Stage::Due(next_check) }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Due(_) | Stage::Taken(_) | Stage::Exhausted(_))
    }

    /// By what the log says alone: who was asking is not known to a new master.
    pub(super) fn begin_anew(&mut self) {
        if self.is_open() {
            let asked_out = self.checks >= CHECKS_MAX;
            let next = self.next_check;
            self.stage = if asked_out { Stage::Exhausted(next) } else { Stage::Due(next) };
        }
    }
}

impl Held {
    /// Whether it is still known how a message ended: no ending came a whole window later.
    pub(super) fn remembers(&self, id: HeldId) -> bool {
        let ended = self.endings.iter().find(|(ended, _)| *ended == id);
        let Some((_, at)) = ended else { return false };
        self.endings.iter().all(|(_, later)| later.since(*at) <= ENDED_WINDOW_MS)
    }

    /// Whose producers are to be asked now, the longest due first.
    pub(super) fn to_ask(&self, now: LogTime) -> Vec<HeldId> {
        let due = |half: &Half| match half.stage {
            Stage::Due(at) if at <= now => Some((at, half.id)),
            _ => None,
        };
        let mut due: Vec<(LogTime, HeldId)> = self.halves.iter().filter_map(due).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// The delayed messages whose time has come, in the order in which they become visible.
    pub(super) fn due(&self, now: LogTime) -> Vec<(LogTime, HeldId)> {
        let waits = self.delayed.iter().filter(|delayed| delayed.fate == Fate::Waits);
        let due = waits.filter(|delayed| delayed.deliver_at <= now);
        let mut due: Vec<_> = due.map(|delayed| (delayed.deliver_at, delayed.id)).collect();
        due.sort_unstable();
        due
    }

    pub(super) fn half(&mut self, id: HeldId) -> &mut Half {
        self.halves.iter_mut().find(|half| half.id == id).expect("a half message")
    }

    pub(super) fn delayed(&mut self, id: HeldId) -> &mut Delayed {
        self.delayed.iter_mut().find(|delayed| delayed.id == id).expect("a delayed message")
    }

    /// When something has to be done next.
    pub(super) fn next_event(&self) -> Option<LogTime> {
        let waits = self.delayed.iter().filter(|delayed| delayed.fate == Fate::Waits);
        let wanted = !self.takers.is_empty();
        let of_half = |half: &Half| match half.stage {
            Stage::Due(at) if wanted => Some(at),
            Stage::Taken(at) | Stage::Exhausted(at) => Some(at),
            _ => None,
        };
        let patience = self.takers.values().map(|taker| taker.until);
        waits
            .map(|delayed| delayed.deliver_at)
            .chain(self.halves.iter().filter_map(of_half))
            .chain(patience)
            .min()
    }
}
