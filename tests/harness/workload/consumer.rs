//! The consumers of a load. Most do with a message whatever a client may do. Those whose leases the broker renews act
//! as such a client must: as long as they live nothing of theirs comes back by itself, so they go after each answer
//! that did not arrive until they have it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use tokio::task::JoinSet;

use super::{LANES, Lane, PAUSE, Shared, body_of, concern};
use crate::client::{Client, Incoming, RENEWED, Received};
use crate::history::{Ack, Change, Delivery, Outcome, Receive};
use crate::run::randomness;

pub(super) struct Consumer {
    shared: Arc<Shared>,
    lane: Lane,
    client: Client,
    random: StdRng,
    name: String,
    renewing: bool,
    attempts: u64,
}

impl Consumer {
    pub(super) fn new(shared: &Arc<Shared>, lane: Lane, nth: usize, renewing: bool) -> Result<Self> {
        let random = randomness(shared.plan.seed, (LANES.len() as u64) + concern(lane, nth));
        let name = format!("consumer-{}-{nth}", lane.group);
        let client = Client::new(&shared.endpoint, &name)?;
        Ok(Self { shared: Arc::clone(shared), lane, client, random, name, renewing, attempts: 0 })
    }

    pub(super) async fn run(mut self) {
        let mut late = JoinSet::new();
        while !self.shared.stopped() {
            let mut done = Vec::new();
            for message in self.receive_batch().await {
                // In the drain everything is acked at once.
                let fate = if self.shared.producing() { self.random.next_u32() % 100 } else { 100 };
                match fate {
                    0..2 if !self.renewing => {}
                    2..4 if !self.renewing => self.give_back(&message).await,
                    4..5 => drop(late.spawn(self.acker().ack_late(self.shared.plan.invisible, message))),
                    _ => done.push((message.id, message.handle)),
                }
            }
            self.acker().ack(done).await;
        }
        while late.join_next().await.is_some() {}
    }

    /// Receives a batch; under one attempt id until there is an answer, and now and then once more after it.
    async fn receive_batch(&mut self) -> Vec<Received> {
        let batch = self.random.random_range(1..=32);
        self.attempts += 1;
        let attempt = format!("{}-{}", self.name, self.attempts);
        let mut received = loop {
            let (outcome, received) = self.receive(batch, &attempt).await;
            if outcome.is_ok() {
                break received;
            }
            tokio::time::sleep(PAUSE).await;
            // What came with a broken stream may be left alone: its leases end by themselves, unless they are renewed.
            if self.shared.stopped() || (!self.renewing && self.random.random_bool(0.5)) {
                return Vec::new();
            }
        };
        if self.shared.producing() && self.random.random_bool(0.05) {
            let (outcome, repeated) = self.receive(batch, &attempt).await;
            if outcome.is_ok() || self.renewing {
                let known: Vec<String> = received.iter().map(|message| message.handle.clone()).collect();
                received.extend(repeated.into_iter().filter(|message| !known.contains(&message.handle)));
            }
        }
        received
    }

    async fn receive(&self, batch: i32, attempt: &str) -> (Outcome, Vec<Received>) {
        let Lane { topic, group, .. } = self.lane;
        let invisible = self.shared.plan.invisible;
        let wait = Duration::from_millis(300);
        let auto_renew = self.renewing;
        let what = Incoming { topic, group, batch, invisible, wait, auto_renew, attempt: Some(attempt) };
        let recorder = &self.shared.recorder;
        let begin = recorder.now();
        let (outcome, received) = self.client.receive(what).await;
        let delivery = |message: &Received| Delivery {
            id: message.id.clone(),
            handle: message.handle.clone(),
            attempt: message.attempt,
            place: message.place,
            intact: message.body == body_of(&message.id),
        };
        let receive = Receive {
            span: recorder.since(begin),
            topic: topic.to_string(),
            group: group.to_string(),
            invisible: if auto_renew { RENEWED } else { invisible },
            attempt_id: Some(attempt.to_string()),
            outcome: outcome.clone(),
            deliveries: received.iter().map(delivery).collect(),
        };
        recorder.history().receives.push(receive);
        (outcome, received)
    }

    async fn give_back(&self, message: &Received) {
        let Lane { topic, group, .. } = self.lane;
        let recorder = &self.shared.recorder;
        let invisible = Duration::from_millis(500);
        let begin = recorder.now();
        let what = Incoming { topic, group, ..Incoming::default() };
        let outcome = self.client.change_invisible(what, message, invisible).await;
        let change =
            Change { span: recorder.since(begin), handle: message.handle.clone(), invisible, outcome };
        recorder.history().changes.push(change);
    }

    fn acker(&self) -> Acker {
        Acker {
            shared: Arc::clone(&self.shared),
            lane: self.lane,
            client: self.client.clone(),
            persistent: self.renewing,
        }
    }
}

struct Acker {
    shared: Arc<Shared>,
    lane: Lane,
    client: Client,
    /// Acks until it knows.
    persistent: bool,
}

impl Acker {
    async fn ack(&self, mut deliveries: Vec<(String, String)>) {
        while !deliveries.is_empty() {
            let unknown = self.ack_once(deliveries).await;
            if !self.persistent || self.shared.stopped() {
                return;
            }
            deliveries = unknown;
            if !deliveries.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Gives back what may have been acked or not.
    async fn ack_once(&self, deliveries: Vec<(String, String)>) -> Vec<(String, String)> {
        let recorder = &self.shared.recorder;
        let begin = recorder.now();
        let outcomes = self.client.ack(self.lane.topic, self.lane.group, &deliveries).await;
        let span = recorder.since(begin);
        let mut unknown = Vec::new();
        for ((id, handle), outcome) in deliveries.into_iter().zip(outcomes) {
            if !outcome.is_fail() {
                self.shared.ledger(&self.lane).settle(&id);
            }
            if outcome.is_unknown() {
                unknown.push((id.clone(), handle.clone()));
            }
            let group = self.lane.group.to_string();
            recorder.history().acks.push(Ack { span, group, id, handle, outcome });
        }
        unknown
    }

    /// Acks after the lease ended, unless it is renewed: right as long as nobody else got the message.
    async fn ack_late(self, invisible: Duration, message: Received) {
        tokio::time::sleep(invisible + PAUSE).await;
        self.ack(vec![(message.id, message.handle)]).await;
    }
}
