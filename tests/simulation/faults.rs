//! What goes wrong, and that it goes right again.

use rand::RngExt as _;
use rq_core::ids::StoreId;
use rq_log::disk::simulated::SimulatedDisk;

use crate::recover::store_of;
use crate::world::{Event, Who, World};

/// Operations of its disk within which a machine fails that is about to.
const FAILS_WITHIN: u64 = 60;

impl World {
    /// One thing goes wrong.
    pub(crate) fn something_fails(&mut self) {
        let all = self.machines.len();
        let who = self.random.random_range(0..all);
        match self.random.random_range(0..14) {
            0 | 1 => self.kill(who),
            2 => self.cut_power(who),
            3 => {
                // The whole rack.
                for who in 0..all {
                    self.cut_power(who);
                }
            }
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
            _ => self.heal(),
        }
    }

    /// All that lasts is over.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        for machine in &mut self.machines {
            machine.reaches_store = true;
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

    /// To lose the only copy is to lose what it holds: one disk at a time may be lost, and only while the configuration
    /// names another copy that has everything. A write that is still under way might strike that one from the set.
    fn may_lose_disk(&self, who: Who) -> bool {
        let here = |store: &StoreId| self.machines.iter().any(|machine| machine.store == *store);
        let mut in_sync = self.config.in_sync.keys();
        let another = self.config.in_sync.keys().any(|store| *store != self.machines[who].store);
        let writing = |event: &Event| matches!(event, Event::Put(..) | Event::Write(_));
        another
            && in_sync.all(here)
            && !self.machines.iter().any(|machine| machine.lost_disk)
            && !self.events.values().any(writing)
    }
}
