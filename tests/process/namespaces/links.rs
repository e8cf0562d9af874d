//! Links that are cut: between the replicas, around one of them, in one direction only.

use anyhow::{Result, ensure};
use rq_tests::network::Cut;

use super::{RESTLESS, scenario};

#[test]
fn a_cut_between_the_replicas_leaves_the_master_and_takes_the_slave_out_of_the_set() -> Result<()> {
    scenario("link cut", &RESTLESS, async |scene| {
        let shard = &scene.shard;
        let before = shard.whole().await?;
        shard.network().cut(before.slave(), Cut::Replicas)?;
        let alone = shard.wait("a set of one", |view| view.in_sync.len() == 1).await?;
        ensure!((alone.epoch, alone.master) == (before.epoch, before.master), "{alone:?} after {before:?}");
        scene.sends_go_on("with one copy").await?;
        shard.network().heal()?;
        let after = shard.wait("a set of two", |view| view.in_sync.len() == 2).await?;
        ensure!((after.epoch, after.master) == (before.epoch, before.master), "{after:?} after {before:?}");
        Ok(())
    })
}
