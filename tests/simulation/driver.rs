//! What a machine does: it starts and ends a process, gives its replica what happens, and carries out the effects.

use bytes::Bytes;
use rand::RngExt as _;
use rq_core::replication::timers::HEARTBEAT_MS;
use rq_core::replication::{Effect, Input};
use rq_log::WriteError;

use crate::faults::FLUSH_INTERVAL;
use crate::process::Process;
use crate::world::{Event, TICK, Who, World};

impl World {
    pub(crate) fn start(&mut self, who: Who) {
        let now = self.now;
        let machine = &mut self.machines[who];
        if machine.process.is_some() {
            return;
        }
        machine.lives += 1;
        machine.process = Process::start(&machine.disk, machine.session, machine.lives, now);
        let life = machine.lives;
        if machine.process.is_none() {
            machine.disk.kill();
            return self.after(1_000, Event::Start(who));
        }
        self.read_config(who);
        self.after(TICK, Event::Tick(who, life));
    }

    /// The process is gone; what it sent is under way, what it was to be sent is lost.
    pub(crate) fn end(&mut self, who: Who) {
        drop(self.machines[who].process.take());
        self.machines[who].paused_until = 0;
        self.hang_up_all(Some(who));
        self.after(1_000, Event::Start(who));
    }

    pub(crate) fn kill(&mut self, who: Who) {
        self.machines[who].disk.kill();
        self.end(who);
    }

    pub(crate) fn cut_power(&mut self, who: Who) {
        assert!(self.may_lose_power(who), "what nobody has flushed would be gone");
        self.machines[who].disk.cut_power();
        self.machines[who].session.0 += 1;
        self.end(who);
    }

    /// Gives the replica an input and does what it says.
    pub(crate) fn step(&mut self, who: Who, input: Input) {
        self.step_with(who, input, &Bytes::new());
    }

    pub(crate) fn step_with(&mut self, who: Who, input: Input, frames: &Bytes) {
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        let mut effects = Vec::new();
        process.replica.step(input, &mut effects);
        for effect in effects {
            if self.is(who, life) {
                self.carry_out(who, effect, frames);
            }
        }
    }

    pub(crate) fn carry_out(&mut self, who: Who, effect: Effect, frames: &Bytes) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        match effect {
            Effect::ReadConfig => self.read_config(who),
            Effect::Propose(id, config) => {
                let delay = self.jitter(1, 40);
                self.after(delay, Event::Put(who, life, id, config));
            }
            Effect::Promise(epoch) => match process.log.promise(epoch) {
                Ok(()) => self.step(who, Input::Promised(epoch)),
                Err(error) => self.write_failed(who, &error),
            },
            Effect::Begin(epoch) => match process.begin(epoch, now) {
                Ok(begins) => self.appended(who, begins),
                Err(error) => self.write_failed(who, &error),
            },
            Effect::Follow(master) => {
                process.watch.listens(now);
                process.orders += 1;
                let order = process.orders;
                let delay = self.jitter(1, 10);
                self.after(delay, Event::Connect(who, life, order, master));
            }
            Effect::Store => match process.store(frames) {
                Ok((begins, mode)) => {
                    self.appended(who, begins);
                    if let Some(mode) = mode
                        && self.is(who, life)
                    {
                        self.step(who, Input::FlushMode(mode));
                    }
                }
                Err(error) => self.write_failed(who, &error),
            },
            Effect::Truncate(to) => {
                let Some(process) = self.machines[who].process.take() else { return };
                self.machines[who].process = process.truncate(&self.machines[who].disk, to, now);
                if let Some(process) = &self.machines[who].process {
                    let mode = process.state().flush_policy().mode;
                    self.step(who, Input::FlushMode(mode));
                    self.step(who, Input::Truncated(to));
                } else {
                    self.log_failed(who);
                }
            }
            Effect::Committed(_) => self.let_out(who),
            Effect::SetFlushPolicy(policy) => match process.set_flush_policy(policy, now) {
                Ok(()) => {
                    self.modes += 1;
                    self.appended(who, Vec::new());
                    self.step(who, Input::FlushMode(policy.mode));
                }
                Err(error) => self.write_failed(who, &error),
            },
            Effect::StepDown => self.restart(who),
            Effect::HandedOver => {
                self.switches += 1;
                self.let_out(who);
                if let Some(process) = &mut self.machines[who].process {
                    process.hand_over();
                }
                self.hang_up_all(Some(who));
            }
            Effect::Halt(halt) => panic!("machine {who} halted: {halt}"),
            Effect::Install | Effect::Send(..) | Effect::Ship(..) | Effect::Hangup(_) => {
                self.carry_over_network(who, effect);
            }
        }
    }

    /// The same process begins anew from its log, as a deposed master does.
    pub(crate) fn restart(&mut self, who: Who) {
        drop(self.machines[who].process.take());
        self.hang_up_all(Some(who));
        self.start(who);
    }

    pub(crate) fn write_failed(&mut self, who: Who, error: &WriteError) {
        // A segment cannot be made by a disk that is about to fail altogether.
        assert!(error.is_fatal() || matches!(error, WriteError::NoSegment(_)), "{error}");
        self.log_failed(who);
    }

    /// The first failure ends the process, or it was the machine that failed.
    pub(crate) fn log_failed(&mut self, who: Who) {
        if self.random.random_bool(0.5) || !self.may_lose_power(who) {
            self.kill(who);
        } else {
            self.cut_power(who);
        }
    }

    pub(crate) fn appended(&mut self, who: Who, begins: Vec<rq_core::replication::EpochStart>) {
        let Some(process) = &self.machines[who].process else { return };
        let latest = if process.replica.may_defer_flush() { FLUSH_INTERVAL.into() } else { 4 };
        let delay = self.jitter(0, latest);
        let Some(process) = &mut self.machines[who].process else { return };
        let (end, life) = (process.log.end(), process.life);
        if !std::mem::replace(&mut process.flush_due, true) {
            self.after(delay, Event::Flush(who, life));
        }
        self.step(who, Input::Appended { end, begins });
        self.ship(who);
    }

    pub(crate) fn flush(&mut self, who: Who) {
        let Some(process) = &mut self.machines[who].process else { return };
        process.flush_due = false;
        match process.log.sync() {
            Ok(durable) => {
                self.step(who, Input::Flushed(durable));
                self.let_out(who);
            }
            Err(error) => self.write_failed(who, &error),
        }
    }

    pub(crate) fn tick(&mut self, who: Who) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        self.after(TICK, Event::Tick(who, life));
        let Some(process) = &mut self.machines[who].process else { return };
        process.ticks += 1;
        let beat = process.ticks.is_multiple_of(HEARTBEAT_MS / TICK);
        for input in process.timers.tick(now, &process.replica) {
            self.step(who, input);
        }
        if beat {
            self.heartbeat(who);
            self.read_config(who);
        }
        if let Some(process) = &mut self.machines[who].process {
            let before = process.log.end();
            match process.request(now, None) {
                Ok(_) if process.log.end() > before => self.appended(who, Vec::new()),
                Ok(_) => {}
                Err(error) => return self.write_failed(who, &error),
            }
        }
        self.keep_house_if_due(who);
        self.consider_taking_over(who);
    }
}
