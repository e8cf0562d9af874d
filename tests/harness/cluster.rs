//! A cluster of real broker processes with its supervisor, as `rq local` gives it to a user: up, status, kill, promote,
//! down. It never outlives its value; the ends of its logs are shown unless the test was content with it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rq_core::ids::Lsn;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::broker::{forget_settings, program};

/// Ports that clusters are given, so many at a time; below the kernel's own choice.
const PORTS: std::ops::Range<u16> = 18_500..18_900;
const PORTS_OF_A_CLUSTER: u16 = 10;
/// How often this process was given some.
static GIVEN: AtomicU16 = AtomicU16::new(0);
/// Until a cluster is whole again. Generous: the machine may be busy.
const WHOLE_DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines of each log shown when a test fails.
const LOG_LINES: usize = 40;

/// A cluster of two.
#[derive(Debug)]
pub struct Cluster {
    home: tempfile::TempDir,
    base_port: u16,
    environment: Vec<(String, String)>,
    content: bool,
}

/// What `rq local status` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Number of the mastership.
    pub epoch: u32,
    /// Name of the master.
    pub master: Option<String>,
    /// Names of the copies that are in sync.
    pub in_sync: Vec<String>,
    /// All replicas.
    pub replicas: Vec<Replica>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Where it serves, `HOST:PORT`.
    pub endpoint: String,
    /// Everything below is flushed there; none if it does not answer.
    pub durable_lsn: Option<u64>,
    /// Everything below is committed, as far as it knows.
    pub commit_lsn: Option<u64>,
}

impl Cluster {
    /// Starts a cluster whose brokers have further settings: names of environment variables, with values. Returns when it
    /// serves.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(&std::env::temp_dir(), settings).await
    }

    /// As [`Cluster::start`], on the disk of this directory.
    pub async fn start_in(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let home =
            tempfile::Builder::new().prefix("rq-cluster-").tempdir_in(dir).context("make a directory")?;
        let environment = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let cluster = Self { home, base_port: free_ports()?, environment, content: false };
        let port = cluster.base_port.to_string();
        let arguments = ["up", "--replicas", "2", "--base-port", &port, "--allow-unsafe-filesystem"];
        cluster.rq(&arguments).await?;
        Ok(cluster)
    }

    /// The one address that keeps working, as a URI.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The same as `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.base_port)
    }

    /// Nothing of its logs need be shown from here on.
    pub fn contented(&mut self) {
        self.content = true;
    }

    /// What it is at this moment.
    pub async fn status(&self) -> Result<Status> {
        self.json(&["status"]).await
    }

    /// Sends a signal to a replica: by name, to the `master` or to a `slave`.
    pub async fn signal(&self, target: &str, signal: &str) -> Result<()> {
        self.rq(&["kill", target, "--signal", signal]).await.map(drop)
    }

    /// Makes this replica the master, without a failure.
    pub async fn promote(&self, name: &str) -> Result<()> {
        self.rq(&["promote", name]).await.map(drop)
    }

    /// Waits until both copies are in sync and as far as each other.
    pub async fn whole(&self) -> Result<Status> {
        self.wait("both copies in sync", |status| {
            let durable: Vec<_> = status.replicas.iter().map(|replica| replica.durable_lsn).collect();
            status.in_sync.len() == 2 && durable.iter().all(|lsn| lsn.is_some() && *lsn == durable[0])
        })
        .await
    }

    /// Waits until it is as `condition` wants it.
    pub async fn wait(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Result<Status> {
        let began = Instant::now();
        loop {
            let status = self.status().await?;
            if condition(&status) {
                return Ok(status);
            }
            ensure!(began.elapsed() < WHOLE_DEADLINE, "no {what} within {WHOLE_DEADLINE:?}: {status:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops it, and compares what both copies hold, frame by frame, as far as both hold it. No broker may have ended by
    /// itself.
    pub async fn finish(mut self) -> Result<()> {
        self.rq(&["down"]).await?;
        let log = std::fs::read_to_string(self.home.path().join("supervisor.log"))?;
        let was_told = |line: &str| line.contains("SIGKILL") || line.contains("exit status: 0");
        let failed: Vec<_> =
            log.lines().filter(|line| line.contains(" ended: ") && !was_told(line)).collect();
        ensure!(failed.is_empty(), "a broker ended by itself: {failed:#?}");
        compare_copies(&self.home.path().join("r0"), &self.home.path().join("r1"))?;
        self.content = true;
        Ok(())
    }

    async fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json"]);
        let printed = self.rq(&arguments).await?;
        serde_json::from_str(&printed).with_context(|| format!("rq local {arguments:?} printed {printed}"))
    }

    async fn rq(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program("rq")?);
        command.arg("local").args(arguments).arg("--data").arg(self.home.path());
        forget_settings(command.as_std_mut());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.stdin(Stdio::null()).output().await.context("run rq")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("rq local {arguments:?} ended with {}: {said}", output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn show_logs(&self) {
        for name in ["supervisor", "r0", "r1"] {
            let log = std::fs::read(self.home.path().join(format!("{name}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            eprintln!("---- end of the log of {name}");
            lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = || {
            let mut command = std::process::Command::new(program("rq").ok()?);
            command.args(["local", "down", "--data"]).arg(self.home.path()).output().ok()
        };
        drop(down());
        if !self.content {
            self.show_logs();
        }
    }
}

/// Ports that nobody listens on.
fn free_ports() -> Result<u16> {
    // Begin elsewhere in each process, and for each cluster of one: several may be about to start at a time.
    let blocks = (PORTS.end - PORTS.start) / PORTS_OF_A_CLUSTER;
    let given = GIVEN.fetch_add(1, Ordering::Relaxed);
    let first = (std::process::id() as u16).wrapping_mul(7).wrapping_add(given) % blocks;
    let bases = (0..blocks).map(|block| PORTS.start + (first + block) % blocks * PORTS_OF_A_CLUSTER);
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut free = bases.filter(|base| (*base..base + PORTS_OF_A_CLUSTER).all(is_free));
    free.next().with_context(|| format!("no {PORTS_OF_A_CLUSTER} ports of {PORTS:?} in a row are free"))
}

/// Compares what two data directories of stopped brokers hold, frame by frame, as far as both hold it.
pub(crate) fn compare_copies(one: &Path, two: &Path) -> Result<()> {
    let (one, two) = (frames(one)?, frames(two)?);
    let start = one.first().zip(two.first()).map_or(Lsn(0), |(one, two)| one.0.max(two.0));
    let common = one.iter().filter(|frame| frame.0 >= start).zip(two.iter().filter(|frame| frame.0 >= start));
    let mut compared = 0;
    for (one, two) in common {
        ensure!(one == two, "the copies differ at {} and {}", one.0, two.0);
        compared += 1;
    }
    ensure!(compared > 0, "the copies have nothing in common");
    Ok(())
}

/// Position and checksum of every frame of a log.
fn frames(data: &Path) -> Result<Vec<(Lsn, u32)>> {
    let inspection = rq_log::inspect(data).with_context(|| format!("inspect {}", data.display()))?;
    let start = inspection.segments.first().map_or(Lsn(0), |segment| segment.base);
    let mut frames = Vec::new();
    for frame in inspection.frames(start) {
        let frame = frame.context("read a frame")?;
        let frame = frame.frame();
        let mut checksum = 0;
        for (lsn, record) in frame.records() {
            checksum = rq_core::hash::crc32c(record) ^ (lsn.0 as u32).rotate_left(checksum % 32);
        }
        frames.push((frame.lsn, checksum));
    }
    Ok(frames)
}
