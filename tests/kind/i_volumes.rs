//! A volume is lost with all that was on it. What comes in its place has the same name and no trust: it is a new replica.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::load::{Load, now};
use crate::pods::{End, replaced};
use crate::queue::{Queue, Shard, ensure_same_mastership, incarnation};
use crate::scene::{Needs, play};
use crate::times;

const LOAD: Duration = Duration::from_mins(1);

#[test]
fn a_slave_that_lost_its_volume_joins_as_a_new_replica() -> Result<()> {
    play("i-slave", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let (before, slave) = (queue.shard()?, queue.a_slave()?);
        let fault = now();
        let after = loses_its_volume(&queue, &before, &slave)?;
        ensure_same_mastership(&before, &after)?;
        load.finish(fault).map(drop)
    })
}

#[test]
fn a_master_that_lost_its_volume_is_replaced_and_its_name_gets_no_trust() -> Result<()> {
    play("i-master", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let (before, slave) = (queue.shard()?, queue.a_slave()?);
        let fault = now();
        let after = loses_its_volume(&queue, &before, &before.master)?;
        ensure!(
            after.epoch > before.epoch && after.master == slave,
            "the wrong one leads: {before:?}, then {after:?}"
        );
        load.finish(fault).map(drop)
    })
}

/// Deletes the pod and its claim, and waits until the queue is whole, with a new store in the place of the lost one.
fn loses_its_volume(queue: &Queue<'_>, before: &Shard, pod: &str) -> Result<Shard> {
    let (lost, old) = (before.store_of(pod)?, incarnation(&queue.pod(pod)?));
    let struck = Instant::now();
    // The claim goes when its pod is gone.
    queue.kubectl(&["delete", "persistentvolumeclaim", &format!("data-{pod}"), "--wait=false"])?;
    End::DeletedByForce.of(queue, pod)?;
    replaced(queue, pod, &old)?;
    let after = queue.whole(2)?;
    times::note(&queue.scene.test, "volume lost until it is whole", struck.elapsed());
    ensure!(!after.in_sync.contains(&lost), "the lost store counts as in sync: {after:?}");
    ensure!(
        after.store_of(pod)? != lost,
        "{pod} has the old store: the volume was not lost, or its name was trusted"
    );
    Ok(after)
}
