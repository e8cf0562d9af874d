//! Load on a server by `rq bench`, and what it reports.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::session::Session;

/// Load before each measurement.
const WARMUP: Duration = Duration::from_millis(500);

/// A server that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// Its processes, whose processor time counts together.
    pub(crate) pids: Vec<u32>,
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) call: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) senders: u32,
    pub(crate) consumers: u32,
    pub(crate) body_bytes: u32,
    /// Consumers go on, unmeasured, until nothing is left.
    pub(crate) drain: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self { call: "send", topic: "bench", senders: 0, consumers: 0, body_bytes: 1024, drain: false }
    }
}

/// What `rq bench` reports.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) send: Operation,
    pub(crate) receive: Operation,
    pub(crate) ack: Operation,
    server_cpu_us_per_message: Option<f64>,
    pub(crate) driver_cpu_us_per_message: Option<f64>,
}

/// One kind of call.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Operation {
    pub(crate) ok: u64,
    failed: u64,
    unknown: u64,
    pub(crate) per_second: f64,
    latency_us: Latency,
}

#[derive(Clone, Debug, Deserialize)]
struct Latency {
    p50: f64,
}

impl Operation {
    /// Median latency, in microseconds.
    pub(crate) fn p50_us(&self) -> f64 {
        self.latency_us.p50
    }
}

impl Report {
    /// Processor time of the server for each message: sent ones, or acked ones where nobody sent; in microseconds.
    pub(crate) fn cpu_us(&self) -> Result<f64> {
        self.server_cpu_us_per_message.context("rq bench did not report the processor time of the server")
    }
}

impl Load {
    /// Puts it on a server for one window of the session. An operation that fails makes it no measurement.
    pub(crate) async fn run(&self, session: &Session, on: &Target) -> Result<Report> {
        let window = session.plan().window;
        let mut command = Command::new(session.program("rq")?);
        command.args(["bench", "-o", "json", "--endpoint", &on.address]);
        for pid in &on.pids {
            command.args(["--server-pid", &pid.to_string()]);
        }
        command.args(["--call", self.call, "--topic", self.topic, "--group", self.topic]);
        command.args(["--senders", &self.senders.to_string(), "--consumers", &self.consumers.to_string()]);
        command.args(["--size", &self.body_bytes.to_string()]);
        command.args(["--duration", &format!("{}ms", window.as_millis())]);
        command.args(["--warmup", &format!("{}ms", WARMUP.as_millis())]);
        if self.drain {
            command.arg("--drain");
        }
        let output = command.kill_on_drop(true).output().await.context("run rq bench")?;
        if !output.status.success() {
            bail!("rq bench failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let report: Report = serde_json::from_slice(&output.stdout).context("read what rq bench reports")?;
        for operation in [&report.send, &report.receive, &report.ack] {
            if operation.failed + operation.unknown > 0 {
                let text = String::from_utf8_lossy(&output.stdout);
                bail!("operations failed under {self:?}; rq bench reports {text}");
            }
        }
        Ok(report)
    }
}
