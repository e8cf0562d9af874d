//! The master's pod ends, in every way in which a pod ends.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rq_tests::go_client::Sends;
use serde_json::json;

use crate::kubectl::text;
use crate::load::{Load, now};
use crate::official::Official;
use crate::pods::{End, replaced};
use crate::queue::{Queue, Shard, incarnation};
use crate::scene::{Needs, play};
use crate::times;
use crate::wait::{DEADLINE, once, wait};

/// Long enough for the fault and all that follows on two cores.
pub(crate) const LOAD: Duration = Duration::from_secs(30);

#[test]
fn a_master_whose_pod_is_deleted_hands_over() -> Result<()> {
    play("b-deleted", Needs::Cluster, |scene| master_ends(&Queue::apply(scene, &json!({}))?, End::Deleted))
}

#[test]
fn a_master_whose_pod_is_deleted_by_force_is_replaced_by_its_slave() -> Result<()> {
    play("b-forced", Needs::Cluster, |scene| {
        master_ends(&Queue::apply(scene, &json!({}))?, End::DeletedByForce)
    })
}

#[test]
fn a_master_whose_process_is_killed_is_replaced() -> Result<()> {
    play("b-killed", Needs::Docker, |scene| master_ends(&Queue::apply(scene, &json!({}))?, End::Killed))
}

fn master_ends(queue: &Queue<'_>, end: End) -> Result<()> {
    let load = Load::start(queue, LOAD)?;
    let official = Official::start(queue, Sends::Plain, LOAD)?;
    let fault = now();
    let (before, after) = strike_master(queue, end)?;
    // A process that is back before anybody misses it may lead again, in a new epoch.
    if end != End::Killed {
        ensure!(
            after.master != before.master,
            "the pod that ended is master again: {before:?}, then {after:?}"
        );
        wait("status.lastFailover tells of it", DEADLINE, || {
            let told = text(&queue.object()?, "/status/lastFailover/to").to_owned();
            Ok(once(told == after.master, told))
        })?;
    }
    load.goes_on()?;
    official.finish()?;
    load.finish(fault).map(drop)
}

/// Ends the master and waits until the queue is whole again: the configurations before and after.
pub(crate) fn strike_master(queue: &Queue<'_>, end: End) -> Result<(Shard, Shard)> {
    let before = queue.shard()?;
    let pod = incarnation(&queue.pod(&before.master)?);
    let struck = Instant::now();
    end.of(queue, &before.master)?;
    let promoted = queue.promoted_after(&before)?;
    times::note(&queue.scene.test, &format!("{end} until the promotion is seen"), struck.elapsed());
    replaced(queue, &before.master, &pod)?;
    let after = queue.whole(before.members.len())?;
    times::note(&queue.scene.test, &format!("{end} until it is whole"), struck.elapsed());
    ensure!(
        before.in_sync.contains(&promoted.master_store),
        "a copy that was not in sync leads: {before:?}, then {promoted:?}"
    );
    Ok((before, after))
}
