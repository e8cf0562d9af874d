//! Dropping the oldest segments, once more checked against the state as it is now.

use super::{Shard, Step};
use crate::queue::request::{Retain, Retained};
use crate::queue::retention::owed_below;
use crate::record::Record;

impl Shard {
    /// Copies what is still owed and drops the rest. Does nothing where more is owed by now than was copied: a
    /// group that subscribed meanwhile may want what nobody wanted before.
    pub(super) fn retain(&mut self, step: &mut Step<'_>, retain: &Retain) -> Retained {
        let copied = |topic, queue, offset, from| {
            let same = |copy: &&crate::queue::request::Relocation| {
                (copy.topic, copy.queue, copy.offset, copy.from) == (topic, queue, offset, from)
            };
            retain.relocate.iter().find(same)
        };
        let owed = owed_below(&self.state, retain.below, &retain.policy, retain.relocate.len());
        let all_copied = owed.as_ref().is_some_and(|owed| {
            owed.iter().all(|owed| copied(owed.topic, owed.queue, owed.offset, owed.lsn).is_some())
        });
        if !all_copied {
            return Retained { log_start: self.state.log_start };
        }
        for owed in owed.unwrap_or_default() {
            if let Some(copy) = copied(owed.topic, owed.queue, owed.offset, owed.lsn) {
                self.append(
                    step,
                    &Record::Relocate {
                        topic: copy.topic,
                        queue: copy.queue,
                        offset: copy.offset,
                        record: &copy.record,
                    },
                );
            }
        }
        self.append(step, &Record::DropBelow(retain.below));
        Retained { log_start: retain.below }
    }
}
