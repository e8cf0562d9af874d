//! One write or flush of the log fails at a random call, with EIO or late ENOSPC. The broker has to end at once and never to retry: a
//! second flush would succeed without the bytes of the first. The power is cut on top, so that whatever was
//! acknowledged on the strength of the failed flush is gone and missed.

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rq_tests::broker::Broker;
use rq_tests::disk::LoopDisk;
use rq_tests::requirement::{Requirement, can_run};
use rq_tests::run::{histories, randomness, rounds};
use rq_tests::strace::Strace;
use rq_tests::workload::{Load, Plan, judge_all};

use crate::{BACK_DEADLINE, RESTLESS};

/// Failures of one history; the next ones begin with a new disk.
const ROUNDS_OF_A_HISTORY: u32 = 20;
const DISK_MIB: u64 = 1_024;
/// The failing call is one of the first so many of its thread.
const LATEST_FAILURE: u32 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_flush_failed_ends_and_keeps_every_promise() -> Result<()> {
    if !can_run("failing flush", &[Requirement::Root, Requirement::LoopDevice, Requirement::Strace])? {
        return Ok(());
    }
    histories("failing flush", rounds(4, 100), ROUNDS_OF_A_HISTORY, one_history).await
}

async fn one_history(seed: u64, rounds: u32) -> Result<()> {
    let mut random = randomness(seed, 102);
    let disk = LoopDisk::new(DISK_MIB)?;
    let home = tempfile::tempdir()?;
    let mut broker = Broker::start(&disk.path().join("data"), &RESTLESS).await?;
    let load = Load::start(&broker.endpoint(), Plan::new(seed)).await?;
    for round in 1..=rounds {
        let acknowledged = load.acknowledged();
        let working = |load: &Load| load.acknowledged() > acknowledged;
        load.wait_until("a send after the start", BACK_DEADLINE, working).await?;
        let call = if round % 2 == 1 { "fdatasync" } else { "pwrite64" };
        let error = if random.random_bool(0.7) { "EIO" } else { "ENOSPC" };
        let inject = format!("inject={call}:error={error}:when={}", random.random_range(1..LATEST_FAILURE));
        eprintln!("failing flush: round {round} of {rounds}, {inject}");
        let trace = format!("trace={call}");
        let output = home.path().join("strace");
        let tracer = Strace::attach(broker.pid()?, &["-e", &trace, "-e", &inject], &output)?;
        let status = broker.wait().await.context("the broker went on although its disk had failed")?;
        ensure!(!status.success(), "the broker ended with success although its disk had failed");
        drop(tracer);
        disk.cut_power()?;
        disk.power_on()?;
        broker.restart().await.with_context(|| format!("restart of round {round}"))?;
    }
    judge_all("failing-flush", &load.drain().await?)?;
    broker.finish().await
}
