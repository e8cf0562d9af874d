//! Load on a server by `rq bench` or another load generator like it, and what that reports.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::session::Session;

/// Load before each measurement, unless it says otherwise.
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
    /// The consumer group, if it is not named like the topic.
    pub(crate) group: Option<&'static str>,
    pub(crate) senders: u32,
    pub(crate) consumers: u32,
    pub(crate) body_bytes: u32,
    /// Consumers go on, unmeasured, until nothing is left.
    pub(crate) drain: bool,
    /// Further options of `rq bench`.
    pub(crate) options: &'static [&'static str],
    /// Load before the measurement.
    pub(crate) warmup: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            call: "send",
            topic: "bench",
            group: None,
            senders: 0,
            consumers: 0,
            body_bytes: 1024,
            drain: false,
            options: &[],
            warmup: WARMUP,
        }
    }
}

/// What the load generator reports.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) send: Operation,
    pub(crate) receive: Operation,
    pub(crate) ack: Operation,
    /// Of delayed messages, if any came.
    pub(crate) late_delivery: Option<LateDelivery>,
    server_cpu_us_per_message: Option<f64>,
    pub(crate) driver_cpu_us_per_message: Option<f64>,
}

/// How long after its time each delayed message came that was due within the window.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LateDelivery {
    pub(crate) messages: u64,
    /// Messages that came before it.
    pub(crate) early: u64,
    pub(crate) after_us: Latency,
}

/// One kind of call.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) ok: u64,
    failed: u64,
    unknown: u64,
    pub(crate) per_second: f64,
    latency_us: Latency,
    /// How often, by name.
    pub(crate) errors: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Operation {
    /// Calls without an OK.
    fn not_ok(&self) -> u64 {
        self.failed + self.unknown
    }

    /// Median latency, in microseconds.
    pub(crate) fn p50_us(&self) -> f64 {
        self.latency_us.p50
    }

    /// What one of a hundred takes longer than, in microseconds.
    pub(crate) fn p99_us(&self) -> f64 {
        self.latency_us.p99
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
        let report = self.run_by(self.rq_bench(session)?, on, self.warmup, session.plan().window).await?;
        let failed: u64 = [&report.send, &report.receive, &report.ack].map(Operation::not_ok).iter().sum();
        ensure!(failed == 0, "operations failed under {self:?}; rq bench reports {report:?}");
        Ok(report)
    }

    /// `rq bench` as the load generator.
    pub(crate) fn rq_bench(&self, session: &Session) -> Result<Command> {
        let mut command = Command::new(session.program("rq")?);
        command.args(["bench", "-o", "json", "--call", self.call]);
        command.args(["--group", self.group.unwrap_or(self.topic)]).args(self.options);
        command.args(["--consumers", &self.consumers.to_string()]);
        if self.drain {
            command.arg("--drain");
        }
        Ok(command)
    }

    /// By a load generator that takes options and reports as `rq bench` does. What failed stands in its report.
    pub(crate) async fn run_by(
        &self,
        mut generator: Command,
        on: &Target,
        warmup: Duration,
        window: Duration,
    ) -> Result<Report> {
        generator.args(["--endpoint", &on.address, "--topic", self.topic]);
        generator.args(["--senders", &self.senders.to_string(), "--size", &self.body_bytes.to_string()]);
        generator.args(["--duration", &format!("{}ms", window.as_millis())]);
        generator.args(["--warmup", &format!("{}ms", warmup.as_millis())]);
        for pid in &on.pids {
            generator.args(["--server-pid", &pid.to_string()]);
        }
        let output = generator.kill_on_drop(true).output().await.context("run the load generator")?;
        if !output.status.success() {
            bail!("the load generator failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("read what the load generator reports")
    }
}
