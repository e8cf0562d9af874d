//! The disk fills up under load. Sends are refused for certain, what is stored is still delivered and acked, and when
//! there is room again so are sends accepted, all without a restart.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rq_tests::broker::Broker;
use rq_tests::disk::LoopDisk;
use rq_tests::requirement::{Requirement, can_run};
use rq_tests::run::seed;
use rq_tests::workload::{Load, Plan, judge};

use crate::{BACK_DEADLINE, SMALL_SEGMENTS};

const DISK_MIB: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_sends_and_still_delivers() -> Result<()> {
    if !can_run("full disk under load", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    let seed = seed("full disk");
    let disk = LoopDisk::new(DISK_MIB)?;
    let mut broker = Broker::start(&disk.path().join("data"), &SMALL_SEGMENTS).await?;
    let load = Load::start(&broker.endpoint(), Plan { consumers: 1, ..Plan::new(seed) }).await?;
    load.wait_until("a first send", BACK_DEADLINE, |load| load.acknowledged() > 50).await?;

    let ballast = disk.path().join("ballast");
    fill(&ballast)?;
    load.wait_until("a refused send", BACK_DEADLINE, |load| load.refusals().len() > 20).await?;
    let settled = load.settled();
    let acknowledged = load.acknowledged();
    let consumed = |load: &Load| load.settled() >= acknowledged.min(settled + 200);
    load.wait_until("acks on the full disk", BACK_DEADLINE, consumed).await?;
    let (code, reason) = load.refusals().pop().context("no refusal")?;
    eprintln!("full disk: sends are refused with {code}: {reason}");
    ensure!(reason.contains("full"), "the refusal does not say that the disk is full: {reason}");
    ensure!(broker.exited()?.is_none(), "the broker ended on a full disk");

    std::fs::remove_file(&ballast)?;
    let acknowledged = load.acknowledged();
    let works_again = |load: &Load| load.acknowledged() > acknowledged + 100;
    load.wait_until("sends after there was room again", BACK_DEADLINE, works_again).await?;
    judge("full-disk", &load.drain().await?)?;
    broker.finish().await
}

/// Writes to `path` until not one more block fits.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    for block in [1 << 20, 4 << 10] {
        let zeroes = vec![0; block];
        loop {
            match file.write(&zeroes) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => bail!("cannot fill the disk: {error}"),
            }
        }
    }
    file.sync_all().context("flush the ballast")
}
