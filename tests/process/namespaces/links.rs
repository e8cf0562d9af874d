//! Links that are cut: between the replicas, around one of them, in one direction only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::{Client, Outgoing};
use rq_tests::history::Outcome;
use rq_tests::network::Cut;
use rq_tests::shard::Shard;
use tokio::task::{JoinHandle, JoinSet};

use super::{RESTLESS, Scene, scenario};

/// The topic of the client that shares the fate of a master.
const INSIDE: &str = "inside";
/// From one of its sends to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// For answers that are on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

#[test]
fn a_cut_between_the_replicas_leaves_the_master_and_takes_the_slave_out_of_the_set() -> Result<()> {
    scenario("link cut", &RESTLESS, async |scene| {
        let shard = &scene.shard;
        let before = shard.whole().await?;
        shard.network().cut(before.slave(), Cut::Replicas)?;
        let alone = shard.wait("set of one", |view| view.in_sync.len() == 1).await?;
        ensure!((alone.epoch, alone.master) == (before.epoch, before.master), "{alone:?} after {before:?}");
        scene.sends_go_on("with one copy").await?;
        shard.network().heal()?;
        let after = shard.wait("set of two", |view| view.in_sync.len() == 2).await?;
        ensure!((after.epoch, after.master) == (before.epoch, before.master), "{after:?} after {before:?}");
        Ok(())
    })
}

#[test]
fn a_master_cut_off_from_everything_is_replaced_and_acknowledges_nothing() -> Result<()> {
    scenario("master cut off", &RESTLESS, async |scene| {
        Client::new(&scene.shard.endpoint(), "admin")?.create_topic(INSIDE, TopicType::Normal, 1).await?;
        for cut in [Cut::All, Cut::Outgoing, Cut::Incoming] {
            cut_off(scene, cut).await.with_context(|| format!("{cut:?}"))?;
        }
        Ok(())
    })
}

async fn cut_off(scene: &Scene, cut: Cut) -> Result<()> {
    let shard = &scene.shard;
    let before = shard.whole().await?;
    shard.network().cut(before.master, cut)?;
    shard.reach_config_store(before.master, false)?;
    let stop = Arc::new(AtomicBool::new(false));
    let inside = send_inside(shard, before.master, format!("{cut:?}"), Arc::clone(&stop));
    let after = shard.wait("another master", |view| view.epoch > before.epoch).await?;
    ensure!(after.master == before.slave(), "{after:?} after {before:?}");
    scene.sends_go_on("to the new master").await?;
    // Before the heal: from then on it may pass them on to the new master.
    stop.store(true, Ordering::Relaxed);
    let (asked, outcomes) = inside.await??;
    eprintln!(
        "master cut off, {cut:?}: of {asked} sends from its own machine it answered {}",
        outcomes.len()
    );
    ensure!(asked > 0, "nobody asked the master that was cut off");
    ensure!(!outcomes.iter().any(Outcome::is_ok), "the master that was cut off acknowledged a send");
    shard.reach_config_store(before.master, true)?;
    shard.network().heal()
}

/// Sends to a replica from its own machine, which no cut keeps from it, until told to stop. Many at a time, for each
/// waits long for its answer; those without one by the end are left out.
fn send_inside(
    shard: &Shard,
    nth: usize,
    name: String,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Result<(u32, Vec<Outcome>)>> {
    let endpoint = shard.endpoint_of(nth);
    shard.network().replica(nth).spawn(async move || {
        let client = Client::new(&endpoint, "inside")?;
        let mut sends = JoinSet::new();
        let mut asked = 0;
        while !stop.load(Ordering::Relaxed) {
            let (client, id) = (client.clone(), format!("inside-{name}-{asked}"));
            asked += 1;
            sends.spawn(async move {
                let body = Bytes::from_static(b"nobody else shall have this");
                client.send(&Outgoing { topic: INSIDE, id: &id, message_group: None, body }).await
            });
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(LAST_ANSWERS).await;
        let mut outcomes = Vec::new();
        while let Some(outcome) = sends.try_join_next() {
            outcomes.push(outcome?);
        }
        Ok((asked, outcomes))
    })
}
