//! Every official client as a producer of half messages, and a master that is killed between any two steps of a transaction:
//! of one that its producer ends, and of one that it is asked about, where it may die as well. What is committed comes exactly once, what is rolled
//! back never.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::Client;
use rq_tests::client_program::ClientProgram;
use rq_tests::cluster::Cluster;
use rq_tests::language::{Build, LANGUAGES, Language};

use crate::check_back::{GROUP, consumed, while_the_master_dies};
use crate::{BACK_DEADLINE, RESTLESS_REPLICAS as RESTLESS};

/// When the master is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The half messages are stored, and their producer has not ended the transactions.
    Stored,
    /// Their end is under way.
    Ending,
    /// Their end was confirmed.
    Ended,
    /// The producer was asked. It dies too, and never answers.
    Asked,
    /// Its answer is under way.
    Answering,
}

const STEPS: [Step; 5] = [Step::Stored, Step::Ending, Step::Ended, Step::Asked, Step::Answering];
/// What a body begins with says to the client how its transaction ends.
const ENDINGS: [&str; 2] = ["commit", "roll back"];
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn official_producers_end_their_transactions_wherever_the_master_is_killed() -> Result<()> {
    let services = LANGUAGES.iter().filter_map(|language| Service::of(language).transpose());
    let services: Vec<Service> = services.collect::<Result<_>>()?;
    if services.is_empty() {
        return Ok(());
    }
    let cluster = Cluster::start(&RESTLESS).await?;
    let admin = Client::new(&cluster.endpoint(), "admin")?;
    for service in &services {
        admin.create_topic(&service.topic, TopicType::Transaction, 4).await?;
    }
    admin.create_group(GROUP, false).await?;
    for step in STEPS {
        cluster.whole().await?;
        let round = tokio::time::timeout(2 * BACK_DEADLINE, one_round(step, &cluster, &services));
        round.await.context("the transactions do not end").flatten().with_context(|| format!("{step:?}"))?;
    }
    try_join_all(services.iter().map(|service| service.judged(&cluster))).await?;
    cluster.whole().await?;
    cluster.finish().await
}

/// A committed and a rolled back transaction of a producer in each language, until nothing is open any more.
async fn one_round(step: Step, cluster: &Cluster, services: &[Service]) -> Result<()> {
    let reached = services.iter().map(|service| service.reach(step, cluster));
    let mut producers = try_join_all(reached).await?;
    if matches!(step, Step::Ending | Step::Answering) {
        while_the_master_dies(cluster, go_on(step, &mut producers)).await?;
    } else {
        cluster.signal("master", "KILL").await?;
        go_on(step, &mut producers).await?;
    }
    try_join_all(producers.into_iter().map(|producer| producer.finish(step, cluster))).await?;
    Ok(())
}

/// What each producer does next.
async fn go_on(step: Step, producers: &mut [Producer<'_>]) -> Result<()> {
    let command = match step {
        Step::Stored | Step::Ending => "end",
        Step::Ended | Step::Asked => return Ok(()),
        Step::Answering => "answer",
    };
    try_join_all(producers.iter_mut().map(|producer| producer.tell(command))).await?;
    Ok(())
}

/// What has transactions in one language: one topic, and one instance or two.
struct Service {
    language: &'static Language,
    build: Build,
    topic: String,
}

impl Service {
    /// None where its toolchain is missing.
    fn of(language: &'static Language) -> Result<Option<Self>> {
        let topic = format!("payments-{}", language.folder);
        Ok(language.build()?.map(|build| Self { language, build, topic }))
    }

    async fn instance(&self, step: Step, cluster: &Cluster) -> Result<Producer<'_>> {
        let program =
            ClientProgram::start(&self.build, &cluster.address(), &["--in-steps", &self.topic], &[])?;
        let bodies = ENDINGS.map(|ending| body(ending, step));
        let mut producer = Producer { service: self, program, bodies, heard: BTreeSet::new() };
        producer.says(&[format!("ready {}", self.topic)]).await?;
        Ok(producer)
    }

    /// A new instance, brought to where the master is killed.
    async fn reach(&self, step: Step, cluster: &Cluster) -> Result<Producer<'_>> {
        let mut producer = self.instance(step, cluster).await?;
        producer.tell("send").await?;
        for body in producer.bodies.clone() {
            producer.says(&[format!("stored {body}")]).await?;
        }
        match step {
            Step::Stored | Step::Ending => {}
            Step::Ended => {
                producer.tell("end").await?;
                ensure!(producer.is_decided().await?, "{}: an end was refused", self.language.label);
            }
            // Some clients check one transaction after the other.
            Step::Asked | Step::Answering => drop(producer.says(&producer.each("asked")).await?),
        }
        Ok(producer)
    }

    /// Fails unless what its producers committed came, once, and nothing else.
    async fn judged(&self, cluster: &Cluster) -> Result<()> {
        let mut committed = STEPS.map(|step| body(ENDINGS[0], step));
        committed.sort();
        let mut came = consumed(cluster, &self.topic).await?;
        came.sort();
        ensure!(came == committed, "{}: committed {committed:?}, consumed {came:?}", self.language.label);
        Ok(())
    }
}

fn body(ending: &str, step: Step) -> String {
    format!("{ending}: {step:?}")
}

/// A running client.
struct Producer<'a> {
    service: &'a Service,
    program: ClientProgram,
    bodies: [String; 2],
    /// What it has said and nobody waited for.
    heard: BTreeSet<String>,
}

impl Producer<'_> {
    /// Tells it to do this for both transactions.
    async fn tell(&mut self, command: &str) -> Result<()> {
        for body in &self.bodies {
            self.program.tell(&format!("{command} {body}")).await?;
        }
        Ok(())
    }

    /// What it says of either transaction.
    fn each(&self, what: &str) -> [String; 2] {
        self.bodies.each_ref().map(|body| format!("{what} {body}"))
    }

    /// Waits until it has said one of these, and returns which.
    async fn says(&mut self, wanted: &[String]) -> Result<String> {
        let language = self.service.language.label;
        loop {
            if let Some(said) = wanted.iter().find_map(|wanted| self.heard.take(wanted)) {
                return Ok(said);
            }
            match tokio::time::timeout(BACK_DEADLINE, self.program.next_line()).await {
                Ok(Ok(Some(line))) => drop(self.heard.insert(line)),
                ended => bail!(
                    "{language}: waited for one of {wanted:?}, heard {:?}, then {ended:?}\n{}",
                    self.heard,
                    self.program.last_errors()
                ),
            }
        }
    }

    /// Waits until both transactions are ended; `false` when a client that tries once has to be asked.
    async fn is_decided(&mut self) -> Result<bool> {
        let mut decided = true;
        for body in self.bodies.clone() {
            let ended = format!("ended {body}");
            decided &= self.says(&[ended.clone(), format!("undecided {body}")]).await? == ended;
        }
        Ok(decided)
    }

    /// Waits until nothing is open. The streams of some clients that broke are opened again minutes later. Until then another
    /// instance is there to be asked, as in a service with more than one.
    async fn finish(mut self, step: Step, cluster: &Cluster) -> Result<()> {
        match step {
            Step::Ended => return Ok(()),
            Step::Stored | Step::Ending if self.is_decided().await? => return Ok(()),
            Step::Stored | Step::Ending | Step::Answering => {}
            Step::Asked => self.program.kill().await?,
        }
        let mut another = self.service.instance(step, cluster).await?;
        another.tell("answer").await?;
        let client = Client::new(&cluster.endpoint(), "looks")?;
        while client.has_open_transactions(&self.service.topic).await != Some(false) {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}
