//! A queue at rest is left alone: no object of it is written, not even with what it is already.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::a_life::KINDS;
use crate::kubectl::{self, name, text};
use crate::queue::Queue;
use crate::scene::{Needs, OPERATOR, SYSTEM, Scene, play};
use crate::wait::{DEADLINE, Looked, wait};

/// Longer than every interval at which the reconciler looks again though nothing has happened.
const AT_REST: Duration = Duration::from_secs(75);
/// Nothing is written for so long: what followed from the start is done. A pod counts as available ten seconds after it is
/// ready, and the `StatefulSet` says so then.
const SETTLED: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_secs(2);

#[test]
fn a_reconcile_at_rest_makes_no_writes() -> Result<()> {
    play("k-rest", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let settled = settled(scene)?;
        let (writes, begun) = (writes()?, Instant::now());
        while begun.elapsed() < AT_REST {
            thread::sleep(BETWEEN);
            let now = versions(scene)?;
            let written: Vec<_> =
                now.iter().filter(|(object, version)| settled.get(*object) != Some(version)).collect();
            ensure!(written.is_empty(), "written at rest: {written:?}");
            ensure!(now.len() == settled.len(), "deleted at rest: {settled:?}, then {now:?}");
        }
        // A write that changes nothing leaves the version as it is.
        let written = self::writes()?;
        ensure!(written == writes, "written at rest: {writes:?}, then {written:?}");
        queue.whole(2).map(drop)
    })
}

/// What each replica of the operator counts of its writes. The leader has made some.
fn writes() -> Result<BTreeMap<String, Vec<String>>> {
    let mut writes = BTreeMap::new();
    for pod in kubectl::list(SYSTEM, "pods", &format!("app.kubernetes.io/name={OPERATOR}"))? {
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}:8080/proxy/metrics", name(&pod));
        let metrics = kubectl::run(&["get", "--raw", &path])?;
        let counted = metrics.lines().filter(|line| line.starts_with("rq_operator_writes_total{"));
        writes.insert(name(&pod).to_owned(), counted.map(str::to_owned).collect());
    }
    ensure!(writes.values().any(|counted: &Vec<String>| !counted.is_empty()), "nobody counts: {writes:?}");
    Ok(writes)
}

/// Versions of all objects, once they have not changed for a while.
fn settled(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let mut last = (versions(scene)?, Instant::now());
    wait("no object of the queue is written for a while", DEADLINE, || {
        let now = versions(scene)?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok(if last.1.elapsed() >= SETTLED {
            Looked::Found(last.0.clone())
        } else {
            Looked::NotYet("writes".to_owned())
        })
    })
}

/// Versions of all objects of the namespace but its events.
fn versions(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let objects = kubectl::list(&scene.namespace, KINDS, "")?;
    let version = |object: &serde_json::Value| {
        let object_name = format!("{} {}", text(object, "/kind"), name(object));
        (object_name, text(object, "/metadata/resourceVersion").to_owned())
    };
    Ok(objects.iter().map(version).collect())
}
