//! Slaves end, alone and together with their master.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::b_master::LOAD;
use crate::load::{Load, now};
use crate::pods::{End, replaced};
use crate::queue::{Queue, ensure_same_mastership, incarnation};
use crate::scene::{Needs, play};
use crate::times;

#[test]
fn a_slave_that_is_lost_changes_neither_master_nor_epoch() -> Result<()> {
    play("c-slave", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let (before, slave) = (queue.shard()?, queue.a_slave()?);
        let pod = incarnation(&queue.pod(&slave)?);
        let (fault, struck) = (now(), Instant::now());
        End::DeletedByForce.of(&queue, &slave)?;
        replaced(&queue, &slave, &pod)?;
        let after = queue.whole(2)?;
        times::note(&scene.test, "pod deleted by force until it is whole", struck.elapsed());
        ensure_same_mastership(&before, &after)?;
        load.finish(fault).map(drop)
    })
}

#[test]
fn both_pods_lost_at_once_come_back_by_themselves() -> Result<()> {
    play("c-both", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let before = queue.shard()?;
        let pods = [before.master.clone(), queue.a_slave()?];
        let incarnations = [incarnation(&queue.pod(&pods[0])?), incarnation(&queue.pod(&pods[1])?)];
        let (fault, struck) = (now(), Instant::now());
        queue.kubectl(&[
            "delete",
            "pod",
            &pods[0],
            &pods[1],
            "--force",
            "--grace-period=0",
            "--wait=false",
        ])?;
        for (pod, incarnation) in pods.iter().zip(&incarnations) {
            replaced(&queue, pod, incarnation)?;
        }
        queue.promoted_after(&before)?;
        queue.whole(2)?;
        times::note(&scene.test, "both deleted by force until it is whole", struck.elapsed());
        load.goes_on()?;
        load.finish(fault).map(drop)
    })
}
