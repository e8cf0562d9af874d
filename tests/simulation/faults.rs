//! What goes wrong, and that it goes right again.

use rand::RngExt as _;

use crate::world::World;

impl World {
    /// One thing goes wrong.
    pub(crate) fn something_fails(&mut self) {
        let who = self.random.random_range(0..2);
        match self.random.random_range(0..11) {
            0 | 1 => self.kill(who),
            2 => self.cut_power(who),
            3 => {
                // The whole rack.
                self.cut_power(0);
                self.cut_power(1);
            }
            4 => {
                let millis = self.random.random_range(50..6_000);
                self.machines[who].paused_until = self.now + millis;
            }
            // In one direction or both.
            5 => self.machines[who].reaches_peer = false,
            6 => {
                self.machines[0].reaches_peer = false;
                self.machines[1].reaches_peer = false;
            }
            7 => self.machines[who].reaches_store = false,
            8 => self.machines[who].disk.fail_next_sync(".seg"),
            9 => self.hang_up_all(),
            _ => self.heal(),
        }
    }

    /// All that lasts is over.
    pub(crate) fn heal(&mut self) {
        for machine in &mut self.machines {
            machine.reaches_peer = true;
            machine.reaches_store = true;
        }
    }
}
