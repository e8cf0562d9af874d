//! `make bench-peers`: the same load on ours, on Apache RocketMQ 5 and on NATS JetStream in turn, all on this machine and
//! one disk, each set to flush before it acknowledges as far as it can. What differs between their acknowledgements stands in
//! docs/performance.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rq_tests::cluster::Cluster;
use serde::Serialize;
use tokio::process::Command;

use crate::findings::{self, Spread, Unit};
use crate::load::{Load, Report, Target};
use crate::proc;
use crate::session::Session;
use crate::two_replicas;

#[path = "peers/nats.rs"]
mod nats;
#[path = "peers/rocketmq.rs"]
mod rocketmq;
#[path = "peers/servers.rs"]
mod servers;

const TOPIC: &str = "bench";
/// Waiting senders, one load after the other.
const SENDERS: [u32; 3] = [1, 64, 512];
/// Senders of the load that warms up.
const WARM_UP_SENDERS: u32 = 64;
/// Load before each window: what a server still did for another system's window is over by then.
const BEFORE_WINDOW: Duration = Duration::from_secs(1);
/// How long they are looked at while nobody sends.
const IDLE_WINDOW: Duration = Duration::from_secs(5);

/// One that is measured.
struct System {
    name: &'static str,
    target: Target,
    /// Its load generator, unless that is `rq bench`.
    generator: Option<PathBuf>,
}

/// What one system did under one load.
#[derive(Serialize)]
struct Row {
    senders: u32,
    system: &'static str,
    per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
    /// Of all its servers, for each acknowledged message.
    servers_cpu_us: Spread,
    generator_cpu_us: Spread,
    /// Calls that were answered with an error, or not at all, in all rounds, by name; each was made again.
    failed: BTreeMap<String, u64>,
    /// The rate of ours in the same round, as a multiple of its.
    ours: Spread,
}

/// Measures all three; prints the table and writes the same as JSON.
pub(crate) async fn measure(
    session: &Session,
    installed: &Path,
    warm_up: Duration,
    json: &Path,
) -> Result<()> {
    let mut cluster = Cluster::start_in(session.disk(), &[("RQ_AUTO_CREATE", "true")]).await?;
    cluster.contented();
    let ours = two_replicas::master(&cluster).await?;
    let (mut nats_servers, nats) = nats::start(session.disk(), installed).await?;
    let (mut rocketmq_servers, rocketmq) = rocketmq::start(session.disk(), installed, TOPIC).await?;
    let systems = [
        System { name: "ReliableQueue", target: ours, generator: None },
        System { name: "Apache RocketMQ", target: rocketmq, generator: None },
        System { name: "NATS JetStream", target: nats, generator: Some(installed.join("nats/load")) },
    ];
    for system in &systems {
        eprintln!("{}: {warm_up:?} of load to warm up", system.name);
        system.run(session, WARM_UP_SENDERS, warm_up).await?;
    }
    for system in &systems {
        let before = proc::cpu_of_all(&system.target.pids)?;
        tokio::time::sleep(IDLE_WINDOW).await;
        let spent = proc::cpu_of_all(&system.target.pids)?.saturating_sub(before);
        let part = spent.as_secs_f64() / IDLE_WINDOW.as_secs_f64();
        eprintln!("{}: takes {:.1} % of a processor while nobody sends", system.name, part * 100.0);
    }
    let mut rows = Vec::new();
    for senders in SENDERS {
        let name = format!("{senders} senders");
        let rounds = session.rounds(&name, async || {
            let mut reports = Vec::with_capacity(systems.len());
            for system in &systems {
                reports.push(system.run(session, senders, BEFORE_WINDOW).await?);
            }
            Ok(reports)
        });
        let rounds = rounds.await?;
        for (index, system) in systems.iter().enumerate() {
            rows.push(Row::of(senders, system.name, index, &rounds)?);
        }
        // As far as it got: the whole takes its time, and may be interrupted.
        findings::write_json(json, &rows)?;
    }
    // One that ended meanwhile would have served nothing.
    rocketmq_servers.all_run()?;
    nats_servers.all_run()?;
    print(&rows)
}

impl System {
    async fn run(&self, session: &Session, senders: u32, warm_up: Duration) -> Result<Report> {
        let load = Load { topic: TOPIC, senders, ..Load::default() };
        let generator = match &self.generator {
            Some(program) => Command::new(program),
            None => load.rq_bench(session)?,
        };
        let report = load.run_by(generator, &self.target, warm_up, session.plan().window).await;
        report.with_context(|| format!("{senders} senders on {}", self.name))
    }
}

impl Row {
    /// Of the system with that index; ours is the first.
    fn of(senders: u32, system: &'static str, index: usize, rounds: &[Vec<Report>]) -> Result<Self> {
        let spread =
            |figure: fn(&Report) -> f64| Spread::of(rounds.iter().map(|round| figure(&round[index])));
        let cpu: Vec<f64> = rounds.iter().map(|round| round[index].cpu_us()).collect::<Result<_>>()?;
        let mut failed = BTreeMap::new();
        for (error, count) in rounds.iter().flat_map(|round| &round[index].send.errors) {
            *failed.entry(error.clone()).or_default() += count;
        }
        let ours = rounds.iter().map(|round| round[0].send.per_second / round[index].send.per_second);
        Ok(Self {
            senders,
            system,
            per_second: spread(|report| report.send.per_second),
            p50_us: spread(|report| report.send.p50_us()),
            p99_us: spread(|report| report.send.p99_us()),
            servers_cpu_us: Spread::of(cpu),
            generator_cpu_us: spread(|report| report.driver_cpu_us_per_message.unwrap_or(f64::NAN)),
            failed,
            ours: Spread::of(ours),
        })
    }
}

fn print(rows: &[Row]) -> Result<()> {
    let mut table = String::from(
        "| senders | system | acknowledged | p50 | p99 | processor time of its servers for a message | of the load generator | calls that failed | rate of ours ÷ its |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row {
            senders,
            system,
            per_second,
            p50_us,
            p99_us,
            servers_cpu_us,
            generator_cpu_us,
            failed,
            ours,
        } = row;
        let [p50, p99, servers, generator] =
            [p50_us, p99_us, servers_cpu_us, generator_cpu_us].map(|spread| spread.shown(Unit::Microseconds));
        let failed: u64 = failed.values().sum();
        let (rate, ours) = (per_second.shown(Unit::PerSecond), ours.shown(Unit::Times));
        writeln!(
            table,
            "| {senders} | {system} | {rate} | {p50} | {p99} | {servers} | {generator} | {failed} | {ours} |"
        )?;
    }
    std::io::stdout().write_all(table.as_bytes()).context("print the table")
}
