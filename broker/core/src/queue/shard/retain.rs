//! Dropping the oldest segments, once more checked against the state as it is now.

use std::collections::BTreeMap;

use super::{Shard, Step};
use crate::queue::request::{Retain, Retained};
use crate::queue::retention::{Owed, owed_below};
use crate::record::Record;

impl Shard {
    /// Copies what is still owed and drops the rest. Does nothing where more is owed by now than was copied: a
    /// group that subscribed meanwhile may want what nobody wanted before.
    pub(super) fn retain(&mut self, step: &mut Step<'_>, retain: &Retain) -> Retained {
        let unchanged = Retained { log_start: self.state.log_start };
        if retain.below <= self.state.log_start {
            return unchanged;
        }
        let copies: BTreeMap<_, _> = retain
            .relocate
            .iter()
            .map(|copy| ((copy.topic, copy.queue, copy.offset, copy.from), &copy.record))
            .collect();
        let Some(owed) = owed_below(&self.state, retain.below, &retain.policy, copies.len()) else {
            return unchanged;
        };
        let copied = |owed: &Owed| copies.get(&(owed.topic, owed.queue, owed.offset, owed.lsn));
        if owed.iter().any(|owed| copied(owed).is_none()) {
            return unchanged;
        }
        for owed in owed {
            if let Some(record) = copied(&owed) {
                let (topic, queue, offset) = (owed.topic, owed.queue, owed.offset);
                self.append(step, &Record::Relocate { topic, queue, offset, record });
            }
        }
        self.append(step, &Record::DropBelow(retain.below));
        Retained { log_start: retain.below }
    }
}
