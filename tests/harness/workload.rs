//! The load of the crash tests: producers that retry what they cannot know, consumers that ack, forget, give back,
//! ack too late, repeat a receive and have their leases renewed, on a normal topic, a FIFO topic, and if the plan says so on one
//! of transactions and one of delayed messages. Everything goes into a history; the load judges nothing while it runs and
//! goes on through every fault, as real clients would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rq_proto::reliablequeue::TopicType;
use tokio::task::JoinSet;

use crate::checker;
use crate::client::{Client, Outgoing};
use crate::history::{History, Hold, Outcome, Recorder, Send};
use crate::run::randomness;

mod consumer;
mod held;

use consumer::Consumer;
use held::HeldProducer;

/// Between two tries while the broker is away.
const PAUSE: Duration = Duration::from_millis(20);
/// After the last ack, so long past a lease is watched for messages that come back.
const QUIET: Duration = Duration::from_secs(1);
/// Violations shown of a wrong history.
const SHOWN: usize = 10;

/// Who does what in a load.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Makes the load repeatable as far as the schedule allows.
    pub seed: u64,
    /// Producers without order.
    pub producers: usize,
    /// Producers with one message group each.
    pub ordered_producers: usize,
    /// Consumers of the normal topic, and as many of the FIFO topic.
    pub consumers: usize,
    /// Further consumers of each topic, whose leases the broker renews.
    pub renewing_consumers: usize,
    /// Half messages and delayed ones too.
    pub held: bool,
    /// Length of a lease.
    pub invisible: Duration,
    /// Largest body, in bytes.
    pub largest_body: usize,
    /// The drain gives up when nothing was settled for so long.
    pub patience: Duration,
}

impl Plan {
    /// A load for two cores.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            producers: 6,
            ordered_producers: 6,
            consumers: 2,
            renewing_consumers: 1,
            held: true,
            invisible: Duration::from_secs(3),
            largest_body: 48 << 10,
            patience: Duration::from_secs(45),
        }
    }

    fn lanes(self) -> impl Iterator<Item = Lane> {
        LANES.into_iter().filter(move |lane| self.held || !lane.is_held())
    }
}

/// A topic with the one group that consumes it.
#[derive(Clone, Copy, Debug)]
struct Lane {
    /// Its place in [`LANES`].
    nth: usize,
    topic: &'static str,
    group: &'static str,
    kind: TopicType,
    /// Its producers wait while so many acknowledged messages are not settled: the drain shall end soon. Few in order,
    /// where a forgotten message holds up its message group for a whole lease.
    most_owed: usize,
}

/// Each with a group of its own.
const LANES: [Lane; 4] = [
    Lane {
        nth: 0,
        topic: "load-normal",
        group: "load-normal-group",
        kind: TopicType::Normal,
        most_owed: 3_000,
    },
    Lane { nth: 1, topic: "load-fifo", group: "load-fifo-group", kind: TopicType::Fifo, most_owed: 150 },
    Lane {
        nth: 2,
        topic: "load-transactions",
        group: "load-transactions-group",
        kind: TopicType::Transaction,
        most_owed: 300,
    },
    Lane {
        nth: 3,
        topic: "load-delayed",
        group: "load-delayed-group",
        kind: TopicType::Delay,
        most_owed: 300,
    },
];
/// Producers of each topic whose messages wait; as many consumers as one.
const HELD_PRODUCERS: usize = 2;

impl Lane {
    fn is_ordered(self) -> bool {
        self.kind == TopicType::Fifo
    }

    fn is_delayed(self) -> bool {
        self.kind == TopicType::Delay
    }

    /// Its messages wait before anybody may see them.
    fn is_held(self) -> bool {
        matches!(self.kind, TopicType::Transaction | TopicType::Delay)
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    producers: JoinSet<()>,
    consumers: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    endpoint: String,
    plan: Plan,
    recorder: Recorder,
    /// One for each of [`LANES`].
    ledgers: [Mutex<Ledger>; LANES.len()],
    producing: AtomicBool,
    stopped: AtomicBool,
}

/// What was acknowledged to producers, what was acked by consumers, and the difference.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: BTreeSet<String>,
    settled: BTreeSet<String>,
    owed: usize,
}

impl Ledger {
    fn acknowledge(&mut self, id: &str) {
        if self.acknowledged.insert(id.to_string()) && !self.settled.contains(id) {
            self.owed += 1;
        }
    }

    fn settle(&mut self, id: &str) {
        if self.settled.insert(id.to_string()) && self.acknowledged.contains(id) {
            self.owed -= 1;
        }
    }
}

impl Load {
    /// Makes the topics and groups and starts all clients. The broker must serve.
    pub async fn start(endpoint: &str, plan: Plan) -> Result<Self> {
        let client = Client::new(endpoint, "load-admin")?;
        for lane in plan.lanes() {
            client.create_topic(lane.topic, lane.kind, 4).await?;
            client.create_group(lane.group, lane.is_ordered()).await?;
        }
        let ordered = LANES.iter().filter(|lane| lane.is_ordered()).map(|lane| lane.group.to_string());
        let shared = Arc::new(Shared {
            endpoint: endpoint.to_string(),
            plan,
            recorder: Recorder::new(ordered),
            ledgers: Default::default(),
            producing: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
        });
        let mut load = Self { shared, producers: JoinSet::new(), consumers: JoinSet::new() };
        for lane in plan.lanes() {
            if lane.is_held() {
                for nth in 0..HELD_PRODUCERS {
                    load.producers.spawn(HeldProducer::new(&load.shared, lane, nth)?.run());
                }
                load.consumers.spawn(Consumer::new(&load.shared, lane, 0, false)?.run());
                continue;
            }
            let producers = if lane.is_ordered() { plan.ordered_producers } else { plan.producers };
            for nth in 0..producers {
                let producer = Producer::new(&load.shared, lane, nth)?;
                load.producers.spawn(producer.run());
            }
            for nth in 0..plan.consumers + plan.renewing_consumers {
                let consumer = Consumer::new(&load.shared, lane, nth, nth >= plan.consumers)?;
                load.consumers.spawn(consumer.run());
            }
        }
        Ok(load)
    }

    /// Messages acknowledged to producers so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        LANES.iter().map(|lane| self.shared.ledger(lane).acknowledged.len()).sum()
    }

    /// Messages that consumers settled so far.
    #[must_use]
    pub fn settled(&self) -> usize {
        LANES.iter().map(|lane| self.shared.ledger(lane).settled.len()).sum()
    }

    /// Sends refused for certain so far, by their codes.
    #[must_use]
    pub fn refusals(&self) -> Vec<(i32, String)> {
        let refusal = |send: &Send| match &send.outcome {
            Outcome::Fail { code, reason } => Some((*code, reason.clone())),
            _ => None,
        };
        self.shared.recorder.history().sends.iter().filter_map(refusal).collect()
    }

    /// Waits until `done` says so of this load, at most for `deadline`.
    pub async fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let begin = Instant::now();
        while !done(self) {
            ensure!(begin.elapsed() < deadline, "{what} did not happen within {deadline:?}");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Ends producing, consumes until nothing is owed any more and nothing comes back, and returns the history. The
    /// broker must serve.
    pub async fn drain(mut self) -> Result<History> {
        self.shared.producing.store(false, Ordering::Relaxed);
        let patience = self.shared.plan.patience;
        let producers = async { while self.producers.join_next().await.is_some() {} };
        tokio::time::timeout(patience, producers).await.context("the last sends never ended")?;
        let mut best = (usize::MAX, Instant::now());
        loop {
            let owed = LANES.iter().map(|lane| self.shared.ledger(lane).owed).sum();
            if owed < best.0 {
                best = (owed, Instant::now());
            }
            if owed == 0 || best.1.elapsed() > patience {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(self.shared.plan.invisible + QUIET).await;
        self.shared.stopped.store(true, Ordering::Relaxed);
        while self.consumers.join_next().await.is_some() {}
        Ok(self.shared.recorder.finish())
    }
}

impl Shared {
    fn ledger(&self, lane: &Lane) -> MutexGuard<'_, Ledger> {
        self.ledgers[lane.nth].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producing(&self) -> bool {
        self.producing.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// The body of a message: repeatable from its id alone, so that a consumer can tell whether it is intact.
fn body_of(id: &str) -> Bytes {
    let size = id.rsplit('-').next().and_then(|size| size.parse().ok()).unwrap_or(0);
    let mut body = Vec::with_capacity(size + id.len());
    while body.len() <= size {
        body.extend_from_slice(id.as_bytes());
    }
    body.truncate(size.max(1));
    body.into()
}

/// Tells the random numbers of clients apart.
fn concern(lane: Lane, nth: usize) -> u64 {
    (nth * 2 * LANES.len() + lane.nth) as u64
}

struct Producer {
    shared: Arc<Shared>,
    lane: Lane,
    client: Client,
    random: StdRng,
    name: String,
}

impl Producer {
    fn new(shared: &Arc<Shared>, lane: Lane, nth: usize) -> Result<Self> {
        let name = format!("{}-{:x}-{nth}", lane.topic, shared.plan.seed);
        let random = randomness(shared.plan.seed, concern(lane, nth));
        let client = Client::new(&shared.endpoint, &format!("producer-{name}"))?;
        Ok(Self { shared: Arc::clone(shared), lane, client, random, name })
    }

    async fn run(mut self) {
        let mut sequence = 0;
        while self.shared.producing() {
            if self.shared.ledger(&self.lane).owed > self.lane.most_owed {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            sequence += 1;
            let large = self.random.random_bool(0.03);
            let size = self.random.random_range(1..if large { self.shared.plan.largest_body } else { 1_200 });
            let id = format!("{}-{sequence}-{size}", self.name);
            while !self.shared.stopped() {
                let outcome = self.send(&id).await;
                // A message of a message group is sent until it is known; of the others some are given up.
                if outcome.is_ok()
                    || (outcome.is_unknown() && !self.lane.is_ordered() && self.random.random_bool(0.2))
                {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
                if outcome.is_fail() {
                    break;
                }
            }
        }
    }

    async fn send(&self, id: &str) -> Outcome {
        let message_group = self.lane.is_ordered().then_some(self.name.as_str());
        let recorder = &self.shared.recorder;
        let message = Outgoing { topic: self.lane.topic, id, message_group, body: body_of(id) };
        let begin = recorder.now();
        let outcome = self.client.send(&message).await;
        let send = Send {
            span: recorder.since(begin),
            id: id.to_string(),
            topic: self.lane.topic.to_string(),
            message_group: message_group.map(str::to_string),
            hold: Hold::None,
            outcome: outcome.clone(),
        };
        recorder.history().sends.push(send);
        if outcome.is_ok() {
            self.shared.ledger(&self.lane).acknowledge(id);
        }
        outcome
    }
}

/// Judges the history of a load that was to do everything, and fails if it has not: what was never done shows nothing.
pub fn judge_all(test: &str, history: &History) -> Result<()> {
    judge(test, history)?;
    let ended = |commit: bool| history.ends.iter().any(|end| end.commit == commit && end.outcome.is_ok());
    let holds: BTreeMap<&str, Hold> =
        history.sends.iter().map(|send| (send.id.as_str(), send.hold)).collect();
    let came = |of: fn(&Hold) -> bool| {
        let mut deliveries = history.receives.iter().flat_map(|receive| &receive.deliveries);
        deliveries.any(|delivery| holds.get(delivery.id.as_str()).is_some_and(of))
    };
    let recalled = history.recalls.iter().any(|recall| recall.outcome.is_ok());
    for (what, done) in [
        ("transaction was committed", ended(true)),
        ("transaction was rolled back", ended(false)),
        ("committed message came", came(|hold| matches!(hold, Hold::Transaction))),
        ("delayed message came", came(|hold| matches!(hold, Hold::Until(_)))),
        ("delayed message was recalled", recalled),
    ] {
        ensure!(done, "{test}: no {what}: the test shows nothing of that");
    }
    Ok(())
}

/// Fails if the history breaks a promise, and keeps it for the person who looks into that. Says what was done, so that
/// a load that did nothing is seen.
pub fn judge(test: &str, history: &History) -> Result<()> {
    let sends = |of: fn(&Outcome) -> bool| history.sends.iter().filter(|send| of(&send.outcome)).count();
    let deliveries = || history.receives.iter().flat_map(|receive| &receive.deliveries);
    eprintln!(
        "{test}: sends {} ok, {} refused, {} unknown; {} ends of {} and {} recalls of {} ok; {} deliveries, {} of them again; acks {} ok of {}; {} receives unknown",
        sends(Outcome::is_ok),
        sends(Outcome::is_fail),
        sends(Outcome::is_unknown),
        history.ends.iter().filter(|end| end.outcome.is_ok()).count(),
        history.ends.len(),
        history.recalls.iter().filter(|recall| recall.outcome.is_ok()).count(),
        history.recalls.len(),
        deliveries().count(),
        deliveries().filter(|delivery| delivery.attempt > 1).count(),
        history.acks.iter().filter(|ack| ack.outcome.is_ok()).count(),
        history.acks.len(),
        history.receives.iter().filter(|receive| receive.outcome.is_unknown()).count(),
    );
    let violations = checker::check(history);
    if violations.is_empty() {
        ensure!(sends(Outcome::is_ok) > 100, "the load sent next to nothing: the test shows nothing");
        return Ok(());
    }
    let kept = std::env::temp_dir().join(format!("rq-history-{test}-{}.json", std::process::id()));
    history.keep(&kept)?;
    for violation in violations.iter().take(SHOWN) {
        eprintln!("{test}: {violation:?}");
    }
    bail!("{test}: {} promises broken; the history is in {}", violations.len(), kept.display());
}
