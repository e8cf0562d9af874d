//! A slave that was away catches up on a long log while clients send: what is left of their rate meanwhile.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::Client;
use rq_tests::cluster::Cluster;

use crate::filler::Filling;
use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::{Load, Target};
use crate::senders::Sends;
use crate::session::Session;
use crate::two_replicas::warm;

const TOPIC: &str = "behind";
const BODY_BYTES: u64 = 1024;
const SENDERS: u32 = 64;
/// Least part of the rate with both copies in sync that is left.
const BAR: f64 = 0.5;

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::start_in(session.disk(), &[("RQ_AUTO_CREATE", "true")]).await?;
    cluster.contented();
    let target = warm(&cluster).await?;
    Client::new(&cluster.endpoint(), "bench")?.create_topic(TOPIC, TopicType::Normal, 0).await?;
    let in_sync = session.rounds("both copies in sync", async || rate(session, &target).await).await?;
    let status = cluster.status().await?;
    let slave = status.replicas.iter().find(|replica| Some(&replica.name) != status.master.as_ref());
    let slave = slave.context("no slave")?.name.clone();

    cluster.signal(&slave, "STOP").await?;
    cluster.wait("the slave out of the set", |status| status.in_sync.len() == 1).await?;
    let bytes = session.plan().log_bytes;
    let filling =
        Filling { topic: TOPIC, messages: bytes / BODY_BYTES, body_bytes: BODY_BYTES, ..Filling::default() };
    filling.send(&format!("http://{}", target.address)).await.context("fill the log of the master")?;
    cluster.signal(&slave, "CONT").await?;

    let (began, mut meanwhile) = (Instant::now(), Vec::new());
    loop {
        let sent = rate(session, &target).await?;
        if cluster.status().await?.in_sync.len() == 2 {
            break;
        }
        meanwhile.push(sent);
    }
    let took = began.elapsed().as_secs_f64();
    ensure!(!meanwhile.is_empty(), "it caught up within one window: give a larger --log-mib");
    let usual = Spread::of(in_sync.iter().copied()).median;
    let name = format!("a slave catches up on {} MiB, {SENDERS} senders", bytes >> 20);
    let finding = Finding::new(
        &name,
        "rate meanwhile, of that with both copies in sync",
        Bar::AtLeast(BAR, Unit::Percent),
        Spread::of(meanwhile.iter().map(|sent| sent / usual)),
    );
    Ok(vec![
        finding
            .from("meanwhile", Unit::PerSecond, meanwhile.iter().copied())
            .from("both in sync", Unit::PerSecond, in_sync.iter().copied())
            .from("until it is in sync", Unit::Seconds, [took].into_iter()),
    ])
}

async fn rate(session: &Session, target: &Target) -> Result<f64> {
    let load = Load { senders: SENDERS, ..Load::default() };
    Ok(Sends::of(&load.run(session, target).await?)?.per_second)
}
