//! A producer that died before it ended its transactions, and a master that is killed while another producer is asked about
//! them: at each step of a check-back. What is committed comes exactly once, what is rolled back never.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::{Asked, Checks, Client, Incoming, Outgoing};
use rq_tests::cluster::Cluster;
use rq_tests::history::Outcome;

use crate::{BACK_DEADLINE, RESTLESS_REPLICAS as RESTLESS};

const TOPIC: &str = "payments";
pub(crate) const GROUP: &str = "ledger";
/// Within this a call is at the master; much shorter than the time after which a slave that stands still is left out.
const ARRIVAL: Duration = Duration::from_millis(200);
/// After the last end, so long is waited for messages that should not come: more than two checks take.
const QUIET: Duration = Duration::from_secs(3);

/// When the master is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The half messages are stored, nobody was asked.
    HalfStored,
    /// The producer was asked, and has not answered.
    Asked,
    /// Its answer is under way.
    Answering,
    /// Its answer was confirmed.
    Answered,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_back_goes_on_wherever_the_master_is_killed() -> Result<()> {
    let cluster = Cluster::start(&RESTLESS).await?;
    let admin = Client::new(&cluster.endpoint(), "admin")?;
    admin.create_topic(TOPIC, TopicType::Transaction, 4).await?;
    admin.create_group(GROUP, false).await?;
    let mut checks = Checks::open(&Client::new(&cluster.endpoint(), "lives")?, TOPIC).await?;
    let mut paid = Vec::new();
    for step in [Step::HalfStored, Step::Asked, Step::Answering, Step::Answered] {
        cluster.whole().await?;
        let round = tokio::time::timeout(BACK_DEADLINE, one_round(step, &cluster, &mut checks));
        round.await.context("the transactions do not end").flatten().with_context(|| format!("{step:?}"))?;
        paid.push(id("paid", step));
    }
    let mut consumed = consumed(&cluster, TOPIC).await?;
    consumed.sort();
    paid.sort();
    ensure!(consumed == paid, "committed: {paid:?}, consumed: {consumed:?}");
    cluster.whole().await?;
    cluster.finish().await
}

/// Both transactions of a producer that is gone at once are ended by the one that is asked.
async fn one_round(step: Step, cluster: &Cluster, checks: &mut Checks) -> Result<()> {
    let dies = Client::new(&cluster.endpoint(), &format!("dies-{step:?}"))?;
    let (paid, refused) = (id("paid", step), id("refused", step));
    for id in [&paid, &refused] {
        let message = Outgoing { topic: TOPIC, id, message_group: None, body: id.clone().into() };
        let (outcome, _) = dies.send_half(&message).await;
        ensure!(outcome.is_ok(), "{outcome:?}");
    }
    drop(dies);
    if step == Step::HalfStored {
        cluster.signal("master", "KILL").await?;
    }
    let mut open = vec![paid.clone(), refused];
    let mut struck = step == Step::HalfStored;
    while !open.is_empty() {
        let asked = checks.next().await;
        // A check of before may arrive late.
        if !open.contains(&asked.message_id) {
            continue;
        }
        let commit = asked.message_id == paid;
        let ended = if struck {
            end(cluster, &asked, commit).await?.is_ok()
        } else {
            struck = true;
            answered_while_the_master_dies(step, cluster, &asked, commit).await?
        };
        if ended {
            open.retain(|id| *id != asked.message_id);
        }
    }
    Ok(())
}

/// Whether the end was confirmed.
async fn answered_while_the_master_dies(
    step: Step,
    cluster: &Cluster,
    asked: &Asked,
    commit: bool,
) -> Result<bool> {
    let kill = || cluster.signal("master", "KILL");
    match step {
        Step::HalfStored | Step::Asked => kill().await.map(|()| false),
        Step::Answering => {
            let ended = while_the_master_dies(cluster, Box::pin(end(cluster, asked, commit))).await?;
            Ok(ended.is_ok())
        }
        Step::Answered => {
            let ended = end(cluster, asked, commit).await?;
            ensure!(ended.is_ok(), "{ended:?}");
            kill().await?;
            let again = end(cluster, asked, commit).await?;
            ensure!(again.is_ok(), "said again to the new master: {again:?}");
            Ok(true)
        }
    }
}

/// Has something done that the master cannot commit, because its slave stands still, and kills the master meanwhile.
pub(crate) async fn while_the_master_dies<T>(
    cluster: &Cluster,
    act: impl Future<Output = Result<T>>,
) -> Result<T> {
    let status = cluster.status().await?;
    let slave =
        status.in_sync.iter().find(|name| Some(*name) != status.master.as_ref()).context("no slave")?;
    cluster.signal(slave, "STOP").await?;
    let strike = async {
        // It need not have arrived: then it is carried out by the next master alone.
        tokio::time::sleep(ARRIVAL).await;
        cluster.signal("master", "KILL").await?;
        cluster.signal(slave, "CONT").await
    };
    tokio::try_join!(strike, act).map(|((), done)| done)
}

/// Ends a transaction from a new client, as one that came back would. A call that broke is made again.
async fn end(cluster: &Cluster, asked: &Asked, commit: bool) -> Result<Outcome> {
    let client = Client::new(&cluster.endpoint(), "answers")?;
    loop {
        let outcome = client.end(TOPIC, &asked.transaction_id, commit).await;
        if !outcome.is_unknown() {
            return Ok(outcome);
        }
    }
}

/// Everything that the group gets of a topic, until nothing more comes.
pub(crate) async fn consumed(cluster: &Cluster, topic: &str) -> Result<Vec<String>> {
    let client = Client::new(&cluster.endpoint(), "consumer")?;
    let what = Incoming {
        topic,
        group: GROUP,
        batch: 32,
        invisible: BACK_DEADLINE,
        wait: QUIET,
        ..Incoming::default()
    };
    let mut bodies = Vec::new();
    loop {
        let (outcome, received) = client.receive(what).await;
        ensure!(outcome.is_ok(), "{outcome:?}");
        if received.is_empty() {
            return Ok(bodies);
        }
        for message in &received {
            bodies.push(String::from_utf8(message.body.to_vec())?);
        }
        let handles: Vec<_> = received.into_iter().map(|message| (message.id, message.handle)).collect();
        for acked in client.ack(topic, GROUP, &handles).await {
            ensure!(acked.is_ok(), "{acked:?}");
        }
    }
}

fn id(what: &str, step: Step) -> String {
    format!("{what}-{step:?}")
}
