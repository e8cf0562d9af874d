//! Renewal of leases by the server, for clients that ask for it: as long as a gateway vouches for the client.

use std::collections::{BTreeMap, BTreeSet};

use super::{Place, Shard, Step};
use crate::ids::{ClientHash, GroupId, LogTime, Offset, QueueId, TopicId};
use crate::queue::progress::Lease;
use crate::queue::request::{LiveClient, Vouch};
use crate::record::{ChangeInvisible, Record};

/// A lease is renewed to this much from now. A client that no gateway vouches for is gone after this time.
pub const RENEWED_LEASE_MS: u64 = 45_000;
/// A lease is renewed when less than this is left of it.
const RENEW_BELOW_MS: u64 = 30_000;
/// Longest time that one delivery is renewed for: 3 hours, as in RocketMQ.
const RENEWED_FOR_MAX_MS: u64 = 3 * 3_600_000;

/// Messages of one group and topic, and whether their delivery is newly confirmed.
type ByTopic = BTreeMap<(GroupId, TopicId), Vec<(QueueId, Offset)>>;

impl Shard {
    /// Renews what the living clients hold. A delivery that the client may never have received (it has not
    /// called again over that connection) is not renewed: it comes back when its lease is over.
    pub(super) fn vouch(&mut self, step: &mut Step<'_>, vouch: &Vouch) {
        let mut renew = ByTopic::new();
        for live in &vouch.clients {
            let Some(places) = self.renewals.get(&live.client) else { continue };
            let mut ended = Vec::new();
            for place in places {
                let Some((lease, visible_at)) =
                    self.lease(*place).filter(|(lease, _)| lease.client == live.client)
                else {
                    ended.push(*place);
                    continue;
                };
                if lease.held && is_to_renew(&lease, visible_at, live, step.now) {
                    let (group, topic, queue, offset) = *place;
                    renew.entry((group, topic)).or_default().push((queue, offset));
                }
            }
            self.forget_renewals(live.client, &ended);
        }
        self.reschedule(step, renew, RENEWED_LEASE_MS, true);
    }

    /// The client said goodbye: what it holds goes to others at once.
    pub(super) fn release(&mut self, step: &mut Step<'_>, client: ClientHash) {
        let mut free = ByTopic::new();
        for place in self.renewals.remove(&client).unwrap_or_default() {
            if self.lease(place).is_some_and(|(lease, _)| lease.client == client && lease.held) {
                let (group, topic, queue, offset) = place;
                free.entry((group, topic)).or_default().push((queue, offset));
            }
        }
        self.reschedule(step, free, 0, false);
    }

    fn reschedule(&mut self, step: &mut Step<'_>, messages: ByTopic, after_ms: u64, held: bool) {
        let visible_at = step.now.plus(after_ms);
        for ((group, topic), messages) in messages {
            self.append(
                step,
                &Record::ChangeInvisible(ChangeInvisible {
                    group,
                    topic,
                    visible_at,
                    held,
                    confirmed: held,
                    uncounted: false,
                    messages: messages.clone(),
                }),
            );
            self.polls.changed(topic, group);
            for (queue, offset) in messages {
                self.watch_last_attempt((group, topic, queue, offset));
            }
        }
    }

    /// Takes note of a new lease that wants renewal.
    pub(super) fn watch_renewal(&mut self, client: ClientHash, place: Place) {
        self.renewals.entry(client).or_default().insert(place);
    }

    /// Finds the leases to watch in a recovered state.
    pub(super) fn watch_leases(&mut self) {
        let mut found: Vec<(Place, Option<Lease>)> = Vec::new();
        for (group, state) in &self.state.groups {
            for (topic, subscription) in &state.subscriptions {
                for (number, progress) in subscription.queues.iter().enumerate() {
                    let queue = QueueId(number as u16);
                    let pending = progress.pending.iter();
                    found.extend(
                        pending.map(|(offset, pending)| ((*group, *topic, queue, *offset), pending.lease)),
                    );
                }
            }
        }
        for (place, lease) in found {
            self.watch_last_attempt(place);
            if let Some(lease) = lease.filter(|lease| lease.auto_renew) {
                self.watch_renewal(lease.client, place);
            }
        }
    }

    fn lease(&self, place: Place) -> Option<(Lease, LogTime)> {
        let pending = self.pending(place)?;
        Some((pending.lease?, pending.visible_at))
    }

    fn forget_renewals(&mut self, client: ClientHash, ended: &[Place]) {
        let places: Option<&mut BTreeSet<Place>> = self.renewals.get_mut(&client);
        if let Some(places) = places {
            for place in ended {
                places.remove(place);
            }
            if places.is_empty() {
                self.renewals.remove(&client);
            }
        }
    }
}

fn is_to_renew(lease: &Lease, visible_at: LogTime, live: &LiveClient, now: LogTime) -> bool {
    let called_since = now.since(lease.popped_at) > live.idle_ms;
    let arrived = lease.confirmed || (lease.connection == live.connection && called_since);
    lease.auto_renew
        && arrived
        && visible_at.since(now) < RENEW_BELOW_MS
        && now.since(lease.popped_at) < RENEWED_FOR_MAX_MS
}
