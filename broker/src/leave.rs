//! A broker that is told to stop leaves its shard first, while clients are still served. A slave says so to its master, a
//! master hands over: either is out of the in-sync set by one compare-and-set, so that nobody waits for it in vain, and
//! clients notice a stop as little as a promotion by hand. Where all replicas are to stop, none leaves.

use std::time::Duration;

use rq_core::ids::StoreId;
use rq_core::replication::Phase;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::engine::cluster::{News, ReplicaView};
use crate::shutdown::Stop;

/// How long it may take. After that the broker stops all the same, and its slave takes over as from one that died.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);
/// In a pod, how long calls are still taken, and forwarded, after that: a node hears so much later that the pod is going, and
/// sends new connections to it until then.
const STILL_CALLED: Duration = Duration::from_secs(2);
/// How soon it is looked at again: a switch may be given up meanwhile, or its slave be gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the broker was told.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// To stop, in one way or the other.
    pub(crate) to_stop: CancellationToken,
    with_all: CancellationToken,
}

impl Told {
    pub(crate) fn stop(&self, how: Stop) {
        if how == Stop::WithAll {
            self.with_all.cancel();
        }
        self.to_stop.cancel();
    }
}

/// Completes `stopping` once the broker is told to stop and this replica is out of the in-sync set, if it is to leave that
/// and can in time. The follower must end soon after `parting`: it follows nobody after that, also not the successor of a
/// master.
pub(crate) async fn leave(
    engine: Engine,
    follower: Option<JoinHandle<()>>,
    in_pod: bool,
    parting: CancellationToken,
    told: Told,
    stopping: CancellationToken,
) -> Result<(), JoinError> {
    told.to_stop.cancelled().await;
    let leaves = !told.with_all.is_cancelled();
    let followed = match follower {
        Some(follower) if leaves => {
            parting.cancel();
            follower.await
        }
        Some(follower) => {
            follower.abort();
            Ok(())
        }
        None => Ok(()),
    };
    if leaves {
        hand_over(&engine).await;
        if in_pod {
            tokio::time::sleep(STILL_CALLED).await;
        }
    }
    stopping.cancel();
    followed
}

/// Hands over, if this replica leads and there is anybody to hand over to.
async fn hand_over(engine: &Engine) {
    if tokio::time::timeout(HAND_OVER_WITHIN, until_handed_over(engine)).await.is_err() {
        tracing::warn!(within = ?HAND_OVER_WITHIN, "the mastership was not handed over: a slave has to notice the stop");
    }
}

async fn until_handed_over(engine: &Engine) {
    let mut view = engine.view();
    loop {
        let seen = view.borrow_and_update().clone();
        let Some(successor) = successor(&seen) else { return };
        if seen.serves() {
            tracing::info!(%successor, "hands the mastership over before it stops");
            engine.tell(News::HandOver { to: successor, leaves: true });
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Who is to be master after this one: the slave in sync that has most. None if this is no master, or has no such slave.
fn successor(view: &ReplicaView) -> Option<StoreId> {
    let in_sync = &view.config.as_ref().filter(|_| view.leads())?.in_sync;
    let linked = view.slaves.iter().filter(|(_, slave)| slave.phase == Phase::Following);
    let candidates = linked.filter(|(store, _)| in_sync.contains_key(store));
    candidates.max_by_key(|(_, slave)| slave.durable).map(|(store, _)| *store)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rq_core::config::{Config, Member};
    use rq_core::ids::{Epoch, Lsn, Session};

    use super::*;
    use crate::engine::cluster::{Role, SlaveView};

    const MASTER: StoreId = StoreId(1);

    fn view(role: Role, in_sync: &[u128], slaves: &[(u128, Phase, u64)]) -> ReplicaView {
        let members = (1..=4).map(|store| (StoreId(store), Member::default())).collect();
        let mut config = Config::form(MASTER, Session(1), members, 1);
        config.in_sync.extend(in_sync.iter().map(|store| (StoreId(*store), Session(1))));
        let slave = |(store, phase, durable): &(u128, Phase, u64)| {
            (StoreId(*store), SlaveView { phase: *phase, received: Lsn(*durable), durable: Lsn(*durable) })
        };
        let slaves: BTreeMap<_, _> = slaves.iter().map(slave).collect();
        ReplicaView { role, config: Some(config), slaves, ..ReplicaView::default() }
    }

    const LEADS: Role = Role::Master { epoch: Epoch(1), serves: true };

    #[test]
    fn the_linked_slave_in_sync_that_has_most_succeeds() {
        let slaves = [(2, Phase::Following, 70), (3, Phase::Following, 80), (4, Phase::Following, 90)];
        assert_eq!(successor(&view(LEADS, &[2, 3], &slaves)), Some(StoreId(3)));
    }

    #[test]
    fn nobody_succeeds_who_is_away_or_not_in_sync_and_only_a_master_hands_over() {
        assert_eq!(
            successor(&view(LEADS, &[2], &[(2, Phase::Greeting, 70), (3, Phase::Following, 70)])),
            None
        );
        assert_eq!(successor(&view(LEADS, &[], &[])), None);
        let slave = Role::Slave(Phase::Following);
        assert_eq!(successor(&view(slave, &[2], &[(2, Phase::Following, 70)])), None);
    }
}
