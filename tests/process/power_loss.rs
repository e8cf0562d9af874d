//! The disk under the broker loses power at random moments under load, without a flush of anything. What was
//! acknowledged was on the disk, so nothing of it may be missing when the power is back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rq_tests::broker::Broker;
use rq_tests::checker::{Violation, check};
use rq_tests::disk::LoopDisk;
use rq_tests::requirement::{Requirement, can_run};
use rq_tests::run::{histories, randomness, rounds, seed};
use rq_tests::strace::Strace;
use rq_tests::workload::{Load, Plan, judge_all};

use crate::{BACK_DEADLINE, RESTLESS};

/// Power cuts of one history; the next ones begin with a new disk.
const ROUNDS_OF_A_HISTORY: u32 = 5;
const DISK_MIB: u64 = 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_disk_lost_power_keeps_every_promise() -> Result<()> {
    if !can_run("power loss", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    histories("power loss", rounds(5, 100), ROUNDS_OF_A_HISTORY, one_history).await
}

/// The test of the test: with flushes that do nothing the same power cut must lose messages, and be seen to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_flushes_do_nothing_is_found_out() -> Result<()> {
    if !can_run("useless flush", &[Requirement::Root, Requirement::LoopDevice, Requirement::Strace])? {
        return Ok(());
    }
    let seed = seed("useless flush");
    let disk = LoopDisk::new(DISK_MIB)?;
    let home = tempfile::tempdir()?;
    let mut broker = Broker::start(&disk.path().join("data"), &RESTLESS).await?;
    let plan = Plan { patience: Duration::from_secs(10), ..Plan::new(seed) };
    let load = Load::start(&broker.endpoint(), plan).await?;
    load.wait_until("a first send", BACK_DEADLINE, |load| load.acknowledged() > 0).await?;
    let useless = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:retval=0"];
    let tracer = Strace::attach(broker.pid()?, &useless, &home.path().join("strace"))?;
    let acknowledged = load.acknowledged();
    let enough = |load: &Load| load.acknowledged() > acknowledged + 200;
    load.wait_until("sends without flushes", BACK_DEADLINE, enough).await?;
    disk.cut_power()?;
    broker.kill()?;
    drop(tracer);
    disk.power_on()?;
    broker.contented();
    if let Err(refusal) = broker.restart().await {
        eprintln!("useless flush: the broker refuses what is left ({refusal:#})");
        return Ok(());
    }
    let lost = check(&load.drain().await?);
    eprintln!("useless flush: {} promises broken, as they have to be", lost.len());
    ensure!(
        lost.iter().any(|violation| matches!(violation, Violation::Lost { .. })),
        "nothing lost: the power cut is none"
    );
    Ok(())
}

async fn one_history(seed: u64, rounds: u32) -> Result<()> {
    let mut random = randomness(seed, 101);
    let disk = LoopDisk::new(DISK_MIB)?;
    let mut broker = Broker::start(&disk.path().join("data"), &RESTLESS).await?;
    let load = Load::start(&broker.endpoint(), Plan::new(seed)).await?;
    for round in 1..=rounds {
        let acknowledged = load.acknowledged();
        let working = |load: &Load| load.acknowledged() > acknowledged;
        load.wait_until("a send after the start", BACK_DEADLINE, working).await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        disk.cut_power()?;
        // It may run on for a moment with a dead disk: what it promises then is held against it as well.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        if broker.exited()?.is_none() {
            broker.kill()?;
        }
        disk.power_on()?;
        let took = broker.restart().await.with_context(|| format!("restart of round {round}"))?;
        eprintln!(
            "power loss: round {round} of {rounds}, {} acknowledged, restarted in {took:?}",
            load.acknowledged()
        );
    }
    judge_all("power-loss", &load.drain().await?)?;
    broker.finish().await
}
