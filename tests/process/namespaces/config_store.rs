//! A config store that cannot be reached, and one that lost everything: not found is unknown, never empty.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use rq_tests::broker::Signal;
use rq_tests::shard::Shard;

use super::{LONG, RESTLESS, Scene, scenario};

/// What a broker says of a config store that it cannot use.
const CANNOT_BE_READ: &str = "the config store cannot be read";
/// What it says when it finds nothing where it was a member.
const GONE: &str = "the configuration is gone";

#[test]
fn a_config_store_that_is_away_stops_nothing_but_a_change_of_the_set() -> Result<()> {
    scenario("config store away", &RESTLESS, async |scene| {
        let shard = &scene.shard;
        let before = shard.whole().await?;
        reach(shard, false)?;
        for nth in [0, 1] {
            shard.logs(nth, 0, CANNOT_BE_READ).await?;
        }
        tokio::time::sleep(LONG).await;
        scene.sends_go_on("without the config store").await?;
        ensure!(shard.view()? == before, "{:?} after {before:?}", shard.view()?);

        // Now the set would have to shrink.
        shard.replica(before.slave()).take_away().await?;
        scene.no_send_is_acknowledged("that only one copy has", LONG).await?;
        ensure!(shard.view()? == before, "{:?} after {before:?}", shard.view()?);
        reach(shard, true)?;
        let alone = shard.wait("set of one", |view| view.in_sync.len() == 1).await?;
        ensure!((alone.epoch, alone.master) == (before.epoch, before.master), "{alone:?} after {before:?}");
        scene.sends_go_on("with one copy").await?;
        shard.replica(before.slave()).bring_back();
        shard.whole().await.map(drop)
    })
}

fn reach(shard: &Shard, reach: bool) -> Result<()> {
    [0, 1].into_iter().try_for_each(|nth| shard.reach_config_store(nth, reach))
}

#[test]
fn a_config_store_that_lost_everything_is_never_taken_for_a_new_one() -> Result<()> {
    scenario("config lost", &RESTLESS, async |scene| {
        let shard = &scene.shard;
        let before = shard.whole().await?;
        let kept = shard.config_dir().with_extension("kept");
        fs::rename(shard.config_dir(), &kept)?;
        fs::create_dir(shard.config_dir())?;
        scene.sends_go_on("without a configuration").await?;
        nobody_begins_anew(scene).await?;
        fs::remove_dir_all(shard.config_dir())?;
        fs::rename(kept, shard.config_dir())?;
        let after = shard.whole().await?;
        ensure!(after.epoch > before.epoch, "{after:?} after {before:?}");
        Ok(())
    })
}

/// Both start again and find nothing.
async fn nobody_begins_anew(scene: &Scene) -> Result<()> {
    let shard = &scene.shard;
    let said = [0, 1].map(|nth| shard.replica(nth).log().map(|log| log.len()));
    let said: Vec<usize> = said.into_iter().collect::<Result<_>>()?;
    for nth in [0, 1] {
        shard.replica(nth).signal(Signal::KILL)?;
    }
    for nth in [0, 1] {
        shard.logs(nth, said[nth], GONE).await?;
    }
    scene.no_send_is_acknowledged("without a configuration", LONG).await?;
    ensure!(versions(&shard.config_dir())?.is_empty(), "somebody wrote a configuration afresh");
    Ok(())
}

fn versions(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_version =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("config-"));
    Ok(entries.into_iter().filter(is_version).collect())
}
