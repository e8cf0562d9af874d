//! What goes wrong, and that it goes right again.

use rand::RngExt as _;
use rq_core::config::{FlushMode, FlushPolicy};
use rq_core::ids::StoreId;
use rq_core::replication::Input;
use rq_log::disk::simulated::SimulatedDisk;

use crate::recover::store_of;
use crate::world::{Event, Machine, Who, World};

/// Operations of its disk within which a machine fails that is about to.
const FAILS_WITHIN: u64 = 60;
/// Where the flush mode changes: how long one lasts, how long the way to it may take before somebody asks again, and the
/// longest time between two flushes in Async; in ms.
const MODE_LASTS: u64 = 3_000;
const MODE_ASKED: u64 = 1_000;
pub(crate) const FLUSH_INTERVAL: u32 = 400;

impl World {
    /// One thing goes wrong.
    pub(crate) fn something_fails(&mut self) {
        let all = self.machines.len();
        let who = self.random.random_range(0..all);
        match self.random.random_range(0..16) {
            0 | 1 => self.kill(who),
            2 => self.cut_power_if_it_may_be(who),
            // The whole rack.
            3 => (0..all).for_each(|who| self.cut_power_if_it_may_be(who)),
            4 => {
                let millis = self.random.random_range(50..6_000);
                self.machines[who].paused_until = self.now + millis;
            }
            // In one direction, to another one or to all.
            5 => {
                let to = self.random.random_range(0..all);
                let cut = (0..all).filter(|other| to == who || *other == to).map(|other| (who, other));
                self.cut.extend(cut);
            }
            6 => self.cut.extend((0..all).flat_map(|other| [(who, other), (other, who)])),
            7 => self.machines[who].reaches_store = false,
            8 => self.machines[who].disk.fail_next_sync(".seg"),
            9 => self.hang_up_all(None),
            10 => {
                let operations = self.random.random_range(0..FAILS_WITHIN);
                self.machines[who].disk.stop_after(operations);
            }
            11 => self.lose_disk(who),
            12 | 13 => self.switch(who),
            _ => self.heal(),
        }
    }

    fn cut_power_if_it_may_be(&mut self, who: Who) {
        if self.may_lose_power(who) {
            self.cut_power(who);
        } else {
            self.kill(who);
        }
    }

    /// Whoever is master shall hand over to this one, and perhaps leave the set as one that is about to stop: no fault, but
    /// it meets all of them.
    fn switch(&mut self, to: Who) {
        let (to, leaves) = (self.machines[to].store, self.random.random_bool(0.5));
        self.tell_all(&Input::HandOver { to, leaves });
    }

    /// In a run of changing modes, whoever is master shall flush as it is the turn.
    pub(crate) fn change_flush_mode_if_due(&mut self) {
        let turn = self.now / MODE_LASTS;
        let mode = if turn.is_multiple_of(3) { FlushMode::Sync } else { FlushMode::Async };
        let is_so = |machine: &Machine| {
            let serving = machine.process.as_ref().filter(|process| process.replica.serving().is_some());
            serving.is_none_or(|process| process.replica.flush_mode() == Some(mode))
        };
        if self.changes_flush_mode
            && self.asked_for_mode + MODE_ASKED < self.now
            && !self.machines.iter().all(is_so)
        {
            self.asked_for_mode = self.now;
            self.tell_all(&Input::SetFlushPolicy(FlushPolicy { mode, interval_ms: FLUSH_INTERVAL }));
        }
    }

    fn tell_all(&mut self, input: &Input) {
        for who in 0..self.machines.len() {
            if self.machines[who].paused_until <= self.now {
                self.step(who, input.clone());
            }
        }
    }

    /// All that lasts is over.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for machine in &mut self.machines {
            machine.reaches_store = true;
        }
    }

    /// Every machine that was about to fail does so now. One that has nothing left to write would not notice that its disk is gone:
    /// it would not start anew, and could send nobody its log.
    pub(crate) fn fail_what_is_about_to(&mut self) {
        for who in 0..self.machines.len() {
            if self.machines[who].disk.stops() {
                self.kill(who);
            }
        }
    }

    /// A machine gets a new, empty disk in place of the one it had, if it may.
    fn lose_disk(&mut self, who: Who) {
        if !self.may_lose_disk(who) {
            return;
        }
        self.disks_lost += 1;
        self.kill(who);
        let machine = &mut self.machines[who];
        machine.disk = SimulatedDisk::new(self.random.random());
        machine.store = store_of(&machine.disk);
        machine.session.0 += 1;
        machine.lost_disk = true;
    }

    /// One disk at a time may be lost.
    fn may_lose_disk(&self, who: Who) -> bool {
        let here = |store: &StoreId| self.machines.iter().any(|machine| machine.store == *store);
        self.another_has_everything(who)
            && self.config.in_sync.keys().all(here)
            && !self.machines.iter().any(|machine| machine.lost_disk)
    }

    /// What is flushed outlives its power.
    pub(crate) fn may_lose_power(&self, who: Who) -> bool {
        !self.changes_flush_mode || self.another_has_everything(who)
    }

    /// To lose the only copy is to lose what it holds: only while the configuration names another copy that has everything
    /// may one be lost. A write that is still under way might strike that one from the set.
    fn another_has_everything(&self, who: Who) -> bool {
        let mut others = self.machines.iter().enumerate().filter(|(other, _)| *other != who);
        let writing = |event: &Event| matches!(event, Event::Put(..) | Event::Write(_));
        let has = |machine: &Machine| {
            let session = self.config.in_sync.get(&machine.store);
            session.is_some_and(|session| !self.changes_flush_mode || *session == machine.session)
        };
        others.any(|(_, machine)| has(machine)) && !self.events.values().any(writing)
    }
}
