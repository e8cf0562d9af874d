//! Checkpoints and retention, as `broker/src/engine/housekeeping.rs` keeps house: it looks at a state of a moment ago and
//! proposes, and the master decides.

use rq_core::ids::{LogTime, Lsn, Ticket};
use rq_core::queue::request::{Relocation, Request, Retain};
use rq_core::queue::retention::{Policy, Run, SealedSegment};
use rq_core::queue::{State, checkpoint};

use crate::process::{Held, Process, reading};
use crate::recover::SEGMENT;
use crate::world::{Event, Who, World};

/// A checkpoint is written after so many bytes, or ms if there is anything new.
const CHECKPOINT_BYTES: u64 = 48 << 10;
const CHECKPOINT_MS: u64 = 1_000;
/// What nobody owes is kept so long, in ms.
const KEEP_MS: u64 = 500;
/// Most messages to copy out of a segment that is to go.
const RELOCATED_MAX: usize = 100;
/// Ticket of the requests that a process makes itself; those of clients begin at 1.
const INTERNAL: Ticket = Ticket(0);

/// Work beside the log thread.
pub(crate) struct Chore {
    state: State,
    now: LogTime,
    checkpoint: bool,
}

fn policy() -> Policy {
    Policy { keep_ms: KEEP_MS, ..Policy::default() }
}

impl World {
    /// Asks for a checkpoint, or for a look at what can be dropped, when it is due: of a state that is committed by then.
    pub(crate) fn keep_house_if_due(&mut self, who: Who) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        let (end, (lsn, at)) = (process.log.end(), process.last_checkpoint);
        let checkpoint = end > lsn && (end.0 - lsn.0 >= CHECKPOINT_BYTES || now >= at + CHECKPOINT_MS);
        if checkpoint {
            process.last_checkpoint = (end, now);
        }
        if checkpoint || now >= process.last_chore + CHECKPOINT_MS {
            process.last_chore = now;
            let state = process.state().clone();
            let chore = Chore { state, now: process.clock.advance(reading(now)), checkpoint };
            process.flushed_gate.wait(end, false, Held::Chore(Box::new(chore)));
            self.let_out(who);
        }
    }

    /// The chore is done, some time after it was asked for.
    pub(crate) fn keep_house(&mut self, who: Who, opened: u32, chore: &Chore) {
        let delay = self.jitter(1, 30);
        let Some(process) = &mut self.machines[who].process else { return };
        if process.opened != opened {
            return;
        }
        if chore.checkpoint {
            let state = &chore.state;
            let written = process.log.checkpoints().write(state.applied(), |file| {
                let mut bytes = Vec::new();
                checkpoint::encode(state, &mut bytes);
                file.write_all(&bytes)
            });
            if let Err(error) = written
                && error.is_fatal()
            {
                return self.log_failed(who);
            }
        }
        if let Some(retain) = process.retain(chore) {
            let life = process.life;
            self.after(delay, Event::Retain(who, life, opened, Box::new(retain)));
        }
    }

    /// A proposal to drop the oldest segments has come to the log thread.
    pub(crate) fn decide_on_retention(&mut self, who: Who, opened: u32, retain: Retain) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        if process.opened != opened {
            return;
        }
        match process.request(now, Some((INTERNAL, Request::Retain(retain)))) {
            Ok(true) => self.appended(who, Vec::new()),
            Ok(false) => {}
            Err(error) => self.write_failed(who, &error),
        }
    }

    /// A committed record lets the log begin here.
    pub(crate) fn drop_segments(&mut self, who: Who, below: Lsn) {
        let Some(process) = &mut self.machines[who].process else { return };
        let before = process.log.start();
        match process.log.drop_below(below) {
            Ok(start) => {
                self.dropped += u64::from(start > before);
                // Asks for nothing.
                process.replica.step(rq_core::replication::Input::Dropped(start), &mut Vec::new());
            }
            Err(error) => self.write_failed(who, &error),
        }
    }
}

impl Process {
    /// What can be dropped, as far as the chore's state tells.
    fn retain(&self, chore: &Chore) -> Option<Retain> {
        self.replica.serving()?;
        let Chore { state, now, .. } = chore;
        let (now, policy, reader) = (*now, policy(), self.log.reader());
        let (newest, older) = (self.log.checkpoints().newest(), self.log.checkpoints().oldest_kept());
        let mut found = None;
        for segment in reader.sealed() {
            let log_bytes = self.log.durable().0.saturating_sub(segment.base.0);
            let last = SealedSegment { end: segment.end, newest: segment.newest };
            if !policy.lets_go(last, now, log_bytes) || segment.end > newest {
                break;
            }
            let Some(relocate) = self.owed(&Run { state, last, now, policy: &policy }) else { break };
            if segment.end > older {
                // Only the older of the two checkpoints still needs it, and an idle log gets no further one.
                let idle = state.applied() <= newest;
                let below = state.log_start();
                let nothing = Retain { below, newest: last.newest, relocate: Vec::new(), policy };
                found = found.or_else(|| idle.then_some(nothing));
                break;
            }
            found = Some(Retain { below: segment.end, newest: last.newest, relocate, policy });
        }
        found
    }

    /// What is still owed in the segments to drop, with its bytes; none where that is too much to copy.
    fn owed(&self, run: &Run<'_>) -> Option<Vec<Relocation>> {
        let reader = self.log.reader();
        let mut room = SEGMENT / 1_000 * u64::from(run.policy.relocate_below_permille);
        let mut relocate = Vec::new();
        for owed in run.owed(RELOCATED_MAX)? {
            let record = reader.read_record(owed.lsn).ok()?;
            room = room.checked_sub(record.len() as u64)?;
            relocate.push(Relocation { owed, record });
        }
        Some(relocate)
    }
}
