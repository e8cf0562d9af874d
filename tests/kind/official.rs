//! The official Go client in a pod: it sends and consumes for a given time, whatever happens to the brokers, and says at the
//! end whether all that was acknowledged came.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rq_tests::go_client::Sends;
use serde::Deserialize;
use serde_json::json;

use crate::kubectl::{self, text};
use crate::load::{CLIENT_IMAGE, client_pod, container};
use crate::queue::{QUEUE, Queue};
use crate::scene::Scene;
use crate::wait::{DEADLINE, Looked, wait};

/// The running client.
pub(crate) struct Official<'a> {
    scene: &'a Scene,
    /// Its pod, its topic and its group.
    name: &'static str,
    duration: Duration,
}

#[derive(Deserialize)]
struct Report {
    result: String,
    detail: String,
}

impl<'a> Official<'a> {
    /// Makes its topic and group and starts it. Returns when it sends.
    pub(crate) fn start(queue: &Queue<'a>, sends: Sends, duration: Duration) -> Result<Self> {
        let (master, name) = (queue.shard()?.master, sends.name());
        let kind = if sends == Sends::HalfMessages { "transaction" } else { "normal" };
        queue.rq(&master, &["topic", "create", name, "--queues", "4", "--type", kind])?;
        queue.rq(&master, &["group", "create", name])?;
        let (endpoint, lasting) = (format!("{QUEUE}:8081"), format!("{}s", duration.as_secs()));
        let options = ["--for", &lasting, name, name];
        let command = [&["/client", "--endpoint", &endpoint], sends.options(), &options].concat();
        let container = container("client", CLIENT_IMAGE, &command);
        kubectl::apply(&client_pod(queue.scene, name, &json!([container])))?;
        let client = Self { scene: queue.scene, name, duration };
        wait("the official client sends", DEADLINE, || client.said(1))?;
        Ok(client)
    }

    /// Waits for its end. How many of its calls failed.
    pub(crate) fn finish(self) -> Result<u64> {
        let Report { result, detail } =
            wait("the official client ends", self.duration + DEADLINE, || self.said(2))?;
        ensure!(result == "pass", "the official client lost messages: {detail}");
        eprintln!("{}: the official Go client: {detail}", self.scene.test);
        let failed = detail.split(", ").find_map(|part| part.strip_suffix(" calls failed"));
        failed
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("it does not say how many calls failed: {detail}"))
    }

    /// Its report of that number: it says one when it sends, and one at the end.
    fn said(&self, number: usize) -> Result<Looked<Report>> {
        let logs = kubectl::run(&["logs", self.name, "--namespace", &self.scene.namespace])?;
        let mut reports = logs.lines().filter_map(|line| serde_json::from_str::<Report>(line).ok());
        if let Some(report) = reports.nth(number - 1) {
            return Ok(Looked::Found(report));
        }
        let pod = kubectl::get(&self.scene.namespace, "pod", self.name)?.context("it is gone")?;
        let phase = text(&pod, "/status/phase");
        ensure!(phase != "Failed", "the official client failed: {logs}");
        Ok(Looked::NotYet(format!("{phase}: {logs}")))
    }
}
