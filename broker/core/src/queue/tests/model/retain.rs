//! Retention: what is owed or waits is copied, and what idle groups give up is counted.

use std::collections::BTreeSet;

use proptest::sample::Index;

use super::view::{Fate, View};
use super::world::{TOPICS, World, id_of};
use crate::ids::{LogTime, Lsn, Offset, QueueId};
use crate::queue::request::Retained;
use crate::queue::retention::{InactiveGroup, Policy};

type Places = BTreeSet<(QueueId, Offset)>;

impl World {
    /// What idle groups give up lies below, is owed by nobody else, and is counted to the message.
    pub(super) fn retain(&mut self, below: Index, expire_ms: Option<u64>) {
        let (below, _) = self.broker.log.records[below.index(self.broker.log.records.len())];
        if below <= self.broker.shard.state().log_start() {
            return;
        }
        let owed: Vec<Places> = self.views.iter().map(|view| self.owed_below(view, below)).collect();
        let newest = self.broker.newest_below(below);
        let inactive_group = expire_ms.map_or(InactiveGroup::Keep, InactiveGroup::ExpireAfter);
        let retained = self.broker.retain_by(below, Policy { inactive_group, ..Policy::default() });
        assert_eq!(retained.log_start, below, "what is owed can be copied");
        let idle =
            |since: LogTime| expire_ms.is_some_and(|after| self.served_since(since.max(newest)) > after);
        let idle: Vec<[bool; 2]> = self
            .views
            .iter()
            .map(|view| [idle(view.last_used), idle(view.last_used.max(view.looked))])
            .collect();
        for pair in (0..self.views.len()).step_by(2) {
            self.expire([pair, pair + 1], &owed, &idle, &retained);
        }
        for view in &self.views {
            let of_group = self.views.iter().filter(|other| other.group == view.group);
            let expired = of_group.map(|view| view.expired).sum::<u64>();
            assert_eq!(self.broker.shard.group_status(view.name).unwrap().expired, expired);
        }
    }

    /// What the two groups of a topic give up. Of each it is known whether it may be idle, and whether it surely is.
    fn expire(&mut self, pair: [usize; 2], owed: &[Places], idle: &[[bool; 2]], retained: &Retained) {
        let told = |view: &View| {
            let mine = |topic: &str, group: &str| topic == TOPICS[view.topic].0 && group == view.name;
            let mut of_view = retained.expired.iter().filter(|told| mine(&told.topic, &told.group));
            of_view.next().map(|told| told.messages)
        };
        let gave_up = pair.map(|number| told(&self.views[number]));
        for (nth, number) in pair.into_iter().enumerate() {
            let (other, view) = (pair[1 - nth], &mut self.views[number]);
            let kept = |place: &&(QueueId, Offset)| {
                pair.iter()
                    .zip(gave_up)
                    .any(|(view, gave_up)| gave_up.is_none() && owed[*view].contains(place))
            };
            let lost: Vec<_> = owed[number].iter().filter(|place| !kept(place)).copied().collect();
            let [may_be_idle, surely_idle] = idle[number];
            if let Some(messages) = gave_up[nth] {
                assert!(may_be_idle, "{} was used at {}", view.name, view.last_used);
                assert_eq!(messages, lost.len() as u64);
                view.expired += messages;
                for place in lost {
                    view.copies.get_mut(&place).unwrap().fate = Fate::Expired;
                }
            } else {
                assert!(!surely_idle || owed[number].is_subset(&owed[other]), "{} is idle", view.name);
            }
        }
    }

    fn owed_below(&self, view: &View, below: Lsn) -> Places {
        let state = self.broker.shard.state();
        let lies_below = |(queue, offset): &(QueueId, Offset)| {
            let entry = state.entry(id_of(view.topic), *queue, *offset);
            entry.expect("owed messages are in the log").lsn < below
        };
        view.owed().filter(lies_below).collect()
    }

    /// For how long a broker served since then.
    fn served_since(&self, since: LogTime) -> u64 {
        let overlap = |(from, to): &(LogTime, LogTime)| to.since(since.max(*from));
        self.broker.now.since(since) - self.outages.iter().map(overlap).sum::<u64>()
    }
}
