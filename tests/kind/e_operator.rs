//! The operator is away, dies in the middle, or is replaced by a newer one.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::b_master::{LOAD, strike_master};
use crate::docker::{Loss, Undo};
use crate::kubectl::{self, text};
use crate::load::{Load, now};
use crate::pods::{End, replaced};
use crate::queue::{Queue, ensure_same_mastership, incarnation};
use crate::scene::{Needs, OPERATOR, SYSTEM, play};
use crate::times;
use crate::wait::{DEADLINE, Looked, once, wait};

#[test]
fn a_master_that_dies_while_no_operator_runs_is_replaced_by_its_slave() -> Result<()> {
    play("e-none", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let back = without_operator()?;
        let before = queue.shard()?;
        let pod = incarnation(&queue.pod(&before.master)?);
        let (fault, struck) = (now(), Instant::now());
        End::DeletedByForce.of(&queue, &before.master)?;
        let promoted = queue.promoted_after(&before)?;
        times::note(&scene.test, "pod deleted by force until the promotion is seen", struck.elapsed());
        ensure!(promoted.master != before.master, "nobody took over: {before:?}, then {promoted:?}");
        load.goes_on()?;
        // The brokers know each other again without help, too.
        replaced(&queue, &before.master, &pod)?;
        queue.both_in_sync()?;
        back.now()?;
        ensure_same_mastership(&promoted, &queue.whole(2)?)?;
        load.finish(fault).map(drop)
    })
}

/// It says nothing to anybody: the slave notices by itself.
#[test]
fn a_master_whose_node_is_lost_while_no_operator_runs_is_replaced_by_its_slave() -> Result<()> {
    play("e-alone", Needs::Docker, |scene| {
        let queue = Queue::apply(scene, &json!({ "scheduling": { "hostSpread": "Required" } }))?;
        let load = Load::start(&queue, LOAD)?;
        let back = without_operator()?;
        let before = queue.shard()?;
        let fault = now();
        let node = Loss::Killed.of(text(&queue.pod(&before.master)?, "/spec/nodeName"))?;
        let promoted = queue.promoted_after(&before)?;
        ensure!(promoted.master != before.master, "nobody took over: {before:?}, then {promoted:?}");
        load.goes_on()?;
        node.now()?;
        back.now()?;
        ensure_same_mastership(&promoted, &queue.whole(2)?)?;
        load.finish(fault).map(drop)
    })
}

#[test]
fn a_failover_goes_on_when_the_leader_of_the_operator_dies_in_it() -> Result<()> {
    play("e-leader", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let leader = leader()?;
        let fault = now();
        let dead = std::thread::scope(|scope| {
            let kill = scope.spawn(|| {
                kubectl::run(&[
                    "delete",
                    "pod",
                    &leader,
                    "--namespace",
                    SYSTEM,
                    "--force",
                    "--grace-period=0",
                    "--wait=false",
                ])
            });
            let struck = strike_master(&queue, End::DeletedByForce);
            kill.join().map_err(|_| anyhow::anyhow!("the killing of the leader panicked"))??;
            struck.map(drop)
        });
        dead?;
        operator_is_there()?;
        load.finish(fault).map(drop)
    })
}

#[test]
fn a_new_operator_restarts_no_broker() -> Result<()> {
    play("e-upgrade", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let load = Load::start(&queue, LOAD)?;
        let incarnations = || -> Result<Vec<_>> { Ok(queue.pods()?.iter().map(incarnation).collect()) };
        let (before, pods) = (queue.shard()?, incarnations()?);
        let (fault, begun) = (now(), Instant::now());
        kubectl::run(&["rollout", "restart", "deployment", OPERATOR, "--namespace", SYSTEM])?;
        let rolled = [
            "rollout",
            "status",
            "deployment",
            OPERATOR,
            "--namespace",
            SYSTEM,
            "--timeout=180s",
            "--request-timeout=0",
        ];
        kubectl::run(&rolled)?;
        times::note(&scene.test, "both replicas of the operator replaced", begun.elapsed());
        // It works: what is changed now is carried out, and the brokers live on.
        queue.change(&json!({ "services": { "bootstrap": { "annotations": { "e2e": "seen" } } } }))?;
        wait("the new operator acts", DEADLINE, || {
            let service = queue.kubectl(&[
                "get",
                "service",
                crate::queue::QUEUE,
                "-o",
                "jsonpath={.metadata.annotations.e2e}",
            ])?;
            Ok(once(service == "seen", service))
        })?;
        ensure_same_mastership(&before, &queue.whole(2)?)?;
        ensure!(incarnations()? == pods, "a broker was restarted");
        load.finish(fault).map(drop)
    })
}

/// Scales the operator to nothing until what is returned is dropped or undone.
pub(crate) fn without_operator() -> Result<Undo<impl FnMut() -> Result<()>>> {
    let scale = |replicas: &str| {
        kubectl::run(&["scale", "deployment", OPERATOR, "--namespace", SYSTEM, "--replicas", replicas])
    };
    let back = Undo::later(move || {
        scale("2")?;
        operator_is_there()
    });
    scale("0")?;
    wait("the operator is gone", DEADLINE, || {
        let left = kubectl::list(SYSTEM, "pods", &format!("app.kubernetes.io/name={OPERATOR}"))?;
        Ok(once(left.is_empty(), format!("{} pods", left.len())))
    })?;
    Ok(back)
}

fn operator_is_there() -> Result<()> {
    let available = [
        "wait",
        "deployment",
        OPERATOR,
        "--namespace",
        SYSTEM,
        "--for=condition=Available",
        "--timeout=180s",
        "--request-timeout=0",
    ];
    kubectl::run(&available)?;
    wait("a leader of the operator", DEADLINE, || leader().map(Looked::Found)).map(drop)
}

/// The pod of the operator that carries out changes.
fn leader() -> Result<String> {
    let pods = kubectl::list(SYSTEM, "pods", &format!("app.kubernetes.io/name={OPERATOR}"))?;
    let lease = kubectl::get(SYSTEM, "lease", OPERATOR)?.unwrap_or_default();
    let holder = text(&lease, "/spec/holderIdentity");
    let mut names = pods.iter().map(kubectl::name);
    let found = names.find(|name| !holder.is_empty() && holder.starts_with(name));
    found
        .map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("no pod of the operator holds its lease: {holder:?}"))
}
