//! A queue from its first day to its last: made, used, deleted with and without its volumes, made again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rq_tests::go_client::Sends;
use rq_tests::history::History;
use rq_tests::workload::judge;
use serde_json::{Value, json};

use crate::kubectl::{self, name, text};
use crate::load::Load;
use crate::official::Official;
use crate::queue::{LABELS, QUEUE, Queue, condition, holds};
use crate::scene::{Needs, play};
use crate::times;
use crate::wait::{DEADLINE, once, wait};

/// All kinds of objects that a queue is made of.
pub(crate) const KINDS: &str = "reliablequeues,queueshards,statefulsets,pods,services,serviceaccounts,secrets,roles,\
    rolebindings,poddisruptionbudgets,persistentvolumeclaims";
const MESSAGES: &str = "2000";

#[test]
fn a_queue_that_is_applied_becomes_ready_and_serves() -> Result<()> {
    play("a-ready", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let object = queue.object()?;
        ensure!(
            text(&object, "/status/endpoints/bootstrap").ends_with(":8081"),
            "no endpoint for clients: {object}"
        );
        for kind in ["FailoverReady", "TopologySatisfied", "StorageHealthy"] {
            wait(&format!("{kind} is True"), DEADLINE, || {
                let seen = condition(&queue.object()?, kind).cloned().unwrap_or_default();
                Ok(once(holds(&seen), seen.to_string()))
            })?;
        }
        let roles =
            kubectl::list(&scene.namespace, "pods", &format!("{LABELS},reliablequeue.dev/role=master"))?;
        let masters: Vec<_> = roles.iter().map(name).collect();
        ensure!(masters == [queue.shard()?.master], "the label of the master is on {masters:?}");
        let load = Load::start(&queue, Duration::from_secs(15))?;
        let official = Official::start(&queue, Sends::Plain, Duration::from_secs(10))?;
        ensure!(official.finish()? == 0, "calls of the official client failed though nothing happened");
        load.finish(Duration::ZERO).map(drop)
    })
}

#[test]
fn a_queue_that_is_deleted_and_applied_again_finds_its_messages() -> Result<()> {
    play("a-again", Needs::Cluster, |scene| {
        let spec = json!({ "storage": { "size": "1Gi", "onDelete": "Retain" } });
        let queue = Queue::apply(scene, &spec)?;
        let before = queue.shard()?;
        let shard = queue.shard_object()?;
        let mut history = sent(&queue)?;
        queue.delete()?;
        let kept = kubectl::list(&scene.namespace, "persistentvolumeclaims", LABELS)?;
        ensure!(kept.len() == 2, "{} claims of volumes are kept, not 2", kept.len());
        // The master may have handed over when it was told to stop: the versions differ, the object and the stores do not.
        let kept = queue.shard_object()?;
        ensure!(kept["metadata"]["uid"] == shard["metadata"]["uid"], "the QueueShard did not stay: {kept}");
        let begun = Instant::now();
        queue.put(&spec)?;
        let after = queue.whole(2)?;
        times::note(&scene.test, "applied again until it is whole", begun.elapsed());
        ensure!(queue.shard_object()?["metadata"]["uid"] == shard["metadata"]["uid"], "another QueueShard");
        let stores =
            |members: &[[String; 3]]| members.iter().map(|[store, ..]| store.clone()).collect::<Vec<_>>();
        ensure!(
            stores(&before.members) == stores(&after.members),
            "other stores: {before:?}, then {after:?}"
        );
        ensure!(
            after.epoch > before.epoch,
            "a restarted master takes a new epoch: {before:?}, then {after:?}"
        );
        consume(&queue, &mut history)?;
        judge(&scene.test, &history)
    })
}

/// The history of messages that nobody has consumed yet.
pub(crate) fn sent(queue: &Queue<'_>) -> Result<History> {
    let minute = Duration::from_mins(1);
    // Nobody may have a receive under way when the queue is deleted, so the group is made by who consumes.
    Load::begin(queue, "send", &["--senders", "8", "--count", MESSAGES], minute)?.history()
}

/// Consumes all of them.
pub(crate) fn consume(queue: &Queue<'_>, history: &mut History) -> Result<()> {
    let options = ["--senders", "0", "--consumers", "2", "--warmup", "0s", "--duration", "3s", "--drain"];
    let consumed = Load::begin(queue, "consume", &options, Duration::from_secs(3))?.history()?;
    history.receives.extend(consumed.receives);
    history.acks.extend(consumed.acks);
    Ok(())
}

#[test]
fn a_queue_that_takes_its_volumes_with_it_leaves_nothing() -> Result<()> {
    play("a-nothing", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, Duration::from_secs(5))?;
        load.finish(Duration::ZERO)?;
        let volumes = volumes_of(&scene.namespace)?;
        ensure!(!volumes.is_empty(), "no volumes in use: the test shows nothing");
        queue.delete()?;
        wait("nothing of the queue is left", DEADLINE, || {
            let mut left = kubectl::list(&scene.namespace, KINDS, LABELS)?;
            // Whatever its labels.
            left.extend(
                kubectl::list(&scene.namespace, KINDS, "")?
                    .into_iter()
                    .filter(|object| name(object).starts_with(QUEUE)),
            );
            let left: Vec<_> =
                left.iter().map(|object| format!("{} {}", text(object, "/kind"), name(object))).collect();
            Ok(once(left.is_empty(), left.join(", ")))
        })?;
        wait("its volumes are gone", DEADLINE, || {
            let left = volumes_of(&scene.namespace)?;
            Ok(once(left.is_empty(), left.join(", ")))
        })
    })
}

/// Names of the volumes that claims of a namespace have, or had.
fn volumes_of(namespace: &str) -> Result<Vec<String>> {
    let all: Value = serde_json::from_str(&kubectl::run(&["get", "persistentvolumes", "-o", "json"])?)?;
    let all = all["items"].as_array().cloned().unwrap_or_default();
    let mine = all.iter().filter(|volume| text(volume, "/spec/claimRef/namespace") == namespace);
    Ok(mine.map(|volume| name(volume).to_owned()).collect())
}
