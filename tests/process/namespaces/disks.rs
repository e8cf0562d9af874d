//! Disks that lose power, that are lost with all they held, and that are full.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use rq_core::ids::StoreId;
use rq_tests::shard::wipe;
use rq_tests::workload::Load;

use super::{RESTLESS, Scene, scenario};
use crate::BACK_DEADLINE;
use crate::full_disk::fill;

#[test]
fn power_lost_under_one_replica_or_both_loses_nothing() -> Result<()> {
    scenario("power lost", &RESTLESS, async |scene| {
        let before = scene.shard.whole().await?;
        lose_power(scene, &[before.slave()]).await.context("the slave")?;
        let before = scene.shard.whole().await?;
        lose_power(scene, &[before.master]).await.context("the master")?;
        let after = scene.shard.whole().await?;
        ensure!(after.epoch > before.epoch, "{after:?} after {before:?}");
        lose_power(scene, &[0, 1]).await.context("both")
    })
}

async fn lose_power(scene: &mut Scene, replicas: &[usize]) -> Result<()> {
    let shard = &scene.shard;
    for nth in replicas {
        shard.replica(*nth).may_fail();
    }
    replicas.iter().try_for_each(|nth| shard.disk(*nth).cut_power())?;
    // They may run on for a moment with dead disks: what they promise then is held against them as well.
    tokio::time::sleep(Duration::from_millis(scene.random.random_range(0..300))).await;
    for nth in replicas {
        shard.replica(*nth).take_away().await?;
    }
    for nth in replicas {
        shard.disk(*nth).power_on()?;
        shard.replica(*nth).bring_back();
    }
    scene.sends_go_on("after the power is back").await
}

#[test]
fn a_replica_whose_disk_was_lost_comes_back_as_a_new_one_with_everything() -> Result<()> {
    scenario("disk lost", &RESTLESS, async |scene| {
        let before = scene.shard.whole().await?;
        lose_disk(scene, before.slave()).await.context("the slave")?;
        let before = scene.shard.whole().await?;
        lose_disk(scene, before.master).await.context("the master")?;
        let after = scene.shard.whole().await?;
        ensure!(after.master == before.slave() && after.epoch > before.epoch, "{after:?} after {before:?}");
        Ok(())
    })
}

async fn lose_disk(scene: &Scene, nth: usize) -> Result<()> {
    let shard = &scene.shard;
    let members = || -> Result<BTreeSet<StoreId>> {
        Ok(shard.config()?.context("a configuration")?.members.into_keys().collect())
    };
    let before = members()?;
    shard.replica(nth).take_away().await?;
    wipe(&shard.data(nth))?;
    shard.replica(nth).bring_back();
    scene.sends_go_on("after the disk was lost").await?;
    shard.whole().await?;
    let after = members()?;
    ensure!(after.len() == 2, "the lost store is still a member: {after:?}");
    ensure!(after.intersection(&before).count() == 1, "no new store among {after:?}, before {before:?}");
    Ok(())
}

#[test]
fn a_full_disk_of_the_slave_refuses_sends_and_changes_nothing_else() -> Result<()> {
    scenario("slave full", &RESTLESS, async |scene| {
        let (shard, load) = (&scene.shard, &scene.load);
        let before = shard.whole().await?;
        let ballast = shard.disk(before.slave()).path().join("ballast");
        fill(&ballast)?;
        load.wait_until("a refused send", BACK_DEADLINE, |load| load.refusals().len() > 20).await?;
        let (code, reason) = load.refusals().pop().context("no refusal")?;
        eprintln!("slave full: sends are refused with {code}: {reason}");
        ensure!(reason.contains("disk is too full"), "the refusal does not say what is full: {reason}");
        let (settled, acknowledged) = (load.settled(), load.acknowledged());
        let consumed = |load: &Load| load.settled() >= acknowledged.min(settled + 50);
        load.wait_until("acks while the slave is full", BACK_DEADLINE, consumed).await?;
        ensure!(shard.view()? == before, "{:?} after {before:?}", shard.view()?);
        ensure!([0, 1].iter().all(|nth| shard.replica(*nth).ended() == 0), "a broker ended on a full disk");

        std::fs::remove_file(&ballast)?;
        scene.sends_go_on("once there is room").await?;
        ensure!(shard.view()? == before, "{:?} after {before:?}", shard.view()?);
        Ok(())
    })
}
