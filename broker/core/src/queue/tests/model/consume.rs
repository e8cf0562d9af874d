//! What consumers do with their deliveries.

use super::view::{Fate, View};
use super::world::{RETRY_FLOOR_MS, World};
use crate::queue::request::Delivery;

impl World {
    pub(super) fn ack(&mut self, number: usize, delivery: Delivery) {
        let view = &mut self.views[number];
        let result = self.broker.ack(view.name, &delivery);
        let fate = view.copies[&(delivery.queue, delivery.offset)].fate;
        let ok = match view.current(&delivery) {
            Some(copy) => {
                copy.fate = Fate::Acked;
                view.last_used = self.broker.now;
                true
            }
            None => fate.is_done(),
        };
        // Whether what is gone is done depends on whether the group has come by since.
        let gone = matches!(fate, Fate::Gone | Fate::Expired);
        assert!(result.is_ok() == ok || gone, "{delivery:?} was {fate:?}: {result:?}");
    }

    pub(super) fn change(&mut self, number: usize, delivery: &Delivery, invisible_ms: u64, suspend: bool) {
        let view = &mut self.views[number];
        let ok = self.broker.change(view.name, delivery, invisible_ms, suspend);
        let current = view.current(delivery);
        assert_eq!(ok, current.is_some());
        let Some(copy) = current else { return };
        let floor_ms = if copy.attempts > 1 { RETRY_FLOOR_MS } else { 0 };
        copy.visible_at = self.broker.now.plus(invisible_ms.max(floor_ms));
        let Fate::Delivered(hold) = &mut copy.fate else { return };
        copy.attempts -= u32::from(suspend && hold.worked_on);
        (hold.worked_on, hold.confirmed) = (false, true);
        view.last_used = self.broker.now;
    }

    pub(super) fn undo(&mut self, number: usize, delivery: Delivery) {
        let view = &mut self.views[number];
        self.broker.undo(view.name, &[delivery]);
        let Some(copy) = view.current(&delivery) else { return };
        let Fate::Delivered(hold) = copy.fate else { return };
        if hold.worked_on && !hold.confirmed && !hold.repeated {
            copy.attempts -= 1;
            (copy.visible_at, copy.fate) = (crate::ids::LogTime(0), Fate::Waiting);
        }
    }

    pub(super) fn forward(&mut self, number: usize, delivery: Delivery) {
        let view = &mut self.views[number];
        self.broker.forward(view.name, &delivery);
        let Some(copy) = view.current(&delivery) else { return };
        copy.fate = Fate::Dead;
        let copy = copy.clone();
        self.dies(number, delivery.queue, &copy);
    }

    pub(super) fn vouch(&mut self, client: u64, idle_ms: u64) {
        self.broker.vouch(client, 1, idle_ms);
        let now = self.broker.now;
        for view in &mut self.views {
            let mut used = false;
            view.for_each_hold(|hold, visible_at| {
                let arrived = hold.confirmed || now.since(hold.since) > idle_ms;
                let soon = visible_at.since(now) < 30_000 && now.since(hold.since) < 3 * 3_600_000;
                if hold.renewed && hold.client == client && arrived && soon {
                    (*visible_at, hold.confirmed) = (now.plus(45_000), true);
                    used = true;
                }
            });
            note_use(view, used, now);
        }
    }

    /// A client said goodbye.
    pub(super) fn release(&mut self, client: u64) {
        let now = self.broker.now;
        for view in &mut self.views {
            let mut used = false;
            view.for_each_hold(|hold, visible_at| {
                if hold.renewed && hold.client == client {
                    (*visible_at, hold.worked_on) = (now, false);
                    used = true;
                }
            });
            note_use(view, used, now);
        }
    }
}

fn note_use(view: &mut View, used: bool, now: crate::ids::LogTime) {
    view.last_used = if used { now } else { view.last_used };
}
