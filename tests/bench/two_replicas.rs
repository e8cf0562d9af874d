//! What the second copy costs: the same load on two replicas on one disk, on a broker alone, and on a server that stores
//! nothing.

use anyhow::{Context as _, Result};
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::Client;
use rq_tests::cluster::Cluster;

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::{Load, Target};
use crate::senders::Sends;
use crate::session::{Session, WARM_UP, idle, target};

/// Least part of the rate of a broker alone, for many senders.
const RATE_BAR: f64 = 0.5;
/// Most processor time of both processes for a message, as a multiple of what the server that stores nothing takes.
const CPU_BAR: f64 = 2.0;
/// Most latency of one sender, as a multiple of that on a broker alone.
const P50_BAR: f64 = 2.2;

pub(crate) async fn measure(session: &Session, senders: u32) -> Result<Vec<Finding>> {
    let name = format!("two replicas, {senders} senders");
    let (alone, null) = (session.warm_broker(&format!("alone-{senders}")).await?, session.null()?);
    let mut cluster = Cluster::start_in(session.disk(), &[("RQ_AUTO_CREATE", "true")]).await?;
    cluster.contented();
    let two = warm(&cluster).await?;
    let load = Load { senders, ..Load::default() };
    let rounds = session.rounds(&name, async || {
        let stored_twice = Sends::of(&load.run(session, &two).await?)?;
        let stored_once = Sends::of(&load.run(session, &target(&alone)?).await?)?;
        Ok((stored_twice, stored_once, Sends::of(&load.run(session, &null.target()).await?)?))
    });
    let rounds = rounds.await?;
    let p50 = |sends: &Sends| sends.p50_us;
    if senders == 1 {
        let ratios = rounds.iter().map(|(two, one, _)| two.p50_us / one.p50_us);
        let finding = Finding::new(
            &name,
            "p50, of a broker alone",
            Bar::AtMost(P50_BAR, Unit::Times),
            Spread::of(ratios),
        );
        return Ok(vec![
            finding.from("two replicas", Unit::Microseconds, rounds.iter().map(|(two, ..)| p50(two))).from(
                "alone",
                Unit::Microseconds,
                rounds.iter().map(|(_, one, _)| p50(one)),
            ),
        ]);
    }
    let rate = Finding::new(
        &name,
        "rate, of a broker alone",
        Bar::AtLeast(RATE_BAR, Unit::Percent),
        Spread::of(rounds.iter().map(|(two, one, _)| two.per_second / one.per_second)),
    );
    let cpu = Finding::new(
        &name,
        "processor time of both for an acknowledged message, of a server that stores nothing",
        Bar::AtMost(CPU_BAR, Unit::Times),
        Spread::of(rounds.iter().map(|(two, _, null)| two.cpu_us / null.cpu_us)),
    );
    Ok(vec![
        rate.from("two replicas", Unit::PerSecond, rounds.iter().map(|(two, ..)| two.per_second)).from(
            "alone",
            Unit::PerSecond,
            rounds.iter().map(|(_, one, _)| one.per_second),
        ),
        cpu.from("both replicas", Unit::Microseconds, rounds.iter().map(|(two, ..)| two.cpu_us)).from(
            "nothing stored",
            Unit::Microseconds,
            rounds.iter().map(|(.., null)| null.cpu_us),
        ),
    ])
}

/// Brings both copies to where they stay, as a broker alone is.
pub(crate) async fn warm(cluster: &Cluster) -> Result<Target> {
    let client = Client::new(&cluster.endpoint(), "bench")?;
    client.create_topic(WARM_UP.topic, TopicType::Normal, 0).await?;
    WARM_UP.send(&cluster.endpoint()).await.context("warm the cluster up")?;
    let target = master(cluster).await?;
    for pid in &target.pids {
        idle(*pid).await?;
    }
    Ok(target)
}

/// Where the master is loaded without the front, and the processes of both.
pub(crate) async fn master(cluster: &Cluster) -> Result<Target> {
    let status = cluster.whole().await?;
    let pids: Option<Vec<u32>> = status.replicas.iter().map(|replica| replica.pid).collect();
    let master = status.replicas.iter().find(|replica| Some(&replica.name) == status.master.as_ref());
    let address = master.context("no master")?.endpoint.clone();
    Ok(Target { address, pids: pids.context("a replica without a process")? })
}
