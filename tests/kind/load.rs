//! `rq bench` in a pod as the load of a test. It writes down all that it does; the checker judges that at the end.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rq_tests::history::History;
use rq_tests::workload::judge;
use serde_json::{Value, json};

use crate::bench_history::{acknowledged, longest_gap, read};
use crate::kubectl::{self, number, text};
use crate::queue::{BROKER_IMAGE, QUEUE, Queue};
use crate::scene::Scene;
use crate::times;
use crate::wait::{DEADLINE, Looked, once, wait};

/// The image of the official Go client, which also prints the files of a pod that has no shell.
pub(crate) const CLIENT_IMAGE: &str = "reliablequeue/go-client:dev";
const HISTORY: &str = "/tmp/history.jsonl";
/// Enough for a fault to be met by many sends, and little beside a cluster on two cores.
const RATE: &str = "200";
/// Until an ended load was drained.
const DRAINED: Duration = Duration::from_mins(4);
/// Sends until a load counts as running.
const RUNNING: i64 = 50;

/// A running load.
pub(crate) struct Load<'a> {
    queue: &'a Queue<'a>,
    pod: String,
    begun: Instant,
    duration: Duration,
    /// It was over before messages went through again; others did.
    outlived: Cell<bool>,
}

/// Now, since 1970: on the clock of histories.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl<'a> Load<'a> {
    /// Sends and consumes for so long, and then consumes what is left. Returns when messages go through.
    pub(crate) fn start(queue: &'a Queue<'a>, duration: Duration) -> Result<Self> {
        Self::start_as(queue, "load", duration)
    }

    /// The same in a pod of this name: a second load of a test needs another one.
    pub(crate) fn start_as(queue: &'a Queue<'a>, pod: &str, duration: Duration) -> Result<Self> {
        Self::start_with(queue, pod, &[], duration)
    }

    /// As [`Load::start`], with messages that each wait for this long: it runs once the first have come.
    pub(crate) fn start_delayed(queue: &'a Queue<'a>, delay: &str, duration: Duration) -> Result<Self> {
        Self::start_with(queue, "load", &["--delay", delay], duration)
    }

    fn start_with(queue: &'a Queue<'a>, pod: &str, more: &[&str], duration: Duration) -> Result<Self> {
        // There is no topic before the first one.
        let before = sent(queue).unwrap_or(0);
        let seconds = format!("{}s", duration.as_secs());
        let options = [
            "--rate",
            RATE,
            "--senders",
            "8",
            "--consumers",
            "2",
            "--warmup",
            "0s",
            "--duration",
            &seconds,
            "--drain",
        ];
        let load = Self::begin(queue, pod, &[&options, more].concat(), duration)?;
        more_than(queue, before, "the load runs")?;
        Ok(load)
    }

    /// Starts a pod of `rq bench` with these options.
    pub(crate) fn begin(
        queue: &'a Queue<'a>,
        pod: &str,
        options: &[&str],
        duration: Duration,
    ) -> Result<Self> {
        let endpoint = format!("{QUEUE}:8081");
        let command = [
            "/usr/local/bin/rq",
            "bench",
            "--endpoint",
            &endpoint,
            "--timeout",
            "5s",
            "-o",
            "json",
            "--size",
            "256",
            "--history",
            HISTORY,
        ];
        let bench = container("bench", BROKER_IMAGE, &[&command, options].concat());
        let keeper = container("keeper", CLIENT_IMAGE, &["/client", "--stay"]);
        kubectl::apply(&client_pod(queue.scene, pod, &json!([bench, keeper])))?;
        Ok(Self { queue, pod: pod.to_owned(), begun: Instant::now(), duration, outlived: Cell::new(false) })
    }

    /// Waits until messages go through that are sent from now on. Where what came before took longer than the load, others do.
    pub(crate) fn goes_on(&self) -> Result<()> {
        let before = wait("the queue tells of the load", DEADLINE, || sent(self.queue).map(Looked::Found))?;
        wait("the load goes on", DEADLINE, || {
            if self.left().is_zero() {
                let master = self.queue.shard()?.master;
                let count = RUNNING.to_string();
                let more = ["bench", "--topic", "more", "--group", "more", "--count", &count];
                self.queue.rq(&master, &more)?;
                self.outlived.set(true);
                return Ok(Looked::Found(()));
            }
            let sent = sent(self.queue)?;
            Ok(once(sent >= before + RUNNING, format!("{sent} sent, {before} before")))
        })
    }

    /// How long it sends still.
    pub(crate) fn left(&self) -> Duration {
        self.duration.saturating_sub(self.begun.elapsed())
    }

    /// Waits for the end, judges the history and returns it. `fault` is the moment from which the time without an acknowledged send
    /// counts; there must have been one after it, unless [`Load::goes_on`] had to show that by other messages.
    pub(crate) fn finish(self, fault: Duration) -> Result<History> {
        let history = self.history()?;
        judge(&self.queue.scene.test, &history)?;
        if self.outlived.get() {
            eprintln!("{}: the load was over before messages went through again", self.queue.scene.test);
            return Ok(history);
        }
        let last = history.sends.iter().filter(|send| send.outcome.is_ok()).map(|send| send.span.end).max();
        ensure!(last.is_some_and(|last| last > fault), "nothing was acknowledged after the fault");
        times::note(&self.queue.scene.test, "without an acknowledged send", longest_gap(&history, fault));
        Ok(history)
    }

    /// Waits for the end and returns the whole history, not judged.
    pub(crate) fn history(&self) -> Result<History> {
        let ended = self.left() + DRAINED;
        let code = wait("the load has ended", ended, || self.exit_code())?;
        let namespace = ["--namespace", self.queue.scene.namespace.as_str()];
        let report = kubectl::run(&[&["logs", &self.pod, "--container", "bench"], &namespace[..]].concat())?;
        let told: Value =
            report.find('{').map(|at| serde_json::from_str(&report[at..])).transpose()?.unwrap_or_default();
        let print = [
            "exec",
            &self.pod,
            "--container",
            "keeper",
            "--request-timeout=0",
            "--",
            "/client",
            "--print",
            HISTORY,
        ];
        let history = read(&kubectl::run(&[&namespace[..], &print].concat())?)?;
        let [ours, theirs] =
            [acknowledged(&history), number(&told, "/messages/acknowledged").unsigned_abs() as usize];
        ensure!(
            ours == theirs,
            "the history is not whole: {ours} acknowledged in it, {theirs} in the report: {report}"
        );
        ensure!(code == 0, "rq bench ended with {code}: {report}");
        kubectl::run(&[&["delete", "pod", &self.pod, "--wait=false"], &namespace[..]].concat())?;
        Ok(history)
    }

    fn exit_code(&self) -> Result<Looked<i64>> {
        let pod = kubectl::get(&self.queue.scene.namespace, "pod", &self.pod)?.context("the load is gone")?;
        let containers = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let bench = containers.into_iter().flatten().find(|container| container["name"] == "bench");
        let ended =
            bench.and_then(|bench| bench.pointer("/state/terminated/exitCode")).and_then(Value::as_i64);
        Ok(ended.map_or_else(|| Looked::NotYet(text(&pod, "/status/phase").to_owned()), Looked::Found))
    }
}

/// Waits until a load has sent something since there was so much.
fn more_than(queue: &Queue<'_>, before: i64, what: &str) -> Result<()> {
    wait(what, DEADLINE, || {
        let sent = sent(queue)?;
        Ok(once(sent >= before + RUNNING, format!("{sent} sent, {before} before")))
    })
}

/// Messages that the queue has taken from the load, as a broker tells that is there.
fn sent(queue: &Queue<'_>) -> Result<i64> {
    let shard = queue.shard()?;
    let told = queue.rq(&shard.master, &["topic", "describe", "bench", "-o", "json", "--timeout", "5s"])?;
    let topic: Value = serde_json::from_str(&told)?;
    let queues = topic["queues"].as_array().context("no queues")?;
    Ok(queues.iter().map(|queue| number(queue, "/nextOffset")).sum())
}

/// A container of a client, as restricted Pod Security wants it.
pub(crate) fn container(name: &str, image: &str, command: &[&str]) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{ "name": "HOME", "value": "/tmp" }],
        "volumeMounts": [{ "name": "tmp", "mountPath": "/tmp" }],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

/// A pod of clients, which keeps away from the nodes of the brokers where there is another one.
pub(crate) fn client_pod(scene: &Scene, name: &str, containers: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "app": name } },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": { "matchLabels": { "app.kubernetes.io/instance": QUEUE } },
                },
            }] } },
            "volumes": [{ "name": "tmp", "emptyDir": {} }],
            "containers": containers,
        },
    })
}
