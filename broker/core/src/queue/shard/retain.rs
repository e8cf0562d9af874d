//! Dropping the oldest segments, once more checked against the state as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Shard, Step};
use crate::ids::{GroupId, Lsn, TopicId};
use crate::queue::request::{Expired, Retain, Retained};
use crate::queue::retention::{Owed, Pointer, Run, SealedSegment};
use crate::record::Record;

impl Shard {
    /// Copies what is still owed and drops the rest. Does nothing where more is owed by now than was copied: a
    /// group that subscribed meanwhile may want what nobody wanted before. Below the present start of the log there
    /// is nothing to drop; that it begins there is then said once more, which gives an idle log an end that a
    /// further checkpoint can stand for.
    pub(super) fn retain(&mut self, step: &mut Step<'_>, retain: &Retain) -> Retained {
        let unchanged = Retained { log_start: self.state.log_start, expired: Vec::new() };
        if retain.below < self.state.log_start {
            return unchanged;
        }
        let copies: BTreeMap<_, _> = retain.relocate.iter().map(|copy| (copy.owed, &copy.record)).collect();
        let last = SealedSegment { end: retain.below, newest: retain.newest };
        let run = Run { state: &self.state, last, now: step.now, policy: &retain.policy };
        let Some(owed) = run.owed(copies.len()) else { return unchanged };
        let lapsed = run.lapsed();
        let copied = |owed: &Owed| copies.get(owed);
        if owed.iter().any(|owed| copied(owed).is_none()) {
            return unchanged;
        }
        for owed in owed {
            if let Some(record) = copied(&owed) {
                self.append(
                    step,
                    &match owed.pointer {
                        Pointer::Queue(topic, queue, offset) => {
                            Record::Relocate { topic, queue, offset, record }
                        }
                        Pointer::Held(key) => Record::RelocateHeld { key, record },
                    },
                );
            }
        }
        let expired = self.expire(step, &lapsed, retain.below);
        self.append(step, &Record::DropBelow(retain.below));
        Retained { log_start: retain.below, expired }
    }

    /// Lets groups give up what they owe below a position, and says how much that was.
    fn expire(&mut self, step: &mut Step<'_>, lapsed: &[(GroupId, TopicId)], below: Lsn) -> Vec<Expired> {
        let mut expired = Vec::new();
        for (group, topic) in lapsed.iter().copied() {
            let before = self.state.expired;
            self.append(step, &Record::Expire { group, topic, below });
            let messages = self.state.expired - before;
            let names = (self.state.groups.get(&group), self.state.topics.get(&topic));
            // Other groups may owe the same messages, which were copied for them and stay owed by this one too.
            if let (Some(of_group), Some(of_topic)) = names
                && messages > 0
            {
                let (group, topic) = (Arc::clone(&of_group.name), Arc::clone(&of_topic.name));
                expired.push(Expired { group, topic, messages });
            }
            self.polls.changed(topic, group);
        }
        if !lapsed.is_empty() {
            // Deliveries may be among what was given up.
            self.watch_all();
        }
        expired
    }
}
