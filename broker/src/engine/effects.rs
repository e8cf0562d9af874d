//! From news to inputs of the replica, and from its effects to what is done: a line each, where it can be.

use std::time::Instant;

use rq_core::clock::LogClock;
use rq_core::config::{Config, FlushPolicy};
use rq_core::ids::{Epoch, Lsn};
use rq_core::queue::State;
use rq_core::replication::{Effect, EpochStart, Gate, Input, Link};
use rq_log::{CopyError, HEADER_LEN, WriteError};

use super::cluster::{ConfigRequest, Frames, News, ToPeer};
use super::compare::Comparing;
use super::frames::fail;
use super::log_thread::LogThread;
use super::member::{self, Reopening};
use super::queues::Queues;
use super::recover::{apply, epochs};
use super::release::Later;
use super::{EngineError, clock};

impl LogThread {
    /// Lets time pass.
    pub(super) fn watch_time(&mut self) -> Result<(), WriteError> {
        for input in self.member.tick() {
            self.step(input)?;
        }
        Ok(())
    }

    pub(super) fn hear(&mut self, news: News) -> Result<(), WriteError> {
        match news {
            News::Config(config) => self.on_config(config),
            News::Answered(id, answer) => self.step(Input::Answered(id, answer)),
            News::Greeted(link, hello, peer) => {
                self.member.links.insert(link, (hello.store, peer));
                self.member.heard(link);
                self.step(Input::Greeted(link, hello))
            }
            News::Connected(link, peer) => {
                let Some(master) = self.member.replica.following() else { return Ok(()) };
                self.member.links.insert(link, (master, peer));
                self.member.heard(link);
                self.step(Input::Connected(link))
            }
            News::Message(link, message, frames) => {
                self.member.heard(link);
                self.step_with(Input::Message(link, message), Some((link, frames)))
            }
            News::Snapshot(link, snapshot) => {
                self.member.heard(link);
                self.member.begin_copy(link, snapshot);
                Ok(())
            }
            News::Disconnected(link) => {
                self.member.links.remove(&link);
                self.step(Input::Disconnected(link))
            }
            News::Room(link, free_bytes) => {
                self.member.slave_has_room(link, free_bytes);
                Ok(())
            }
            News::Leaving(link) => match self.member.leaves(link) {
                Some(slave) => self.step(Input::Silent(slave)),
                None => Ok(()),
            },
            News::Refused(master) => {
                self.member.refused(master);
                Ok(())
            }
            News::HandOver { to, leaves } => self.step(Input::HandOver { to, leaves }),
            News::SetFlushPolicy(policy) => self.step(Input::SetFlushPolicy(policy)),
            News::AcceptDataLoss(seen) => self.step(Input::AcceptDataLoss { seen }),
            News::Hashed(hashed) => self.on_hashed(hashed),
        }
    }

    fn on_config(&mut self, config: Config) -> Result<(), WriteError> {
        if self.member.may_copy_anew(&config) {
            self.member.reopening = Some(Reopening::CopyAnew(config));
            return Ok(());
        }
        let replica = &self.member.replica;
        let is_newer = replica.config().is_none_or(|seen| seen.version < config.version);
        if is_newer && config.in_sync.contains_key(&replica.store()) && replica.leading().is_none() {
            // From here on the master counts what is flushed here.
            self.frames.log.prove_again()?;
        }
        self.step(Input::Config(config))?;
        self.member.follow_moved_master();
        Ok(())
    }

    /// Gives the replica an input and does what it says.
    pub(super) fn step(&mut self, input: Input) -> Result<(), WriteError> {
        self.step_with(input, None)
    }

    fn step_with(&mut self, input: Input, mut frames: Option<(Link, Frames)>) -> Result<(), WriteError> {
        let mut effects = Vec::new();
        self.member.replica.step(input, &mut effects);
        for effect in effects {
            self.carry_out(effect, &mut frames)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect, frames: &mut Option<(Link, Frames)>) -> Result<(), WriteError> {
        match effect {
            Effect::ReadConfig => self.member.ask_config(ConfigRequest::Read),
            Effect::Propose(id, config) => self.member.ask_config(ConfigRequest::Propose(id, config)),
            Effect::Promise(epoch) => {
                self.frames.log.promise(epoch)?;
                self.step(Input::Promised(epoch))?;
            }
            Effect::Begin(epoch) => self.begin(epoch)?,
            Effect::SetFlushPolicy(policy) => self.set_flush_policy(policy)?,
            Effect::Follow(master) => self.member.follow(master),
            Effect::Store => {
                if let Some((link, frames)) = frames.take() {
                    self.store(link, &frames)?;
                }
            }
            Effect::Truncate(to) => self.member.reopening = Some(Reopening::CutOff(to)),
            Effect::Install => self.member.fetch_snapshot(),
            Effect::Send(link, message) => self.member.send(link, ToPeer::Message(message)),
            Effect::Ship(link, from) => {
                let epoch = self.member.replica.leading().unwrap_or_default();
                self.member.send(link, ToPeer::Ship(epoch, from));
            }
            // At the end of the round: see `let_out`.
            Effect::Committed(_) => {}
            Effect::Hangup(link) => drop(self.member.links.remove(&link)),
            Effect::HandedOver => self.hand_over(),
            Effect::StepDown => self.member.reopening = Some(Reopening::SteppedDown),
            Effect::Halt(halt) => {
                tracing::error!(error = %halt, "this replica halts");
                self.member.halted = Some(halt);
                self.member.links.clear();
            }
        }
        Ok(())
    }

    /// Begins a mastership: appends the first record of its epoch.
    fn begin(&mut self, epoch: Epoch) -> Result<(), WriteError> {
        self.frames.log.prove_again()?;
        self.member.lead();
        let known = self.member.replica.history().last_epoch();
        self.clock = LogClock::start(self.queues.state().log_time(), clock::read());
        self.frames.lead(epoch);
        self.frames.at(self.clock.time());
        self.queues.lead(self.limits.clone());
        if let Queues::Master(shard) = &mut self.queues {
            // The frame may go to the next segment, after one that fills this one up and begins the epoch.
            shard.begin_frame(epoch, self.frames.end().plus(HEADER_LEN as u64));
            shard.start_epoch(epoch, self.clock.time(), &mut self.frames);
            let end = self.frames.write();
            shard.applied_up_to(end);
        }
        tracing::info!(epoch = epoch.0, "this replica is the master");
        self.appended(known)
    }

    /// Appends the record of another flush policy.
    fn set_flush_policy(&mut self, policy: FlushPolicy) -> Result<(), WriteError> {
        let known = self.member.replica.history().last_epoch();
        let now = self.clock.advance(clock::read());
        self.frames.at(now);
        if let Queues::Master(shard) = &mut self.queues {
            shard.set_flush_policy(policy, now, &mut self.frames);
            let end = self.frames.write();
            shard.applied_up_to(end);
        }
        tracing::info!(mode = ?policy.mode, interval_ms = policy.interval_ms, "the flush mode changes");
        self.appended(known)?;
        self.step(Input::FlushMode(policy.mode))
    }

    /// Ends a mastership of which everything is committed.
    fn hand_over(&mut self) {
        self.let_out();
        self.refuse_waiting();
        self.queues.follow();
        self.member.stop_leading();
        tracing::info!("this replica is the master no more");
    }

    /// Answers every caller: this replica will not know what becomes of their requests.
    fn refuse_waiting(&mut self) {
        self.forget_answers();
        self.let_go(EngineError::NotMaster);
    }

    /// Appends frames of the master.
    fn store(&mut self, link: Link, frames: &Frames) -> Result<(), WriteError> {
        let Queues::Slave(state) = &mut self.queues else { return Ok(()) };
        let (known, kept) = (self.member.replica.history().last_epoch(), state.log_start());
        let flushed = state.flush_policy().mode;
        let copied = self.frames.log.copy(&frames.bytes, |frame| apply(state, &frame));
        let dropped = Some(state.log_start()).filter(|start| *start > kept);
        if let Err(CopyError::Refused { lsn, source }) = &copied {
            let error: &(dyn std::error::Error + 'static) = source;
            tracing::error!(%lsn, error, "a record of the master cannot be applied");
            return self.step(Input::Unreadable(*lsn));
        }
        let mode = Some(state.flush_policy().mode).filter(|mode| *mode != flushed);
        let compare = state.take_compare();
        self.appended(known)?;
        if let Some(mode) = mode {
            self.step(Input::FlushMode(mode))?;
        }
        self.compare(compare)?;
        if let Some(start) = dropped {
            self.flushed_gate.wait(self.frames.end(), false, Later::Drop(start));
        }
        match copied {
            Ok(_) => Ok(()),
            Err(CopyError::Write(error)) if error.is_fatal() => Err(error),
            Err(error) => {
                // It is asked for again, on a link of its own.
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "frames of the master were not stored");
                self.member.links.remove(&link);
                self.step(Input::Disconnected(link))
            }
        }
    }

    /// The log has grown; epochs after `known` may have begun in it.
    fn appended(&mut self, known: Epoch) -> Result<(), WriteError> {
        let end = self.frames.end();
        if end == self.member.replica.end() {
            return Ok(());
        }
        let begins = begins_after(known, self.queues.state());
        self.step(Input::Appended { end, begins })
    }

    /// Opens the log anew: without what the master does not have, or after a mastership.
    pub(super) fn reopen(mut self, reopening: Reopening) -> Result<Self, WriteError> {
        let began = Instant::now();
        self.refuse_waiting();
        // What waits there holds the log, and with it the lock of its directory.
        self.flushed_gate.clear().for_each(drop);
        self.member.publish_reader(None);
        let Self {
            inbox,
            limits,
            frames,
            mut member,
            published,
            chores,
            checkpoints,
            waiting,
            ends_waits,
            releases,
            ..
        } = self;
        drop(frames);
        let recovered = match &reopening {
            Reopening::CutOff(to) => member.place.reopen(Some(*to)),
            Reopening::SteppedDown | Reopening::CopyAnew(_) => member.place.reopen(None),
            Reopening::Install(snapshot) => member.place.install(snapshot),
        };
        let recovered = recovered.unwrap_or_else(|error| {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(
                error,
                "the log could not be opened anew: the broker ends and recovers at its next start"
            );
            std::process::abort()
        });
        let config = member.replica.config().cloned();
        match reopening {
            Reopening::SteppedDown => member.begin_again(&recovered),
            Reopening::CopyAnew(_) => member.copy_anew(&recovered),
            Reopening::CutOff(_) | Reopening::Install(_) => {}
        }
        member.publish_reader(Some(recovered.log.reader()));
        tracing::info!(?reopening, took = ?began.elapsed(), "the log was opened anew");
        // The checkpoint of a copy stands for frames that are still to come.
        let newest = recovered.log.checkpoints().newest().min(recovered.log.end());
        let (found, end) = (member::found(&recovered), recovered.log.end());
        let mut thread = Self {
            inbox,
            clock: LogClock::start(recovered.state.log_time(), clock::read()),
            queues: Queues::slave(recovered.state),
            limits,
            frames: super::frames::Frames::new(recovered.log, recovered.commit),
            member,
            published,
            chores,
            checkpoints,
            comparing: Comparing::new(end),
            last_checkpoint: (newest, Instant::now()),
            last_chore: Instant::now(),
            has_room: true,
            held: Vec::new(),
            dropping: Vec::new(),
            gate: Gate::default(),
            flushed_gate: Gate::default(),
            last_flush: Instant::now(),
            waiting,
            ends_waits,
            releases,
        };
        match (reopening, config) {
            (Reopening::CutOff(to), _) => {
                thread.step(Input::FlushMode(found.flush_mode))?;
                thread.step(Input::Truncated(to))?;
            }
            (Reopening::SteppedDown, Some(config)) | (Reopening::CopyAnew(config), _) => {
                thread.step(Input::Config(config))?;
            }
            (Reopening::SteppedDown, None) => {}
            (Reopening::Install(_), _) => thread.step(Input::Installed(found))?,
        }
        Ok(thread)
    }

    /// Removes the segments that a committed record lets go.
    pub(super) fn drop_segments(&mut self, below: Lsn) {
        match self.frames.log.drop_below(below) {
            Ok(start) => {
                self.published.dropped_below(start);
                // Asks for nothing.
                self.member.replica.step(Input::Dropped(start), &mut Vec::new());
            }
            Err(error) => fail(&error),
        }
    }
}

fn begins_after(known: Epoch, state: &State) -> Vec<EpochStart> {
    if state.epoch() == known {
        return Vec::new();
    }
    epochs(state).epochs().iter().filter(|begin| begin.epoch > known).copied().collect()
}
