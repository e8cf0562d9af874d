//! The broker is killed with SIGKILL at random moments under load, also while it starts; sometimes it is stopped or
//! frozen instead. Nothing acknowledged may be
//! missing afterwards, and nothing that was promised may be taken back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rq_tests::broker::{Broker, Signal, signal};
use rq_tests::run::{histories, randomness, rounds};
use rq_tests::workload::{Load, Plan, judge_all};

use crate::{BACK_DEADLINE, RESTLESS_ANYWHERE};

/// Kills of one history; the next ones begin with an empty directory.
const ROUNDS_OF_A_HISTORY: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_keeps_every_promise() -> Result<()> {
    histories("crash", rounds(10, 200), ROUNDS_OF_A_HISTORY, one_history).await
}

/// What happens to the broker.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Killed while it serves.
    Killed,
    /// Killed while it serves, and again so long after its next start.
    KilledTwice(Duration),
    /// Asked to stop.
    Stopped,
    /// Frozen for so long, at most longer than a lease.
    Frozen(Duration),
}

impl Fault {
    fn any(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..55 => Fault::Killed,
            55..80 => Fault::KilledTwice(Duration::from_millis(random.random_range(0..150))),
            80..90 => Fault::Stopped,
            _ => Fault::Frozen(Duration::from_millis(random.random_range(100..4_000))),
        }
    }

    async fn strike(self, broker: &mut Broker) -> Result<()> {
        match self {
            Fault::Killed => broker.kill()?,
            Fault::KilledTwice(after) => {
                broker.kill()?;
                broker.restart_and_kill_after(after).await?;
            }
            Fault::Stopped => {
                let status = broker.stop().await?;
                ensure!(status.success(), "the broker ended with {status} when it was asked to stop");
            }
            Fault::Frozen(duration) => {
                signal(broker.pid()?, Signal::STOP)?;
                tokio::time::sleep(duration).await;
                return signal(broker.pid()?, Signal::CONT);
            }
        }
        broker.restart().await.map(drop)
    }
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
        let fault = Fault::any(&mut random);
        eprintln!("crash: round {round} of {rounds}, {} acknowledged, {fault:?}", load.acknowledged());
        fault.strike(&mut broker).await.with_context(|| format!("round {round}, {fault:?}"))?;
    }
    judge_all("crash", &load.drain().await?)?;
    broker.finish().await
}
