//! Processes that are killed and come back as pods do, and a master that is frozen: slaves take over by themselves.

use anyhow::{Result, ensure};
use rq_tests::broker::Signal;

use super::{LONG, RESTLESS, scenario};

#[test]
fn a_slave_takes_over_by_itself_from_a_master_that_is_killed_or_frozen() -> Result<()> {
    scenario("pods killed", &RESTLESS, async |scene| {
        let shard = &scene.shard;
        let before = shard.whole().await?;
        shard.replica(before.slave()).signal(Signal::KILL)?;
        scene.sends_go_on("after the slave was killed").await?;
        let after = shard.whole().await?;
        ensure!((after.epoch, after.master) == (before.epoch, before.master), "{after:?} after {before:?}");

        shard.replica(after.master).signal(Signal::KILL)?;
        scene.sends_go_on("after the master was killed").await?;
        let after = shard.wait("another epoch", |view| view.epoch > before.epoch).await?;
        shard.whole().await?;

        shard.replica(after.master).signal(Signal::STOP)?;
        let replaced = shard.wait("another master", |view| view.master == after.slave()).await?;
        ensure!(replaced.epoch > after.epoch, "{replaced:?} after {after:?}");
        scene.sends_go_on("while the old master is frozen").await?;
        tokio::time::sleep(LONG).await;
        shard.replica(after.master).signal(Signal::CONT)?;
        let whole = shard.whole().await?;
        ensure!(whole.master == replaced.master, "{whole:?} after {replaced:?}");
        Ok(())
    })
}
