//! Changes of a running queue: its size, its flush mode, its resources, its image. One pod at a time, slaves first.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rq_tests::go_client::Sends;
use serde_json::{Value, json};

use crate::docker;
use crate::kubectl::{name, text};
use crate::load::{Load, now};
use crate::official::Official;
use crate::pods::{End, replaced};
use crate::queue::{BROKER_IMAGE, Queue, Shard, ensure_same_mastership, incarnation, is_ready};
use crate::scene::{Needs, Scene, play};
use crate::times;
use crate::wait::{DEADLINE, once, wait};

/// Load over one change in which all pods are replaced.
const LOAD: Duration = Duration::from_mins(2);

#[test]
fn replicas_come_and_go_under_load() -> Result<()> {
    play("g-replicas", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({ "replicas": 1 }))?;
        let load = Load::start(&queue, LOAD)?;
        let fault = now();
        for replicas in [2, 3, 2] {
            let begun = Instant::now();
            queue.change(&json!({ "replicas": replicas }))?;
            let shard = queue.whole(replicas)?;
            times::note(
                &scene.test,
                &format!("changed to {replicas} replicas until it is whole"),
                begun.elapsed(),
            );
            ensure!(shard.members.len() == replicas, "members that are gone stay: {shard:?}");
        }
        load.goes_on()?;
        load.finish(fault).map(drop)
    })
}

#[test]
fn the_flush_mode_changes_without_a_restart() -> Result<()> {
    play("g-flush", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, Duration::from_secs(40))?;
        let (before, pods): (Shard, Vec<_>) =
            (queue.shard()?, queue.pods()?.iter().map(incarnation).collect());
        for mode in ["Async", "Sync"] {
            queue.change(&json!({ "flushMode": mode }))?;
            wait(&format!("flush mode {mode}"), DEADLINE, || {
                let told = text(&queue.object()?, "/status/flushMode").to_owned();
                let stored = text(&queue.shard_object()?, "/spec/flushMode").to_owned();
                Ok(once(told == mode && stored == mode, format!("{told} {stored}")))
            })?;
            ensure_same_mastership(&before, &queue.whole(2)?)?;
        }
        ensure!(queue.pods()?.iter().map(incarnation).collect::<Vec<_>>() == pods, "a pod was restarted");
        load.finish(Duration::ZERO).map(drop)
    })
}

#[test]
fn resources_change_one_pod_at_a_time_and_no_official_client_sees_it() -> Result<()> {
    play("g-resources", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let official = Official::start(&queue, Sends::Plain, LOAD)?;
        let fault = now();
        rolls(&queue, &json!({ "resources": { "requests": { "cpu": "50m", "memory": "128Mi" } } }))?;
        let failed = official.finish()?;
        ensure!(failed == 0, "{failed} calls of the official client failed in a planned change");
        load.finish(fault).map(drop)
    })
}

/// Makes a change that replaces every pod, and holds it to the rules of a rollout.
fn rolls(queue: &Queue<'_>, change: &Value) -> Result<Shard> {
    let before = queue.shard()?;
    let old: BTreeMap<String, (String, String)> =
        queue.pods()?.iter().map(|pod| (name(pod).to_owned(), incarnation(pod))).collect();
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let (after, order) = thread::scope(|scope| {
        let watching = scope.spawn(|| watch(queue, &old, &over));
        let changed = queue.change(change).and_then(|()| {
            wait("every pod is another one", DEADLINE, || {
                let left: Vec<_> = queue
                    .pods()?
                    .iter()
                    .filter(|pod| old.get(name(pod)) == Some(&incarnation(pod)))
                    .map(|pod| name(pod).to_owned())
                    .collect();
                Ok(once(left.is_empty(), format!("old: {left:?}")))
            })?;
            queue.whole(old.len())
        });
        over.store(true, Ordering::Relaxed);
        let order = watching.join().map_err(|_| anyhow!("the watching of the pods panicked"))??;
        anyhow::Ok((changed?, order))
    })?;
    times::note(&queue.scene.test, "all pods replaced, one by one", begun.elapsed());
    ensure!(order.last() == Some(&before.master), "the master was not the last: {order:?}, {before:?}");
    Ok(after)
}

/// Watches the pods until it is over: never may two of them be unready. The order in which they were replaced.
fn watch(
    queue: &Queue<'_>,
    old: &BTreeMap<String, (String, String)>,
    over: &AtomicBool,
) -> Result<Vec<String>> {
    let mut order = Vec::new();
    while !over.load(Ordering::Relaxed) {
        // A look that fails shows nothing.
        let Ok(pods) = queue.pods() else { continue };
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(
            ready + 1 >= old.len(),
            "{ready} of {} pods are ready: more than one was taken at a time",
            old.len()
        );
        for pod in &pods {
            let replaced = old.get(name(pod)) != Some(&incarnation(pod));
            if replaced && !order.iter().any(|seen| seen == name(pod)) {
                order.push(name(pod).to_owned());
            }
        }
        thread::sleep(Duration::from_millis(300));
    }
    Ok(order)
}

#[test]
fn a_bad_image_stops_the_rollout_and_the_queue_keeps_serving() -> Result<()> {
    play("g-bad-image", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let bad = json!({ "image": "reliablequeue/broker:that-nobody-has-made" });
        let has_it = |pod: &Value| text(pod, "/spec/containers/0/image") != BROKER_IMAGE;
        let good = json!({ "image": BROKER_IMAGE });
        let (before, after) = stops_at_the_slave(&queue, &bad, &has_it, &good, |_| {
            let [status, reason, _] = queue.condition("WritesAvailable")?;
            ensure!(status == "True", "the queue takes no messages: {reason}");
            Ok(())
        })?;
        ensure_same_mastership(&before, &after)
    })
}

#[test]
fn a_bad_setting_stops_the_rollout_and_a_restarted_master_does_not_take_it() -> Result<()> {
    play("g-bad-setting", Needs::Docker, |scene| {
        let queue = Queue::apply(scene, &json!({ "config": { "max-body": "1MiB" } }))?;
        let bad = json!({ "config": { "max-body": "much" } });
        let has_it = |pod: &Value| {
            let env = pod.pointer("/spec/containers/0/env").and_then(Value::as_array);
            env.into_iter().flatten().any(|variable| variable["value"] == "much")
        };
        stops_at_the_slave(&queue, &bad, &has_it, &json!({ "config": { "max-body": "2MiB" } }), |master| {
            let [status, _, message] = queue.condition("ConfigAccepted")?;
            ensure!(status == "False" && message.contains("max-body"), "nobody says why: {message}");
            let before = incarnation(&queue.pod(master)?);
            End::Killed.of(&queue, master)?;
            replaced(&queue, master, &before)
        })
        .map(drop)
    })
}

/// Makes a change that no broker starts with, and puts it right: one slave has it, and the queue serves all the while. What
/// happens meanwhile, with the name of the master, may cost it its mastership for a moment and no more. The configurations
/// before and after.
fn stops_at_the_slave(
    queue: &Queue<'_>,
    bad: &Value,
    has_it: &dyn Fn(&Value) -> bool,
    good: &Value,
    meanwhile: impl FnOnce(&str) -> Result<()>,
) -> Result<(Shard, Shard)> {
    let load = Load::start(queue, LOAD)?;
    let before = queue.shard()?;
    let fault = now();
    queue.change(bad)?;
    let begun = Instant::now();
    wait("the rollout has failed", Duration::from_mins(12), || {
        let [status, reason, message] = queue.condition("UpToDate")?;
        Ok(once(status == "False" && reason == "RolloutFailed", format!("{status} {reason} {message}")))
    })?;
    times::note(&queue.scene.test, "bad change until the rollout has failed", begun.elapsed());
    ensure_same_mastership(&before, &queue.shard()?)?;
    meanwhile(&before.master)?;
    let pods = queue.pods()?;
    let having: Vec<_> = pods.iter().filter(|pod| has_it(pod)).map(name).collect();
    ensure!(having.len() == 1 && having[0] != before.master, "not one slave alone has it: {having:?}");
    wait("the queue takes messages", DEADLINE, || {
        let [status, reason, message] = queue.condition("WritesAvailable")?;
        Ok(once(status == "True", format!("{status} {reason} {message}")))
    })?;
    let master = queue.shard()?.master;
    ensure!(master == before.master, "{master} leads, which was not in sync");
    queue.change(good)?;
    let after = queue.whole(2)?;
    load.finish(fault)?;
    Ok((before, after))
}

#[test]
fn an_upgrade_and_the_way_back_lose_nothing() -> Result<()> {
    play("g-upgrade", Needs::Cluster, |scene| {
        let previous = previous_image(scene)?;
        let queue = Queue::apply(scene, &json!({ "image": previous }))?;
        let load = Load::start(&queue, 2 * LOAD)?;
        let fault = now();
        for image in [BROKER_IMAGE, &previous] {
            rolls(&queue, &json!({ "image": image }))?;
            wait("status.image", DEADLINE, || {
                let told = text(&queue.object()?, "/status/image").to_owned();
                Ok(once(told == image, told))
            })?;
        }
        load.finish(fault).map(drop)
    })
}

/// The broker of the release before: `RQ_PREVIOUS_BROKER`, or as long as there is none, ours under another name.
fn previous_image(scene: &Scene) -> Result<String> {
    if let Ok(image) = env::var("RQ_PREVIOUS_BROKER") {
        return Ok(image);
    }
    eprintln!(
        "{}: RQ_PREVIOUS_BROKER names no release before this one: its own image stands in for it",
        scene.test
    );
    let image = "reliablequeue/broker:previous";
    docker::run(&["tag", BROKER_IMAGE, image])
        .context("without RQ_PREVIOUS_BROKER, this test needs Docker's nodes")?;
    docker::load_image(image)?;
    Ok(image.to_owned())
}
