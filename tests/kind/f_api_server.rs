//! The API server goes away, and what it keeps is lost or falls back in time.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rq_tests::language::root;
use rq_tests::workload::judge;
use serde_json::{Value, json};

use crate::a_life::{consume, sent};
use crate::b_master::strike_master;
use crate::bench_history::acknowledged_between;
use crate::docker::{Undo, let_it_last, without_api_server};
use crate::e_operator::without_operator;
use crate::kubectl;
use crate::load::{Load, now};
use crate::pods::{End, Process};
use crate::queue::{QUEUE, Queue, Shard, ensure_same_mastership};
use crate::scene::{Needs, OPERATOR, play};
use crate::times;
use crate::wait::{DEADLINE, Looked, once, wait};

/// How long the API server is away; `RQ_API_AWAY` in seconds is another time.
fn away() -> Duration {
    let asked = env::var("RQ_API_AWAY").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(120))
}

/// Load beside the time in which the API server goes, is away and comes back.
const BESIDE: Duration = Duration::from_mins(1);
/// Answers that were under way when the master died are read within this.
const UNDER_WAY: Duration = Duration::from_secs(2);

#[test]
fn a_queue_goes_on_while_the_api_server_is_away() -> Result<()> {
    play("f-away", Needs::Docker, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, away() + BESIDE)?;
        let before = queue.shard()?;
        let back = without_api_server()?;
        let gone = now();
        let_it_last(away());
        let until = now();
        back.now()?;
        ensure_same_mastership(&before, &queue.whole(2)?)?;
        let history = load.finish(gone)?;
        let meanwhile = acknowledged_between(&history, gone, until);
        eprintln!("{}: {meanwhile} sends acknowledged while the API server was away", scene.test);
        // A stop of a second in each minute would be seen here.
        ensure!(
            meanwhile as f64 > 100.0 * away().as_secs_f64(),
            "the queue did not go on: {meanwhile} sends"
        );
        Ok(())
    })
}

#[test]
fn writes_stop_when_the_master_dies_while_the_api_server_is_away_and_nothing_is_lost() -> Result<()> {
    play("f-dead", Needs::Docker, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, away() + BESIDE)?;
        let before = queue.shard()?;
        let process = Process::of(&queue, &before.master)?;
        let back = without_api_server()?;
        process.kill()?;
        let dead = now();
        let_it_last(away());
        let until = now();
        back.now()?;
        let returned = Instant::now();
        queue.promoted_after(&before)?;
        queue.whole(2)?;
        times::note(&scene.test, "API server back until it is whole", returned.elapsed());
        load.goes_on()?;
        let history = load.finish(dead)?;
        let meanwhile = acknowledged_between(&history, dead + UNDER_WAY, until);
        ensure!(meanwhile == 0, "{meanwhile} sends were acknowledged though nobody could be promoted");
        Ok(())
    })
}

#[test]
fn a_queue_shard_that_is_deleted_comes_back_from_what_the_brokers_have_kept() -> Result<()> {
    play("f-deleted", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, BESIDE)?;
        let before = queue.shard()?;
        let uid = queue.shard_object()?["metadata"]["uid"].clone();
        let guard = without_policy()?;
        let fault = now();
        delete_shard(&queue)?;
        guard.now()?;
        let struck = Instant::now();
        wait("another QueueShard", DEADLINE, || {
            let shard = queue.shard_object()?;
            let found = shard["metadata"]["uid"] != uid;
            Ok(if found { Looked::Found(()) } else { Looked::NotYet(shard.to_string()) })
        })?;
        let after = queue.whole(2)?;
        times::note(&scene.test, "deleted until it is whole", struck.elapsed());
        not_older(&before, &after)?;
        load.goes_on()?;
        load.finish(fault).map(drop)
    })
}

#[test]
fn a_configuration_put_back_to_an_older_state_is_noticed_and_loses_nothing() -> Result<()> {
    play("f-restored", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let backup = queue.shard_object()?;
        let load = Load::start(&queue, 2 * BESIDE)?;
        let (_, newest) = strike_master(&queue, End::DeletedByForce)?;
        let told = queue.events()?;
        let guard = without_policy()?;
        let older = json!({
            "apiVersion": backup["apiVersion"],
            "kind": backup["kind"],
            "metadata": { "name": QUEUE, "namespace": scene.namespace, "labels": backup["metadata"]["labels"], "ownerReferences": backup["metadata"]["ownerReferences"] },
            "spec": backup["spec"],
        });
        refused_as_older(&older)?;
        let fault = now();
        let operator = without_operator()?;
        delete_shard(&queue)?;
        kubectl::run_with(&["create"], &older)?;
        guard.now()?;
        // What the brokers do with it alone: they keep to what is newer.
        load.goes_on()?;
        operator.now()?;
        let struck = Instant::now();
        let after = wait("a configuration that is not older", DEADLINE, || {
            let shard = queue.shard()?;
            let newer = not_older(&newest, &shard).is_ok();
            Ok(if newer { Looked::Found(shard) } else { Looked::NotYet(format!("{shard:?}")) })
        })?;
        not_older(&newest, &after)?;
        queue.whole(2)?;
        times::note(&scene.test, "operator back until it is whole", struck.elapsed());
        // Events are written beside the work.
        wait(
            "somebody is told that the configuration was older than what the brokers have seen",
            DEADLINE,
            || {
                let events = queue.events()?;
                let regressed =
                    |event: &&[String; 3]| ["ConfigRegressed", "ConfigRebuilt"].contains(&&*event[1]);
                let found = events.iter().filter(regressed).any(|event| !told.contains(event));
                Ok(once(found, format!("{events:?}")))
            },
        )?;
        load.goes_on()?;
        load.finish(fault).map(drop)
    })
}

/// The older one is refused as a change of the newer, whoever asks.
fn refused_as_older(older: &Value) -> Result<()> {
    let Err(refused) = kubectl::run_with(&["replace", "--dry-run=server"], older) else {
        bail!("an older configuration was taken")
    };
    let told = format!("{refused:#}");
    ensure!(told.contains("the version must grow by exactly one"), "refused for another reason: {told}");
    Ok(())
}

#[test]
fn crds_that_are_deleted_and_applied_again_lose_no_message() -> Result<()> {
    play("f-crds", Needs::Docker, |scene| {
        let spec = json!({ "storage": { "size": "1Gi", "onDelete": "Retain" } });
        let queue = Queue::apply(scene, &spec)?;
        let (before, mut history) = (queue.shard()?, sent(&queue)?);
        let crds = root().join("crds");
        let crds = crds.to_str().unwrap_or_default();
        let again = Undo::later(move || {
            kubectl::run(&["apply", "--server-side", "--force-conflicts", "-f", crds]).map(drop)
        });
        // All queues of the cluster go with them: this cluster is ours.
        kubectl::run(&[
            "delete",
            "crd",
            "reliablequeues.reliablequeue.dev",
            "queueshards.reliablequeue.dev",
            "--timeout=120s",
            "--request-timeout=0",
        ])?;
        again.now()?;
        kubectl::run(&[
            "wait",
            "crd",
            "reliablequeues.reliablequeue.dev",
            "queueshards.reliablequeue.dev",
            "--for=condition=Established",
            "--timeout=60s",
            "--request-timeout=0",
        ])?;
        let begun = Instant::now();
        // Discovery lags behind for a moment.
        wait("the queue is taken", DEADLINE, || queue.put(&spec).map(Looked::Found))?;
        let after = queue.whole(2)?;
        times::note(&scene.test, "queue applied again until it is whole", begun.elapsed());
        not_older(&before, &after)?;
        consume(&queue, &mut history)?;
        judge(&scene.test, &history)
    })
}

/// Fails if a configuration falls back, or holds other stores.
fn not_older(before: &Shard, after: &Shard) -> Result<()> {
    let stores = |shard: &Shard| shard.members.iter().map(|[store, ..]| store.clone()).collect::<Vec<_>>();
    ensure!(
        after.version >= before.version && after.epoch >= before.epoch && stores(after) == stores(before),
        "the configuration fell back: {before:?}, then {after:?}"
    );
    Ok(())
}

/// Takes the policy that guards `QueueShard`s out of force, as an etcd restore passes it by, until what is returned is dropped or undone.
fn without_policy() -> Result<Undo<impl FnMut() -> Result<()>>> {
    let binding = format!("{OPERATOR}-queueshards");
    let kind = "validatingadmissionpolicybinding";
    let mut kept: Value = serde_json::from_str(&kubectl::run(&["get", kind, &binding, "-o", "json"])?)?;
    kept["metadata"] = json!({ "name": binding, "labels": kept["metadata"]["labels"], "annotations": kept["metadata"]["annotations"] });
    let back = Undo::later(move || kubectl::apply(&kept));
    kubectl::run(&["delete", kind, &binding])?;
    Ok(back)
}

/// Deletes the `QueueShard`; the API server may take a while to notice that the policy is out of force.
fn delete_shard(queue: &Queue<'_>) -> Result<()> {
    wait("the QueueShard can be deleted", DEADLINE, || {
        queue.kubectl(&["delete", "queueshard", QUEUE, "--wait=false"]).map(Looked::Found)
    })
    .map(drop)
}
