//! What the master keeps watch of: which leases want renewal, and which deliveries were their message's last.
//! Derived from the state and never part of it. Every record that touches pending messages goes through
//! [`Shard::append_for`], so that no ended delivery stays watched.

use std::collections::{BTreeMap, BTreeSet};

use super::{Place, Shard, Step};
use crate::ids::{ClientHash, GroupId, LogTime, Offset, QueueId, TopicId};
use crate::queue::progress::Pending;
use crate::queue::state::Group;
use crate::record::Record;

/// Deliveries to come back to.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Leases to renew while their client lives.
    pub(super) renewals: BTreeMap<ClientHash, BTreeSet<Place>>,
    /// Messages that had all their deliveries, by the end of the last one: then they become dead letters.
    pub(super) exhausted: BTreeSet<(LogTime, Place)>,
}

impl Watch {
    fn add(&mut self, place: Place, pending: &Pending, max_attempts: u32) {
        if let Some(lease) = pending.lease.filter(|lease| lease.auto_renew && lease.held) {
            self.renewals.entry(lease.client).or_default().insert(place);
        }
        if pending.attempts >= max_attempts {
            self.exhausted.insert((pending.visible_at, place));
        }
    }

    fn add_all(&mut self, group: GroupId, of_group: &Group) {
        for (topic, subscription) in &of_group.subscriptions {
            for (number, progress) in subscription.queues.iter().enumerate() {
                for (offset, pending) in &progress.pending {
                    let place = (group, *topic, QueueId(number as u16), *offset);
                    self.add(place, pending, of_group.settings.max_attempts);
                }
            }
        }
    }

    fn remove(&mut self, place: Place, pending: &Pending) {
        if let Some(lease) = pending.lease.filter(|lease| lease.auto_renew)
            && let Some(places) = self.renewals.get_mut(&lease.client)
        {
            places.remove(&place);
            if places.is_empty() {
                self.renewals.remove(&lease.client);
            }
        }
        if !self.exhausted.is_empty() {
            self.exhausted.remove(&(pending.visible_at, place));
        }
    }
}

impl Shard {
    /// Appends a record about pending messages and watches what it leaves of them.
    pub(super) fn append_for(
        &mut self,
        step: &mut Step<'_>,
        (group, topic): (GroupId, TopicId),
        messages: &[(QueueId, Offset)],
        record: &Record<'_>,
    ) {
        for (queue, offset) in messages {
            let place = (group, topic, *queue, *offset);
            if let Some(pending) = pending(&self.state, place) {
                self.watch.remove(place, pending);
            }
        }
        self.append(step, record);
        let max_attempts = self.max_attempts(group);
        for (queue, offset) in messages {
            let place = (group, topic, *queue, *offset);
            if let Some(pending) = pending(&self.state, place) {
                self.watch.add(place, pending, max_attempts);
            }
        }
    }

    /// Watches what is in the state, and nothing else.
    pub(super) fn watch_all(&mut self) {
        self.watch = Watch::default();
        for (group, of_group) in &self.state.groups {
            self.watch.add_all(*group, of_group);
        }
    }

    /// Watches what is in the state of a group, and nothing else of it.
    pub(super) fn watch_group(&mut self, group: GroupId) {
        self.forget_watched(|watched, _| watched == group);
        if let Some(of_group) = self.state.groups.get(&group) {
            self.watch.add_all(group, of_group);
        }
    }

    /// Stops watching what a deleted topic or group had.
    pub(super) fn forget_watched(&mut self, gone: impl Fn(GroupId, TopicId) -> bool) {
        self.watch.exhausted.retain(|(_, (group, topic, ..))| !gone(*group, *topic));
        self.watch.renewals.retain(|_, places| {
            places.retain(|(group, topic, ..)| !gone(*group, *topic));
            !places.is_empty()
        });
    }

    #[cfg(test)]
    pub(crate) fn watches_nothing(&self) -> bool {
        self.watch.renewals.is_empty() && self.watch.exhausted.is_empty()
    }

    pub(super) fn pending(&self, place: Place) -> Option<&Pending> {
        pending(&self.state, place)
    }

    fn max_attempts(&self, group: GroupId) -> u32 {
        self.state.groups.get(&group).map_or(u32::MAX, |group| group.settings.max_attempts)
    }
}

fn pending(state: &crate::queue::State, (group, topic, queue, offset): Place) -> Option<&Pending> {
    state.progress(group, topic, queue)?.pending.get(&offset)
}
