//! Producers of messages that wait. Of half messages most are committed after a while, some are rolled back, by whoever
//! sent them or by somebody else, and some are forgotten; of delayed ones some are recalled. Each is tried until it is known.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rq_proto::rocketmq::Code;
use tokio::task::JoinSet;

use super::{Lane, PAUSE, Shared, body_of, concern};
use crate::client::{Client, Outgoing};
use crate::history::{End, Hold, Outcome, Recall, Send};
use crate::run::randomness;

/// Longest time from a half message to its end, and that a message is delayed, in milliseconds.
const LATER_MS: u64 = 2_500;

/// What is to be done about a message that was stored.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Commit,
    RollBack,
    Recall,
}

pub(super) struct HeldProducer {
    shared: Arc<Shared>,
    lane: Lane,
    client: Client,
    other: Client,
    random: StdRng,
    name: String,
}

impl HeldProducer {
    pub(super) fn new(shared: &Arc<Shared>, lane: Lane, nth: usize) -> Result<Self> {
        let name = format!("{}-{:x}-{nth}", lane.topic, shared.plan.seed);
        let random = randomness(shared.plan.seed, concern(lane, nth));
        let client = Client::new(&shared.endpoint, &format!("producer-{name}"))?;
        let other = Client::new(&shared.endpoint, &format!("other-{name}"))?;
        Ok(Self { shared: Arc::clone(shared), lane, client, other, random, name })
    }

    pub(super) async fn run(mut self) {
        let mut later = JoinSet::new();
        let mut sequence = 0;
        while self.shared.producing() {
            while later.try_join_next().is_some() {}
            if self.shared.ledger(&self.lane).owed > self.lane.most_owed {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            sequence += 1;
            let id = format!("{}-{sequence}-{}", self.name, self.random.random_range(1..1_200));
            if let Some((deed, after, name)) = self.send(&id).await {
                let by = if self.random.random_bool(0.3) { &self.other } else { &self.client };
                let doer = Doer { shared: Arc::clone(&self.shared), lane: self.lane, client: by.clone() };
                later.spawn(doer.run(deed, after, id, name));
            }
        }
        while later.join_next().await.is_some() {}
    }

    /// Sends a message until it is known, or given up. What is to be done about it, after how long, and by what name.
    async fn send(&mut self, id: &str) -> Option<(Deed, Duration, String)> {
        let after = Duration::from_millis(self.random.random_range(0..LATER_MS));
        // On the clock of the history no later than on the broker's.
        let due = self.shared.recorder.now() + after;
        let at = SystemTime::now() + after;
        while !self.shared.stopped() {
            let (outcome, name) = self.send_once(id, at, due).await;
            if outcome.is_ok() {
                return self.plan(id, after, name);
            }
            tokio::time::sleep(PAUSE).await;
            if outcome.is_fail() || self.random.random_bool(0.2) {
                break;
            }
        }
        None
    }

    async fn send_once(&self, id: &str, at: SystemTime, due: Duration) -> (Outcome, String) {
        let recorder = &self.shared.recorder;
        let message = Outgoing { topic: self.lane.topic, id, message_group: None, body: body_of(id) };
        let begin = recorder.now();
        let (hold, (outcome, name)) = if self.lane.is_delayed() {
            (Hold::Until(due), self.client.send_delayed(&message, at).await)
        } else {
            (Hold::Transaction, self.client.send_half(&message).await)
        };
        recorder.history().sends.push(Send {
            span: recorder.since(begin),
            id: id.to_string(),
            topic: self.lane.topic.to_string(),
            message_group: None,
            hold,
            outcome: outcome.clone(),
        });
        (outcome, name)
    }

    fn plan(&mut self, id: &str, after: Duration, name: String) -> Option<(Deed, Duration, String)> {
        let chance = self.random.random_range(0..100);
        if self.lane.is_delayed() {
            if chance < 25 && !name.is_empty() {
                // Now and then too late.
                return Some((Deed::Recall, after.mul_f64(f64::from(chance) / 20.0), name));
            }
            self.shared.ledger(&self.lane).acknowledge(id);
            return None;
        }
        let deed = match chance {
            0..65 => Deed::Commit,
            65..85 => Deed::RollBack,
            _ => return None,
        };
        Some((deed, after, name))
    }
}

/// Does something about one message.
struct Doer {
    shared: Arc<Shared>,
    lane: Lane,
    client: Client,
}

impl Doer {
    async fn run(self, deed: Deed, after: Duration, id: String, name: String) {
        tokio::time::sleep(after).await;
        while !self.shared.stopped() {
            let outcome = self.once(deed, &id, &name).await;
            let too_late = is(&outcome, Code::BadRequest);
            match deed {
                Deed::Commit if outcome.is_ok() => self.shared.ledger(&self.lane).acknowledge(&id),
                // It is out, and so is to come.
                Deed::Recall if too_late => self.shared.ledger(&self.lane).acknowledge(&id),
                _ => {}
            }
            if outcome.is_ok() || too_late || is(&outcome, Code::InvalidTransactionId) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn once(&self, deed: Deed, id: &str, name: &str) -> Outcome {
        let recorder = &self.shared.recorder;
        let (id, topic, begin) = (id.to_string(), self.lane.topic, recorder.now());
        match deed {
            Deed::Recall => {
                let outcome = self.client.recall(topic, name).await;
                let recall = Recall { span: recorder.since(begin), id, outcome: outcome.clone() };
                recorder.history().recalls.push(recall);
                outcome
            }
            Deed::Commit | Deed::RollBack => {
                let commit = matches!(deed, Deed::Commit);
                let outcome = self.client.end(topic, name, commit).await;
                let end = End { span: recorder.since(begin), id, commit, outcome: outcome.clone() };
                recorder.history().ends.push(end);
                outcome
            }
        }
    }
}

fn is(outcome: &Outcome, code: Code) -> bool {
    matches!(outcome, Outcome::Fail { code: found, .. } if *found == i32::from(code))
}
