//! Two replicas under load, on one machine: killed, frozen, told to change places. Nothing acknowledged may be missing
//! afterwards, and the cluster must be whole again without a hand.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rq_proto::reliablequeue::FlushMode;
use rq_tests::client::Client;
use rq_tests::cluster::Cluster;
use rq_tests::run::{histories, randomness, rounds};
use rq_tests::workload::{Load, Plan, judge_all};

use crate::{BACK_DEADLINE, RESTLESS_REPLICAS as RESTLESS};

/// Faults of one history; the next ones begin with empty directories.
const ROUNDS_OF_A_HISTORY: u32 = 10;
/// Longer than everybody's patience with a silent master.
const FROZEN: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_keep_every_promise_whatever_is_killed() -> Result<()> {
    let history = |seed, rounds| one_history(seed, rounds, FlushMode::Sync);
    histories("failover", rounds(8, 100), ROUNDS_OF_A_HISTORY, history).await
}

/// A process that is killed loses nothing that it wrote: the kernel has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_async_mode_two_replicas_keep_every_promise_whatever_is_killed() -> Result<()> {
    let history = |seed, rounds| one_history(seed, rounds, FlushMode::Async);
    histories("failover, async", rounds(5, 100), ROUNDS_OF_A_HISTORY, history).await
}

/// What happens to the cluster.
#[derive(Clone, Copy, Debug)]
enum Fault {
    MasterKilled,
    SlaveKilled,
    BothKilled,
    /// It wakes up as the master of an epoch that ended.
    MasterFrozen,
    SlaveFrozen,
    Switched,
}

impl Fault {
    /// Each once, then any.
    fn next(round: u32, random: &mut StdRng) -> Self {
        use Fault::{BothKilled, MasterFrozen, MasterKilled, SlaveFrozen, SlaveKilled, Switched};
        let all = [MasterKilled, SlaveKilled, Switched, MasterFrozen, BothKilled, SlaveFrozen];
        let any = || all[random.random_range(0..all.len())];
        all.get(round as usize - 1).copied().unwrap_or_else(any)
    }

    async fn strike(self, cluster: &Cluster) -> Result<()> {
        let status = cluster.status().await?;
        let master = status.master.context("a master")?;
        let slave = if master == "r0" { "r1" } else { "r0" };
        match self {
            Self::MasterKilled => cluster.signal(&master, "KILL").await,
            Self::SlaveKilled => cluster.signal(slave, "KILL").await,
            Self::BothKilled => {
                cluster.signal(&master, "KILL").await?;
                cluster.signal(slave, "KILL").await
            }
            Self::MasterFrozen => freeze(cluster, &master).await,
            Self::SlaveFrozen => freeze(cluster, slave).await,
            Self::Switched => cluster.promote(slave).await,
        }
    }
}

async fn freeze(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.signal(name, "STOP").await?;
    tokio::time::sleep(FROZEN).await;
    cluster.signal(name, "CONT").await
}

async fn one_history(seed: u64, rounds: u32, mode: FlushMode) -> Result<()> {
    let mut random = randomness(seed, 101);
    let cluster = Cluster::start(&RESTLESS).await?;
    Client::new(&cluster.endpoint(), "admin")?.set_flush_mode(mode).await?;
    let load = Load::start(&cluster.endpoint(), Plan::new(seed)).await?;
    for round in 1..=rounds {
        let acknowledged = load.acknowledged();
        let working = |load: &Load| load.acknowledged() > acknowledged + 10;
        load.wait_until("sends after the fault", BACK_DEADLINE, working).await?;
        cluster.wait("both copies in sync", |status| status.in_sync.len() == 2).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
        let fault = Fault::next(round, &mut random);
        eprintln!("failover: round {round} of {rounds}, {} acknowledged, {fault:?}", load.acknowledged());
        fault.strike(&cluster).await.with_context(|| format!("round {round}, {fault:?}"))?;
    }
    judge_all("failover", &load.drain().await?)?;
    cluster.whole().await?;
    cluster.finish().await
}
