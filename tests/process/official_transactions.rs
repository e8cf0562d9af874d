//! The official Go client as a producer of half messages, and a master that is killed between any two steps of a transaction:
//! of one that its producer ends, and of one that it is asked about. What is committed comes exactly once, what is rolled
//! back never.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::Client;
use rq_tests::cluster::Cluster;
use rq_tests::go_client::Running;
use rq_tests::language::{Build, Language};

use crate::check_back::{GROUP, consumed};
use crate::{BACK_DEADLINE, RESTLESS_REPLICAS as RESTLESS};

const TOPIC: &str = "official-payments";

/// When the master is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The half message is stored, and its producer has not ended the transaction.
    Stored,
    /// Its end is under way.
    Ending,
    /// Its end was confirmed.
    Ended,
    /// The producer was asked, and has not answered.
    Asked,
    /// Its answer is under way.
    Answering,
}

const STEPS: [Step; 5] = [Step::Stored, Step::Ending, Step::Ended, Step::Asked, Step::Answering];
/// What a body begins with says to the client how its transaction ends.
const ENDINGS: [&str; 2] = ["commit", "roll back"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_official_producer_ends_its_transactions_wherever_the_master_is_killed() -> Result<()> {
    let Some(build) = Language::of("go")?.build()? else { return Ok(()) };
    let cluster = Cluster::start(&RESTLESS).await?;
    let admin = Client::new(&cluster.endpoint(), "admin")?;
    admin.create_topic(TOPIC, TopicType::Transaction, 4).await?;
    admin.create_group(GROUP, false).await?;
    let mut committed = Vec::new();
    for step in STEPS {
        for ending in ENDINGS {
            let body = format!("{ending}: {step:?}");
            cluster.whole().await?;
            let round = tokio::time::timeout(2 * BACK_DEADLINE, one_round(step, &body, &cluster, &build));
            round.await.context("the transaction does not end").flatten().with_context(|| body.clone())?;
            if ending == ENDINGS[0] {
                committed.push(body);
            }
        }
    }
    let mut came = consumed(&cluster, TOPIC).await?;
    came.sort();
    committed.sort();
    ensure!(came == committed, "committed: {committed:?}, consumed: {came:?}");
    cluster.whole().await?;
    cluster.finish().await
}

/// One transaction of a producer that lives, until nothing is open any more.
async fn one_round(step: Step, body: &str, cluster: &Cluster, build: &Build) -> Result<()> {
    let mut producer = Producer::start(build, &cluster.address()).await?;
    producer.tell("send", body).await?;
    producer.says("stored", body).await?;
    let kill = || cluster.signal("master", "KILL");
    match step {
        Step::Stored => {
            kill().await?;
            producer.tell("end", body).await?;
            producer.says("ended", body).await
        }
        Step::Ending => {
            tokio::try_join!(kill(), producer.tell("end", body))?;
            producer.says("ended", body).await
        }
        Step::Ended => {
            producer.tell("end", body).await?;
            producer.says("ended", body).await?;
            kill().await
        }
        Step::Asked => {
            producer.says("asked", body).await?;
            kill().await?;
            producer.tell("answer", body).await?;
            another_is_asked(body, cluster, build).await
        }
        Step::Answering => {
            producer.says("asked", body).await?;
            tokio::try_join!(kill(), producer.tell("answer", body))?;
            another_is_asked(body, cluster, build).await
        }
    }
}

/// A stream of this client that broke is opened again up to five minutes later. Until then another instance is there to be
/// asked, as in a service with more than one, unless the answer of the first was in time.
async fn another_is_asked(body: &str, cluster: &Cluster, build: &Build) -> Result<()> {
    let mut another = Producer::start(build, &cluster.address()).await?;
    another.tell("answer", body).await?;
    let client = Client::new(&cluster.endpoint(), "looks")?;
    while client.has_open_transactions(TOPIC).await != Some(false) {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// The running client.
struct Producer {
    program: Running,
    /// What it has said and nobody waited for.
    heard: BTreeSet<String>,
}

impl Producer {
    async fn start(build: &Build, address: &str) -> Result<Self> {
        let program = Running::start(build, address, &["--in-steps", TOPIC])?;
        let mut producer = Self { program, heard: BTreeSet::new() };
        producer.says("ready", TOPIC).await?;
        Ok(producer)
    }

    async fn tell(&mut self, command: &str, body: &str) -> Result<()> {
        self.program.tell(&format!("{command} {body}")).await
    }

    /// Waits until it has said this.
    async fn says(&mut self, what: &str, body: &str) -> Result<()> {
        let wanted = format!("{what} {body}");
        while !self.heard.remove(&wanted) {
            match tokio::time::timeout(BACK_DEADLINE, self.program.next_line()).await {
                Ok(Ok(Some(line))) => drop(self.heard.insert(line)),
                Ok(ended) => bail!("the Go client ended before it said {wanted:?}: {ended:?}"),
                Err(_) => bail!("the Go client does not say {wanted:?}; it said {:?}", self.heard),
            }
        }
        Ok(())
    }
}
