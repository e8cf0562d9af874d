//! The config store, who writes it late or in vain, and who is promoted in it.

use rand::RngExt as _;
use rq_core::config::{self, Change, Config};
use rq_core::failover::{self, DETECT_TIMEOUT_MS, Decision, MasterSeen, Observed, Observer, SlaveSeen};
use rq_core::ids::Lsn;
use rq_core::replication::{Answer, Input, ProposalId, Replica};

use crate::world::{Event, Machine, TICK, Who, World, member};

impl World {
    /// A slave that has lost its master.
    pub(crate) fn consider_taking_over(&mut self, who: Who) {
        let (now, machine) = (self.now, &self.machines[who]);
        let Some(process) = &machine.process else { return };
        if !machine.reaches_store {
            return;
        }
        if let Some(keep) = process.watch.takes_over(&process.replica, &self.config, false, now) {
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
            master_silent_since: machine.process.as_ref().and_then(|process| process.watch.silent_since()),
            suspect: false,
        }
    }

    /// What the supervisor of a local cluster does: promotions, and who is a member.
    pub(crate) fn supervise(&mut self) {
        self.after(2 * TICK, Event::Supervise);
        self.change_flush_mode_if_due();
        let now = self.now;
        let answers = |machine: &&Machine| {
            machine.process.is_some() && machine.paused_until <= now && machine.reaches_store
        };
        // A disk that was lost is proof of death, and so is a process that ended.
        let master = self.who(self.config.master).map(|master| &self.machines[master]);
        let dead = master.is_none_or(|master| master.process.is_none());
        if master.as_ref().is_some_and(answers) {
            self.supervisor_silent_since = None;
        } else {
            self.supervisor_silent_since.get_or_insert(now);
        }
        let master = MasterSeen { dead, silent_since: self.supervisor_silent_since, refused_since: None };
        let is_slave = |who: &Who| self.machines[*who].store != self.config.master;
        let slaves = (0..self.machines.len()).filter(is_slave).filter(|who| answers(&&self.machines[*who]));
        let slaves = slaves.map(|who| (self.machines[who].store, self.seen(who))).collect();
        let observer = Observer::Supervisor { detect_timeout_ms: DETECT_TIMEOUT_MS };
        let observed = Observed { observer, config: &self.config, master, slaves };
        let change = match failover::decide(&observed, now) {
            Decision::Promote { to, session, keep } => Some(Change::Promote { to, session, keep }),
            Decision::Wait(_) | Decision::Stalled(_) => self.membership(),
        };
        if let Some(change) = change
            && let Ok(config) = config::next(&self.config, &change)
        {
            let delay = self.jitter(1, 30);
            self.after(delay, Event::Write(config));
        }
    }

    /// A new disk is registered, and the one it replaces is removed once that is nobody's only copy.
    fn membership(&self) -> Option<Change> {
        let config = &self.config;
        let new = |(_, machine): &(Who, &Machine)| {
            machine.process.is_some() && !config.members.contains_key(&machine.store)
        };
        if let Some((who, machine)) = self.machines.iter().enumerate().find(new) {
            return Some(Change::Register { store: machine.store, member: member(who) });
        }
        let only_copy = |store| config.in_sync.len() == 1 && config.in_sync.contains_key(store);
        let mut gone = config.members.keys().filter(|store| self.who(**store).is_none());
        let gone = gone.find(|store| **store != config.master && !only_copy(store))?;
        Some(Change::Remove { store: *gone })
    }

    pub(crate) fn write(&mut self, config: Config) {
        if config.version == self.config.version + 1 {
            self.change(config);
        }
    }

    pub(crate) fn change(&mut self, config: Config) {
        config::check(&self.config, &config).expect("only legal changes are written");
        self.promotions += u32::from(config.master != self.config.master);
        self.config = config;
        for who in 0..self.machines.len() {
            self.machines[who].lost_disk &= !self.config.in_sync.contains_key(&self.machines[who].store);
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
        let Some(process) = &mut machine.process else { return };
        let replica = &process.replica;
        let is_newer = replica.config().is_none_or(|seen| seen.version < config.version);
        if is_newer
            && config.in_sync.contains_key(&machine.store)
            && replica.leading().is_none()
            && let Err(error) = process.log.prove_again()
        {
            return self.write_failed(who, &error);
        }
        self.step(who, Input::Config(config));
    }
}
