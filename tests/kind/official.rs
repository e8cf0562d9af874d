//! The official Go client in a pod: it sends and consumes for a given time, whatever happens to the brokers, and says at the
//! end whether all that was acknowledged came.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::kubectl::{self, text};
use crate::load::{CLIENT_IMAGE, client_pod, container};
use crate::queue::{QUEUE, Queue};
use crate::scene::Scene;
use crate::wait::{DEADLINE, Looked, wait};

/// Its pod, its topic and its group.
const NAME: &str = "official";

/// The running client.
pub(crate) struct Official<'a> {
    scene: &'a Scene,
    duration: Duration,
}

#[derive(Deserialize)]
struct Report {
    result: String,
    detail: String,
}

impl<'a> Official<'a> {
    /// Makes its topic and group and starts it. Returns when it sends.
    pub(crate) fn start(queue: &Queue<'a>, duration: Duration) -> Result<Self> {
        let master = queue.shard()?.master;
        queue.rq(&master, &["topic", "create", NAME, "--queues", "4"])?;
        queue.rq(&master, &["group", "create", NAME])?;
        let (endpoint, lasting) = (format!("{QUEUE}:8081"), format!("{}s", duration.as_secs()));
        let command = ["/client", "--endpoint", &endpoint, "--keep-going", "--for", &lasting, NAME, NAME];
        kubectl::apply(&client_pod(
            queue.scene,
            NAME,
            &json!([container("client", CLIENT_IMAGE, &command)]),
        ))?;
        let client = Self { scene: queue.scene, duration };
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
        let logs = kubectl::run(&["logs", NAME, "--namespace", &self.scene.namespace])?;
        let mut reports = logs.lines().filter_map(|line| serde_json::from_str::<Report>(line).ok());
        if let Some(report) = reports.nth(number - 1) {
            return Ok(Looked::Found(report));
        }
        let pod = kubectl::get(&self.scene.namespace, "pod", NAME)?.context("it is gone")?;
        let phase = text(&pod, "/status/phase");
        ensure!(phase != "Failed", "the official client failed: {logs}");
        Ok(Looked::NotYet(format!("{phase}: {logs}")))
    }
}
