//! `make bench`: measures what docs/performance.md claims, on the broker as it is released. Every figure that depends on
//! the machine is a ratio of two measurements taken next to each other, A B A B, never of two runs; a miss is printed like a
//! hit and does not fail the command.

#[path = "bench/backlog.rs"]
mod backlog;
#[path = "bench/catching_up.rs"]
mod catching_up;
#[path = "bench/delayed_backlog.rs"]
mod delayed_backlog;
#[path = "bench/delays.rs"]
mod delays;
#[path = "bench/disk.rs"]
mod disk;
#[path = "bench/end_to_end.rs"]
mod end_to_end;
#[path = "bench/failover.rs"]
mod failover;
#[path = "bench/filler.rs"]
mod filler;
#[path = "bench/filters.rs"]
mod filters;
#[path = "bench/findings.rs"]
mod findings;
#[path = "bench/idle_topics.rs"]
mod idle_topics;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/one_sender.rs"]
mod one_sender;
#[path = "bench/peers.rs"]
mod peers;
#[path = "bench/proc.rs"]
mod proc;
#[path = "bench/restart.rs"]
mod restart;
#[path = "bench/senders.rs"]
mod senders;
#[path = "bench/session.rs"]
mod session;
#[path = "bench/transactions.rs"]
mod transactions;
#[path = "bench/two_replicas.rs"]
mod two_replicas;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::findings::Finding;
use crate::session::Session;

/// Measures the broker against a server that stores nothing and against the bare disk.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    /// What to measure [default: all]
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Directory on the disk to measure; everything in it is made and removed by the run [default: the build directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Pairs that count; one more goes before them to warm up
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100), value_name = "N")]
    rounds: u32,
    /// Length of each measurement, in seconds; half a second of load goes before it
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600), value_name = "SECONDS")]
    seconds: u64,
    /// Messages of the backlog, and of the delayed one
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    backlog: u64,
    /// Topics that nobody uses
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=90_000), value_name = "N")]
    topics: u32,
    /// Size of the log to restart from, in MiB
    #[arg(long, default_value_t = 5 << 10, value_name = "MIB")]
    log_mib: u64,
    /// Measure Apache RocketMQ and NATS JetStream beside ours instead; DIR is where tests/peers/install.sh put them
    #[arg(long, conflicts_with = "scenarios", value_name = "DIR")]
    peers: Option<PathBuf>,
    /// With --peers: load on each system before its first round, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    peers_warm_up: u64,
    /// Also write the findings as JSON, with the figure of every round [default: bench.json or peers.json in the build
    /// directory]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Said by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One thing to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Scenario {
    /// One sender, against the bare disk and an empty call
    OneSender,
    /// 64 senders, against a server that stores nothing
    #[value(name = "senders-64")]
    Senders64,
    /// 512 senders, against a server that stores nothing
    #[value(name = "senders-512")]
    Senders512,
    /// Senders and consumers, against senders alone
    EndToEnd,
    /// Half messages and their commits, against plain sends
    Transactions,
    /// Consuming by TAG and by SQL, against consuming all
    Filters,
    /// How late delayed messages come
    Delays,
    /// Sending and consuming on a large backlog, against none
    Backlog,
    /// Memory of delayed messages that are far from due
    DelayedBacklog,
    /// Memory of topics that nobody uses
    IdleTopics,
    /// From kill -9 with a large log to the first accepted send
    Restart,
    /// Two replicas: one sender, against a broker alone
    TwoReplicasOneSender,
    /// Two replicas: 64 senders, against a broker alone
    #[value(name = "two-replicas-64")]
    TwoReplicas64,
    /// Two replicas: 512 senders, against a broker alone
    #[value(name = "two-replicas-512")]
    TwoReplicas512,
    /// Two replicas: senders while the slave catches up on a log of --log-mib
    CatchingUp,
    /// From the last send before kill -9 of the master to the next, under load
    FailoverKill,
    /// The same where the master is frozen
    FailoverFreeze,
    /// The same where it is told to hand over
    FailoverSwitch,
}

/// What each measurement is given.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: u32,
    window: Duration,
    backlog: u64,
    topics: u32,
    log_bytes: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let plan = Plan {
        rounds: args.rounds,
        window: Duration::from_secs(args.seconds),
        backlog: args.backlog,
        topics: args.topics,
        log_bytes: args.log_mib << 20,
    };
    let session = Session::open(args.data, plan)?;
    if let Some(peers) = args.peers {
        let json = args.json.unwrap_or_else(|| session.build().join("peers.json"));
        let warm_up = Duration::from_secs(args.peers_warm_up);
        // Ended like this, the servers of others are stopped too.
        return tokio::select! {
            outcome = peers::measure(&session, &peers, warm_up, &json) => outcome,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        };
    }
    let scenarios = if args.scenarios.is_empty() { Scenario::value_variants() } else { &args.scenarios };
    let mut findings = Vec::new();
    for scenario in scenarios {
        findings.extend(measure(*scenario, &session).await?);
        // As far as it got: the whole takes its time, and may be interrupted.
        findings::write_json(
            &args.json.clone().unwrap_or_else(|| session.build().join("bench.json")),
            &findings,
        )?;
    }
    findings::print(&findings)
}

async fn measure(scenario: Scenario, session: &Session) -> Result<Vec<Finding>> {
    match scenario {
        Scenario::OneSender => one_sender::measure(session).await,
        Scenario::Senders64 => senders::measure(session, 64).await,
        Scenario::Senders512 => senders::measure(session, 512).await,
        Scenario::EndToEnd => end_to_end::measure(session).await,
        Scenario::Transactions => transactions::measure(session).await,
        Scenario::Filters => filters::measure(session).await,
        Scenario::Delays => delays::measure(session).await,
        Scenario::Backlog => backlog::measure(session).await,
        Scenario::DelayedBacklog => delayed_backlog::measure(session).await,
        Scenario::IdleTopics => idle_topics::measure(session).await,
        Scenario::Restart => restart::measure(session).await,
        Scenario::TwoReplicasOneSender => two_replicas::measure(session, 1).await,
        Scenario::TwoReplicas64 => two_replicas::measure(session, 64).await,
        Scenario::TwoReplicas512 => two_replicas::measure(session, 512).await,
        Scenario::CatchingUp => catching_up::measure(session).await,
        Scenario::FailoverKill => failover::measure(session, failover::Fault::Kill).await,
        Scenario::FailoverFreeze => failover::measure(session, failover::Fault::Freeze).await,
        Scenario::FailoverSwitch => failover::measure(session, failover::Fault::Switch).await,
    }
}
