//! The config store, who writes it late or in vain, and who is promoted in it.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rq_core::config::{self, Change, Config};
use rq_core::failover::{self, Decision, MasterSeen, Observed, Observer, SlaveSeen};
use rq_core::ids::Lsn;
use rq_core::replication::{Answer, Input, ProposalId, Replica};

use crate::world::{Event, Machine, TICK, Who, World};

impl World {
    /// A slave that has lost its master.
    pub(crate) fn consider_taking_over(&mut self, who: Who) {
        let (now, machine) = (self.now, &self.machines[who]);
        let Some(process) = &machine.process else { return };
        if process.replica.leading().is_some()
            || self.config.master == machine.store
            || !machine.reaches_store
        {
            return;
        }
        let refused = &process.master_refused;
        let master = MasterSeen {
            dead: false,
            silent_since: process.master_silent_since,
            refused_since: (refused.len() > 1).then(|| refused[0]),
        };
        let slaves = BTreeMap::from([(machine.store, self.seen(who))]);
        let observed =
            Observed { observer: Observer::Slave(machine.store), config: &self.config, master, slaves };
        if let Decision::Promote { keep, .. } = failover::decide(&observed, now) {
            // By a fresh read: it may have missed that it is out of the set.
            let config = self.config.clone();
            self.step(who, Input::Config(config));
            self.step(who, Input::TakeOver { keep });
        }
    }

    pub(crate) fn seen(&self, who: Who) -> SlaveSeen {
        let machine = &self.machines[who];
        let replica = machine.process.as_ref().map(|process| &process.replica);
        SlaveSeen {
            session: machine.session,
            epoch: replica.map_or_else(Default::default, |replica| replica.history().last_epoch()),
            durable: replica.map_or(Lsn(0), Replica::durable),
            master_silent_since: machine.process.as_ref().and_then(|process| process.master_silent_since),
            suspect: false,
        }
    }

    pub(crate) fn supervise(&mut self) {
        self.after(2 * TICK, Event::Supervise);
        let now = self.now;
        let Some(master) = self.who(self.config.master) else { return };
        let answers = |machine: &Machine| {
            machine.process.is_some() && machine.paused_until <= now && machine.reaches_store
        };
        let dead = self.machines[master].process.is_none();
        if answers(&self.machines[master]) {
            self.supervisor_silent_since = None;
        } else {
            self.supervisor_silent_since.get_or_insert(now);
        }
        let slave = Self::other(master);
        let slaves = answers(&self.machines[slave]).then(|| (self.machines[slave].store, self.seen(slave)));
        let seen = MasterSeen { dead, silent_since: self.supervisor_silent_since, refused_since: None };
        let slaves = slaves.into_iter().collect();
        let observed =
            Observed { observer: Observer::Supervisor, config: &self.config, master: seen, slaves };
        if let Decision::Promote { to, session, keep } = failover::decide(&observed, now)
            && let Ok(config) = config::next(&self.config, &Change::Promote { to, session, keep })
        {
            let delay = self.jitter(1, 30);
            self.after(delay, Event::Promote(config));
        }
    }

    pub(crate) fn promote(&mut self, config: Config) {
        if config.version == self.config.version + 1 {
            self.change(config);
        }
    }

    pub(crate) fn change(&mut self, config: Config) {
        config::check(&self.config, &config).expect("only legal changes are written");
        self.promotions += u32::from(config.master != self.config.master);
        self.config = config;
        for who in 0..2 {
            self.read_config(who);
        }
    }

    pub(crate) fn put(&mut self, who: Who, life: u32, id: ProposalId, config: Config) {
        let fate = self.random.random_range(0..100);
        let faulty = self.now < self.faults_until;
        let reaches = self.machines[who].reaches_store;
        if faulty && reaches && fate < 10 {
            // Late: its writer gives up before.
            let delay = self.jitter(50, 3_000);
            self.after(10, Event::Answered(who, life, id, Answer::Unknown));
            return self.after(delay, Event::Put(who, 0, id, config));
        }
        let lost = (faulty && fate < 15) || (!reaches && life != 0);
        if !lost && config.version == self.config.version + 1 {
            self.change(config.clone());
        }
        let answer = if lost || (faulty && fate < 25) {
            Answer::Unknown
        } else if self.config == config {
            Answer::Done
        } else {
            Answer::Conflict(self.config.clone())
        };
        self.after(2, Event::Answered(who, life, id, answer));
    }

    pub(crate) fn read_config(&mut self, who: Who) {
        let delay = self.jitter(1, 20);
        let machine = &self.machines[who];
        if machine.reaches_store {
            let (life, config) = (machine.lives, self.config.clone());
            self.after(delay, Event::Read(who, life, config));
        }
    }

    pub(crate) fn reads(&mut self, who: Who, config: Config) {
        let machine = &mut self.machines[who];
        if let Some(process) = &mut machine.process
            && config.in_sync.contains_key(&machine.store)
            && let Err(error) = process.log.prove_again()
        {
            return self.log_failed(who, &error);
        }
        self.step(who, Input::Config(config));
    }
}
