//! Failover as a client sees it that retries at once: from its last OK before the fault to its next one, while others send too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::{Client, Outgoing};
use rq_tests::cluster::Cluster;
use rq_tests::history::Outcome;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::session::Session;

const TOPIC: &str = "failover";
/// Clients that send besides the one that is watched.
const OTHERS: usize = 15;
/// Load before each fault.
const BEFORE: Duration = Duration::from_millis(700);
/// A frozen master is woken up after this: the others have a new one by then.
const FROZEN: Duration = Duration::from_secs(6);
/// Until the next OK.
const DEADLINE: Duration = Duration::from_secs(30);

/// What happens to the master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Kill,
    Freeze,
    Switch,
}

impl Fault {
    const fn told(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the master",
            Self::Freeze => "a frozen master",
            Self::Switch => "planned switch",
        }
    }

    /// Most seconds in the median, if there is a bar, and at worst.
    const fn bars(self) -> (Option<f64>, f64) {
        match self {
            Self::Kill => (Some(0.2), 1.0),
            Self::Freeze => (None, 4.0),
            Self::Switch => (None, 0.2),
        }
    }

    async fn strike(self, cluster: &Cluster, master: &str) -> Result<()> {
        match self {
            Self::Kill => cluster.signal(master, "KILL").await,
            Self::Freeze => cluster.signal(master, "STOP").await,
            Self::Switch => cluster.promote(if master == "r0" { "r1" } else { "r0" }).await,
        }
    }
}

pub(crate) async fn measure(session: &Session, fault: Fault) -> Result<Vec<Finding>> {
    let mut cluster = Cluster::start_in(session.disk(), &[]).await?;
    cluster.contented();
    let client = Client::new(&cluster.endpoint(), "watched")?;
    client.create_topic(TOPIC, TopicType::Normal, 0).await?;
    let (oks, mut watched) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    senders.spawn(send(client, "watched".to_owned(), Arc::clone(&stop), Some(oks)));
    for number in 0..OTHERS {
        let name = format!("other-{number}");
        let client = Client::new(&cluster.endpoint(), &name)?;
        senders.spawn(send(client, name, Arc::clone(&stop), None));
    }
    let rounds = session.rounds(fault.told(), async || gap(&cluster, fault, &mut watched).await).await?;
    stop.store(true, Ordering::Relaxed);
    while senders.join_next().await.is_some() {}
    let (median, worst) = fault.bars();
    let largest = rounds.iter().copied().fold(0.0, f64::max);
    let name = format!("{}, {} times", fault.told(), rounds.len());
    let figure = "from the last OK to the next, of a client that retries at once";
    let mut findings = Vec::new();
    if let Some(median) = median {
        let bar = Bar::AtMost(median, Unit::Seconds);
        findings.push(Finding::new(&name, &format!("{figure}: median"), bar, Spread::of(rounds)));
    }
    let bar = Bar::AtMost(worst, Unit::Seconds);
    findings.push(Finding::new(&name, &format!("{figure}: worst"), bar, Spread::of([largest])));
    Ok(findings)
}

/// Sends one message after the other, each until it is accepted, and tells when that was.
async fn send(
    client: Client,
    name: String,
    stop: Arc<AtomicBool>,
    oks: Option<mpsc::UnboundedSender<Instant>>,
) {
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{number}");
        let message =
            Outgoing { topic: TOPIC, id: &id, message_group: None, body: Bytes::from_static(&[7; 1024]) };
        if matches!(client.send(&message).await, Outcome::Ok) {
            number += 1;
            if let Some(oks) = &oks {
                let _ = oks.send(Instant::now());
            }
        } else {
            // At once, but for the rest of the runtime to run.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Lets the fault happen once; the longest time without an OK that it led to, in seconds.
async fn gap(cluster: &Cluster, fault: Fault, oks: &mut mpsc::UnboundedReceiver<Instant>) -> Result<f64> {
    let status = cluster.wait("both copies in sync", |status| status.in_sync.len() == 2).await?;
    let master = status.master.context("a master")?;
    tokio::time::sleep(BEFORE).await;
    while oks.try_recv().is_ok() {}
    let mut last = tokio::time::timeout(DEADLINE, oks.recv()).await?.context("the client sends no more")?;
    let began = Instant::now();
    fault.strike(cluster, &master).await?;
    let mut longest = Duration::ZERO;
    // Another epoch serves, and the client has got an OK of it.
    let epoch = status.epoch;
    let changed = cluster.wait("another epoch", |status| status.epoch > epoch && status.master.is_some());
    tokio::pin!(changed);
    let mut after = None;
    while after.is_none_or(|after| last < after) {
        ensure!(began.elapsed() < 2 * DEADLINE, "no OK after {}", fault.told());
        tokio::select! {
            changed = &mut changed, if after.is_none() => {
                changed?;
                after = Some(Instant::now());
            }
            ok = oks.recv() => {
                let ok = ok.context("the client sends no more")?;
                longest = longest.max(ok.duration_since(last));
                last = ok;
            }
        }
    }
    if fault == Fault::Freeze {
        tokio::time::sleep(FROZEN.saturating_sub(began.elapsed())).await;
        cluster.signal(&master, "CONT").await?;
    }
    Ok(longest.as_secs_f64())
}
