//! Renewal of leases by the server, for clients that ask for it: as long as a gateway vouches for the client.

use std::collections::BTreeMap;

use super::{Place, Shard, Step};
use crate::ids::{ClientHash, GroupId, LogTime, Offset, QueueId, TopicId};
use crate::queue::progress::Lease;
use crate::queue::request::{LiveClient, Vouch};
use crate::record::ChangeInvisible;

/// A lease is renewed to this much from now. A client that no gateway vouches for is gone after this time.
pub const RENEWED_LEASE_MS: u64 = 45_000;
/// A lease is renewed when less than this is left of it.
const RENEW_BELOW_MS: u64 = 30_000;
/// Longest time that one delivery is renewed for: 3 hours, as in RocketMQ.
const RENEWED_FOR_MAX_MS: u64 = 3 * 3_600_000;

/// Most messages of one record: a record must fit into the smallest segment.
const CHANGED_MAX: usize = 4096;

/// Messages by group and topic.
type ByTopic = BTreeMap<(GroupId, TopicId), Vec<(QueueId, Offset)>>;

impl Shard {
    /// Renews what the living clients hold. A delivery that the client may never have received (it has not
    /// called again over that connection) is not renewed: it comes back when its lease is over.
    pub(super) fn vouch(&mut self, step: &mut Step<'_>, vouch: &Vouch) {
        let mut renew = ByTopic::new();
        for live in &vouch.clients {
            for place in self.watch.renewals.get(&live.client).into_iter().flatten() {
                let lease = self.lease(*place).filter(|(lease, _)| lease.client == live.client);
                if lease.is_some_and(|(lease, visible_at)| is_to_renew(&lease, visible_at, live, step.now)) {
                    let (group, topic, queue, offset) = *place;
                    renew.entry((group, topic)).or_default().push((queue, offset));
                }
            }
        }
        self.reschedule(step, renew, RENEWED_LEASE_MS, true);
    }

    /// The client said goodbye: what it holds goes to others at once.
    pub(super) fn release(&mut self, step: &mut Step<'_>, client: ClientHash) {
        let mut free = ByTopic::new();
        for (group, topic, queue, offset) in self.watch.renewals.get(&client).into_iter().flatten() {
            free.entry((*group, *topic)).or_default().push((*queue, *offset));
        }
        self.reschedule(step, free, 0, false);
    }

    fn reschedule(&mut self, step: &mut Step<'_>, messages: ByTopic, after_ms: u64, held: bool) {
        let visible_at = step.now.plus(after_ms);
        for ((group, topic), messages) in messages {
            for messages in messages.chunks(CHANGED_MAX) {
                self.change_visible(
                    step,
                    ChangeInvisible {
                        group,
                        topic,
                        visible_at,
                        held,
                        confirmed: held,
                        uncounted: false,
                        messages: messages.to_vec(),
                    },
                );
            }
        }
    }

    fn lease(&self, place: Place) -> Option<(Lease, LogTime)> {
        let pending = self.pending(place)?;
        Some((pending.lease?, pending.visible_at))
    }
}

fn is_to_renew(lease: &Lease, visible_at: LogTime, live: &LiveClient, now: LogTime) -> bool {
    let called_since = now.since(lease.popped_at) > live.idle_ms;
    let arrived = lease.confirmed || (lease.connection == live.connection && called_since);
    lease.auto_renew
        && lease.held
        && arrived
        && visible_at.since(now) < RENEW_BELOW_MS
        && now.since(lease.popped_at) < RENEWED_FOR_MAX_MS
}
