//! What may happen next, and what comes of it.

use rq_core::config::{self, Change};
use rq_core::ids::{Lsn, StoreId};
use rq_core::replication::{Answer, Guards, Input, Link};

use super::{Bounds, Cluster, Who};
use crate::node::{Process, Reply, What, has};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    Start(Who),
    Kill(Who),
    LosePower(Who, usize),
    LoseDisk(Who),
    Flush(Who),
    SavePromise(Who),
    ReadConfig(Who),
    ReadOlder(Who),
    Retry(Who),
    Silent(Who),
    TakeOver(Who),
    HandOver(Who, bool),
    Promote(Who),
    /// A write reaches the config store, and the answer its writer.
    Put(usize),
    /// It reaches the store, the answer is lost.
    PutUnanswered(usize),
    /// Its writer waits no longer; it may still arrive.
    PutUnknown(usize),
    /// It is lost.
    PutLost(usize),
    Deliver(Link, bool, usize),
    Ship(Link),
    Break(Link),
    Send(Who),
    SendHalf(Who),
    End(Who, u8, bool),
    SendDelayed(Who),
    Fire(Who, u8),
    Recall(Who, u8),
    Pop(Who, u8),
    Ack(Who, u8),
}

impl<G: Guards> Cluster<G> {
    /// All that may happen next.
    pub(crate) fn possible(&self, bounds: &Bounds, steps: &mut Vec<Step>) {
        for who in 0..2 {
            match self.process(who) {
                None => steps.push(Step::Start(who)),
                Some(process) => self.possible_of(who, process, bounds, steps),
            }
        }
        for number in 0..self.puts.len() {
            steps.push(Step::Put(number));
            steps.push(Step::PutLost(number));
            if !self.puts[number].answered {
                steps.push(Step::PutUnanswered(number));
                steps.push(Step::PutUnknown(number));
            }
        }
        for (link, wire) in &self.links {
            for (up, queue) in [(true, &wire.up), (false, &wire.down)] {
                let first = if bounds.overtaking { queue.len() } else { queue.len().min(1) };
                steps.extend((0..first).map(|at| Step::Deliver(*link, up, at)));
            }
            if self.new_links() < bounds.links {
                steps.push(Step::Break(*link));
            }
            let master = self.process(Self::other(wire.slave));
            let log = &self.nodes[Self::other(wire.slave)].disk.log;
            let behind =
                master.and_then(|master| master.ships.get(link)).is_some_and(|at| *at < log.len() as u64);
            if behind && wire.down.len() < bounds.under_way {
                steps.push(Step::Ship(*link));
            }
        }
    }

    fn possible_of(&self, who: Who, process: &Process<G>, bounds: &Bounds, steps: &mut Vec<Step>) {
        let node = &self.nodes[who];
        let replica = &process.replica;
        if self.kills < bounds.kills {
            steps.push(Step::Kill(who));
        }
        if self.power_losses < bounds.power_losses {
            steps.extend((node.disk.flushed..=node.disk.log.len()).map(|kept| Step::LosePower(who, kept)));
        }
        if self.disk_losses < bounds.disk_losses {
            steps.push(Step::LoseDisk(who));
        }
        if node.disk.flushed < node.disk.log.len() || replica.durable() < replica.end() {
            steps.push(Step::Flush(who));
        }
        if process.promising.is_some() {
            steps.push(Step::SavePromise(who));
        }
        let seen = replica.config().map_or(0, |config| config.version);
        if process.reads_config || seen < self.config.version {
            steps.push(Step::ReadConfig(who));
            if bounds.stale_reads && self.older.is_some() {
                steps.push(Step::ReadOlder(who));
            }
        }
        let waits = self.puts.iter().any(|put| put.writer == who && put.life == node.life && !put.answered);
        let more = self.changes() < bounds.changes && self.puts.len() < 2;
        if more && !waits {
            steps.push(Step::Retry(who));
            if replica.leading().is_some() {
                steps.push(Step::Silent(who));
                steps.push(Step::HandOver(who, false));
                if bounds.leaving {
                    steps.push(Step::HandOver(who, true));
                }
            } else if replica.config().is_some() {
                steps.push(Step::TakeOver(who));
            }
        }
        if self.changes() < bounds.changes && self.config.master != node.store {
            steps.push(Step::Promote(who));
        }
        if replica.serving().is_some() {
            self.possible_of_master(who, bounds, steps);
        }
    }

    fn possible_of_master(&self, who: Who, bounds: &Bounds, steps: &mut Vec<Step>) {
        let log = &self.nodes[who].disk.log;
        for message in 0..self.clients.sent {
            if bounds.transactions {
                steps.extend([true, false].map(|commit| Step::End(who, message, commit)));
            }
            if bounds.delays {
                steps.push(Step::Recall(who, message));
            }
        }
        if log.len() >= bounds.log {
            return;
        }
        if self.clients.sent < bounds.messages {
            steps.push(match bounds {
                Bounds { transactions: true, .. } => Step::SendHalf(who),
                Bounds { delays: true, .. } => Step::SendDelayed(who),
                _ => Step::Send(who),
            });
        }
        for message in 0..self.clients.sent {
            let fired = has(log, What::Fire(message));
            let waits = has(log, What::Delayed(message)) && !fired && !has(log, What::Recall(message));
            if waits {
                steps.push(Step::Fire(who, message));
            }
            let visible = has(log, What::Message(message)) || fired || (waits && bounds.by_the_clock);
            if bounds.consuming && visible && !has(log, What::Ack(message)) {
                steps.push(Step::Pop(who, message));
                if self.clients.delivered.contains(&message) && has(log, What::Pop(message)) {
                    steps.push(Step::Ack(who, message));
                }
            }
        }
    }

    /// Does one thing; false if nothing came of it.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Start(who) => self.nodes[who].start(self.config.flush_mode),
            Step::Kill(who) => {
                self.kills += 1;
                self.nodes[who].kill();
                self.break_all();
            }
            Step::LosePower(who, kept) => {
                self.power_losses += 1;
                self.nodes[who].lose_power(kept);
                self.break_all();
            }
            Step::LoseDisk(who) => {
                self.disk_losses += 1;
                self.nodes[who].lose_disk(StoreId(3));
                self.break_all();
            }
            Step::Flush(who) => {
                let node = &mut self.nodes[who];
                let commit = node.process.as_ref().map_or(Lsn(0), |process| process.replica.commit());
                node.disk.flush(commit);
                let end = Lsn(node.disk.log.len() as u64);
                self.step(who, Input::Flushed(end));
            }
            Step::SavePromise(who) => {
                let node = &mut self.nodes[who];
                if let Some(epoch) = node.process.as_mut().and_then(|process| process.promising.take()) {
                    node.disk.promised = epoch;
                    self.step(who, Input::Promised(epoch));
                }
            }
            Step::ReadConfig(who) => {
                if let Some(process) = &mut self.nodes[who].process {
                    process.reads_config = false;
                }
                self.step(who, Input::Config(self.config.clone()));
            }
            Step::ReadOlder(who) => {
                if let Some(older) = self.older.clone() {
                    self.step(who, Input::Config(older));
                }
            }
            Step::Retry(who) => self.step(who, Input::Retry),
            Step::Silent(who) => self.step(who, Input::Silent(self.nodes[Self::other(who)].store)),
            Step::TakeOver(who) => self.step(who, Input::TakeOver { keep: Vec::new() }),
            Step::HandOver(who, leaves) => {
                let to = self.nodes[Self::other(who)].store;
                self.step(who, Input::HandOver { to, leaves });
            }
            Step::Promote(who) => {
                // By somebody who has not heard from it: it may be in another session meanwhile.
                let to = self.nodes[who].store;
                let session = self.config.in_sync.get(&to).copied().unwrap_or_default();
                let promote = Change::Promote { to, session, keep: Vec::new() };
                if let Ok(config) = config::next(&self.config, &promote) {
                    self.store(config);
                }
            }
            Step::Put(number) => self.put(number, true),
            Step::PutUnanswered(number) => self.put(number, false),
            Step::PutUnknown(number) => self.answer(number, Answer::Unknown),
            Step::PutLost(number) => {
                self.answer(number, Answer::Unknown);
                self.puts.remove(number);
            }
            Step::Deliver(link, up, at) => self.deliver(link, up, at),
            Step::Ship(link) => self.ship(link),
            Step::Break(link) => self.break_link(link),
            Step::Send(who) => self.send(who, What::Message),
            Step::SendHalf(who) => self.send(who, What::Half),
            Step::End(who, message, commit) => self.end_transaction(who, message, commit),
            Step::SendDelayed(who) => self.send(who, What::Delayed),
            Step::Fire(who, message) => self.fire(who, message),
            Step::Recall(who, message) => self.recall(who, message),
            Step::Pop(who, message) => self.decide(who, What::Pop(message), Reply::Delivered(message)),
            Step::Ack(who, message) => self.decide(who, What::Ack(message), Reply::Acked(message)),
        }
    }

    /// The master appends a record, and its answer waits for it.
    fn decide(&mut self, who: Who, what: What, reply: Reply) {
        let Some(process) = &mut self.nodes[who].process else { return };
        let Some(epoch) = process.replica.serving() else { return };
        let end = process.replica.end().plus(1);
        process.gate.wait(end, matches!(reply, Reply::Delivered(_)), reply);
        self.append(who, epoch, what);
    }

    fn send(&mut self, who: Who, what: impl FnOnce(u8) -> What) {
        let message = self.clients.sent;
        self.clients.sent += 1;
        self.decide(who, what(message), Reply::Stored(message));
    }

    fn end_transaction(&mut self, who: Who, message: u8, commit: bool) {
        let [end, other] = [commit, !commit].map(|commit| What::End(message, commit));
        self.end(who, What::Half(message), end, other, Reply::Ended(message, commit));
    }

    /// Nobody waits for an answer.
    fn fire(&mut self, who: Who, message: u8) {
        if let Some(epoch) = self.process(who).and_then(|process| process.replica.serving()) {
            self.append(who, epoch, What::Fire(message));
        }
    }

    fn recall(&mut self, who: Who, message: u8) {
        let (recall, fire) = (What::Recall(message), What::Fire(message));
        self.end(who, What::Delayed(message), recall, fire, Reply::Recalled(message));
    }

    /// What waits ends once. The same end again is answered alike, by what the log says already, the other one is refused.
    fn end(&mut self, who: Who, waiting: What, end: What, other: What, reply: Reply) {
        let log = &self.nodes[who].disk.log;
        if has(log, end) {
            let Some(process) = &mut self.nodes[who].process else { return };
            // One that waits and one that repeats it are as good as many.
            if process.gate.len() < 2 {
                process.gate.wait(process.replica.end(), false, reply);
                self.let_out(who);
            }
        } else if has(log, waiting) && !has(log, other) {
            self.decide(who, end, reply);
        }
    }
}
