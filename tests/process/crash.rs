//! The broker is killed with SIGKILL at random moments under load, also while it starts. Nothing acknowledged may be
//! missing afterwards, and nothing that was promised may be taken back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use rq_tests::broker::Broker;
use rq_tests::run::{randomness, rounds, seed};
use rq_tests::workload::{Load, Plan, judge};

use crate::{BACK_DEADLINE, RESTLESS_ANYWHERE};

/// Kills of one history; the next ones begin with an empty directory.
const ROUNDS_OF_A_HISTORY: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_keeps_every_promise() -> Result<()> {
    let seed = seed("crash");
    let mut left = rounds(10, 200);
    let mut nth = 0;
    while left > 0 {
        let rounds = left.min(ROUNDS_OF_A_HISTORY);
        one_history(seed.wrapping_add(nth), rounds)
            .await
            .with_context(|| format!("crash: RQ_SEED={seed}"))?;
        left -= rounds;
        nth += 1;
    }
    Ok(())
}

async fn one_history(seed: u64, rounds: u32) -> Result<()> {
    let mut random = randomness(seed, 100);
    let home = tempfile::tempdir()?;
    let mut broker = Broker::start(&home.path().join("data"), &RESTLESS_ANYWHERE).await?;
    let load = Load::start(&broker.endpoint(), Plan::new(seed)).await?;
    for round in 1..=rounds {
        let acknowledged = load.acknowledged();
        let working = |load: &Load| load.acknowledged() > acknowledged;
        load.wait_until("a send after the start", BACK_DEADLINE, working).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        broker.kill()?;
        if random.random_bool(0.3) {
            broker.restart_and_kill_after(Duration::from_millis(random.random_range(0..150))).await?;
        }
        let took = broker.restart().await.with_context(|| format!("restart of round {round}"))?;
        eprintln!(
            "crash: round {round} of {rounds}, {} acknowledged, restarted in {took:?}",
            load.acknowledged()
        );
    }
    judge("crash", &load.drain().await?)?;
    broker.finish().await
}
