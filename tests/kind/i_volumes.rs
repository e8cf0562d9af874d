//! A volume is lost with all that was on it. What comes in its place has the same name and no trust: it is a new replica.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rq_tests::broker::program;
use rq_tests::workload::judge;
use serde_json::json;

use crate::a_life::{consume, sent};
use crate::docker::Undo;
use crate::kubectl::{self, number, text};
use crate::load::{Load, now};
use crate::pods::{End, Process, replaced};
use crate::queue::{QUEUE, Queue, Shard, ensure_same_mastership, incarnation};
use crate::scene::{Needs, Scene, play};
use crate::times;
use crate::wait::{DEADLINE, Looked, once, wait};

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

/// Of two copies one is away, and then the volume of the other is lost, which alone had everything.
#[test]
fn after_the_loss_of_the_only_copy_in_sync_the_queue_waits_for_a_person_and_goes_on_with_what_is_left()
-> Result<()> {
    play("i-accepted", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let mut history = sent(&queue)?;
        let (before, slave) = (queue.shard()?, queue.a_slave()?);
        let back = away(&queue, &slave)?;
        let alone = wait("the slave is out of the set", DEADLINE, || {
            let shard = queue.shard()?;
            let found = shard.in_sync.iter().eq([&before.store_of(&before.master)?]);
            Ok(if found { Looked::Found(shard) } else { Looked::NotYet(format!("{shard:?}")) })
        })?;
        volume_is_lost(&queue, &before.master)?;
        back.now()?;
        wait("the other copy is back, and nobody leads", DEADLINE, || {
            let [status, reason, _] = queue.condition("WritesAvailable")?;
            let runs = text(&queue.pod(&slave)?, "/status/phase") == "Running";
            Ok(once(runs && status == "False", format!("{status} {reason}, the copy runs: {runs}")))
        })?;
        let ending = format!("0@{}", alone.epoch);
        let struck = Instant::now();
        let promoted = plugin(scene, &["promote", QUEUE, &slave, "--accept-data-loss", &ending])?;
        times::note(&scene.test, "a person accepts the loss until it serves", struck.elapsed());
        ensure!(promoted.contains(&slave), "told of another master: {promoted}");
        let after = queue.whole(2)?;
        ensure!(after.master == slave && after.epoch > alone.epoch, "{alone:?}, then {after:?}");
        let unclean = number(&queue.shard_object()?, "/spec/uncleanEpoch");
        ensure!(
            unclean == after.epoch,
            "epoch {} does not say that it began with a loss: {unclean}",
            after.epoch
        );
        let left =
            text(&queue.object()?, "/metadata/annotations/reliablequeue.dev~1accept-data-loss").to_owned();
        ensure!(left.is_empty(), "the acceptance stands for ever: {left}");
        consume(&queue, &mut history)?;
        judge(&scene.test, &history)
    })
}

/// Takes a pod away until the node with its volume may be used again.
fn away(queue: &Queue<'_>, pod: &str) -> Result<Undo<impl FnMut() -> Result<()> + use<>>> {
    let node = text(&queue.pod(pod)?, "/spec/nodeName").to_owned();
    kubectl::run(&["cordon", &node])?;
    let back = Undo::later(move || kubectl::run(&["uncordon", &node]).map(drop));
    End::DeletedByForce.of(queue, pod)?;
    Ok(back)
}

/// `kubectl rq`, by its other name.
fn plugin(scene: &Scene, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program("rq")?);
    command.arg("kube").args(arguments).args(["--namespace", &scene.namespace]);
    if let Some(context) = kubectl::context() {
        command.args(["--context", context]);
    }
    let output = command.output().context("start rq kube")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    Ok(told)
}

/// Deletes the pod and its claim, and ends the broker. The claim goes when its pod is gone; the broker would go on for some
/// seconds, and could take another copy into the set meanwhile.
fn volume_is_lost(queue: &Queue<'_>, pod: &str) -> Result<()> {
    let broker = Process::of(queue, pod)?;
    queue.kubectl(&["delete", "persistentvolumeclaim", &format!("data-{pod}"), "--wait=false"])?;
    End::DeletedByForce.of(queue, pod)?;
    broker.kill()
}

/// Loses a volume, and waits until the queue is whole, with a new store in the place of the lost one.
fn loses_its_volume(queue: &Queue<'_>, before: &Shard, pod: &str) -> Result<Shard> {
    let (lost, old) = (before.store_of(pod)?, incarnation(&queue.pod(pod)?));
    let struck = Instant::now();
    volume_is_lost(queue, pod)?;
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
