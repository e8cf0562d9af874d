//! Two replicas on machines of their own, as far as one machine can be several: each in a network namespace and on a disk
//! of its own. Whatever happens to them under load, nothing acknowledged may be missing afterwards, both copies must be
//! the same, and the shard must be whole again without a hand.

#[path = "namespaces/bit_rot.rs"]
mod bit_rot;
#[path = "namespaces/config_store.rs"]
mod config_store;
#[path = "namespaces/disks.rs"]
mod disks;
#[path = "namespaces/kills.rs"]
mod kills;
#[path = "namespaces/links.rs"]
mod links;
#[path = "namespaces/network.rs"]
mod network;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rq_tests::go_client::{GoClient, Sends};
use rq_tests::network::Network;
use rq_tests::requirement::{Requirement, can_run};
use rq_tests::run::{randomness, rounds, seed};
use rq_tests::shard::Shard;
use rq_tests::workload::{Load, Plan, judge_all};

use crate::{BACK_DEADLINE, RESTLESS_REPLICAS as RESTLESS};

const NEEDS: [Requirement; 3] = [Requirement::Root, Requirement::LoopDevice, Requirement::Namespaces];
const DISK_MIB: u64 = 512;
/// Further acknowledged messages that show that sends go on.
const GOING_ON: usize = 20;
/// Answers that are on their way have arrived after this.
const IN_FLIGHT: Duration = Duration::from_secs(1);
/// Longer than everybody's patience with a silent master.
const LONG: Duration = Duration::from_secs(6);

/// A shard under load.
pub(crate) struct Scene {
    pub(crate) shard: Shard,
    pub(crate) load: Load,
    pub(crate) random: StdRng,
}

impl Scene {
    /// No send may be acknowledged from a moment after now for so long.
    pub(crate) async fn no_send_is_acknowledged(&self, when: &str, lasting: Duration) -> Result<()> {
        // What was committed before may be answered yet.
        tokio::time::sleep(IN_FLIGHT).await;
        let acknowledged = self.load.acknowledged();
        tokio::time::sleep(lasting).await;
        let more = self.load.acknowledged() - acknowledged;
        ensure!(more == 0, "{more} sends were acknowledged {when}");
        Ok(())
    }

    /// Waits until further sends are acknowledged.
    pub(crate) async fn sends_go_on(&self, when: &str) -> Result<()> {
        let acknowledged = self.load.acknowledged();
        let more = |load: &Load| load.acknowledged() >= acknowledged + GOING_ON;
        self.load.wait_until(&format!("sends {when}"), BACK_DEADLINE, more).await
    }
}

/// Lets `fault` happen to a shard under load, again and again in the soak, and judges all that its clients saw.
pub(crate) fn scenario(
    name: &str,
    settings: &[(&str, &str)],
    fault: impl AsyncFn(&mut Scene) -> Result<()> + Sync,
) -> Result<()> {
    if !can_run(name, &NEEDS)? {
        return Ok(());
    }
    let seed = seed(name);
    for nth in 0..rounds(1, 20) {
        let seed = seed.wrapping_add(nth.into());
        history(name, seed, settings, &fault).with_context(|| format!("{name}: RQ_SEED={seed}"))?;
    }
    Ok(())
}

fn history(
    name: &str,
    seed: u64,
    settings: &[(&str, &str)],
    fault: &(impl AsyncFn(&mut Scene) -> Result<()> + Sync),
) -> Result<()> {
    Network::new(2)?.run(async move |network| {
        let shard = Shard::start(network, DISK_MIB, settings).await?;
        let plan = Plan { producers: 3, ordered_producers: 3, consumers: 1, ..Plan::new(seed) };
        let load = Load::start(&shard.endpoint(), plan).await?;
        let official = |sends| {
            let (endpoint, address) = (shard.endpoint(), shard.address());
            async move { GoClient::start(&endpoint, &address, sends).await }
        };
        let (plain, in_transactions) =
            tokio::try_join!(official(Sends::Plain), official(Sends::HalfMessages))?;
        let mut scene = Scene { shard, load, random: randomness(seed, 102) };
        scene.sends_go_on("at first").await?;
        fault(&mut scene).await?;
        scene.sends_go_on("after all").await?;
        let Scene { shard, load, .. } = scene;
        let (history, plain, in_transactions) =
            tokio::join!(load.drain(), plain.finish(), in_transactions.finish());
        judge_all(name, &history?)?;
        eprintln!("{name}: the official Go client: {}; in transactions: {}", plain?, in_transactions?);
        shard.whole().await?;
        shard.finish().await
    })
}
