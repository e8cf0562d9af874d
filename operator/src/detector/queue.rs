//! The task that watches over one queue. It takes one event after another, so that no decision is made from half of what is
//! known; it decides from what it knows, and before it writes anything it reads the configuration and decides again.

mod pauses;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::time::Duration;

use rq_core::config::{Change, Config, Written};
use rq_core::ids::Epoch;
use rq_kubernetes::{ShardStore, StoreError};
use rq_operator_core::queue::status::LastFailover;
use rq_overseer::Trouble;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use self::pauses::Pauses;
use super::decide::{Rules, ShardRead, Verdict, decide};
use super::index::Surroundings;
use super::newest::Newest;
use super::prober::{Answered, Prober, Question};
use super::replicas::Replicas;
use super::{Detector, Findings, identity, news};
use crate::key::QueueKey;

/// Answers that wait to be taken.
const ANSWERS: usize = 64;
/// Changes of the configuration for one event; more wait for the next one.
const CHANGES_MAX: usize = 16;
/// The configuration is read so often though nothing seems to have happened, in ms: watches lag, and may hang.
const READ_EVERY_MS: u64 = 5_000;
/// And so often while something is wrong, in ms.
const READ_IN_TROUBLE_MS: u64 = 1_000;
/// The task looks around so often though nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The watch over one queue.
pub(super) struct QueueWatch {
    detector: Detector,
    key: QueueKey,
    store: ShardStore,
    surroundings: watch::Receiver<Surroundings>,
    shown: Surroundings,
    replicas: Replicas,
    probers: BTreeMap<String, Prober>,
    question: Question,
    answers: mpsc::Receiver<Answered>,
    _identity: AbortOnDropHandle<()>,
    shard: ShardRead,
    /// What that must not fall behind.
    newest: Newest,
    /// When the configuration is to be read again at the latest, in ms.
    read_at: u64,
    /// And when at the earliest.
    pauses: Pauses,
    trouble: Option<Trouble>,
    failover: Option<LastFailover>,
    /// The epoch whose master people were told is lost.
    told_lost: Option<Epoch>,
}

impl QueueWatch {
    /// Of this queue; it begins with [`Self::run`].
    pub(super) fn new(
        detector: Detector,
        key: QueueKey,
        surroundings: watch::Receiver<Surroundings>,
    ) -> Self {
        let (tell, answers) = mpsc::channel(ANSWERS);
        let (identity, keeper) = identity::keep(detector.client.clone(), surroundings.borrow().queue.clone());
        let shown = surroundings.borrow().clone();
        let question = Question {
            name: String::new(),
            cluster: key.name.clone(),
            identity,
            clock: detector.clock,
            answers: tell,
        };
        Self {
            store: ShardStore::new(detector.without_retries.clone(), &key.namespace, &key.name),
            shown,
            detector,
            key,
            surroundings,
            replicas: Replicas::default(),
            probers: BTreeMap::new(),
            question,
            answers,
            _identity: keeper,
            shard: ShardRead::Unread,
            newest: Newest::default(),
            read_at: 0,
            pauses: Pauses::default(),
            trouble: None,
            failover: None,
            told_lost: None,
        }
    }

    /// Watches until it is dropped, or nobody tells it anything any more.
    pub(super) async fn run(mut self) {
        self.surroundings.mark_changed();
        let mut look = Some(0_u64);
        loop {
            let pause = look.map_or(LOOK_EVERY, |at| {
                Duration::from_millis(at.saturating_sub(self.detector.clock.now())).min(LOOK_EVERY)
            });
            tokio::select! {
                changed = self.surroundings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.look_around();
                }
                // The question holds a sender itself: there is always another one.
                Some(answered) = self.answers.recv() => self.take(&answered),
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(answered) = self.answers.try_recv() {
                self.take(&answered);
            }
            look = self.act().await;
            self.tell_of_a_loss();
            self.see_whether_it_serves();
            self.publish();
        }
    }

    fn take(&mut self, answered: &Answered) {
        self.replicas.answered(answered, self.detector.clock.now());
        let name = &answered.name;
        if let Some(told) = self.replicas.named(name).and_then(|seen| seen.told.as_ref()) {
            self.newest.heard(name, told);
        }
    }

    /// Takes what the watches show, and asks whom there is to ask.
    fn look_around(&mut self) {
        let shown = self.surroundings.borrow_and_update().clone();
        if shown.version != self.shown.version {
            self.read_at = 0;
        }
        self.shown = shown;
        let members = self.shard.config().into_iter().flat_map(|config| config.members.values());
        let members: BTreeSet<String> = members.map(|member| member.name.clone()).collect();
        let (replicas, now) = (self.shown.queue.spec.replicas, self.detector.clock.now());
        self.replicas.take(&self.key, replicas, &members, &self.shown.pods, now);
        let processes = self.replicas.processes();
        self.probers.retain(|name, prober| processes.get(name) == Some(&prober.process));
        for (name, process) in processes {
            if !self.probers.contains_key(name) {
                let question = Question { name: name.clone(), ..self.question.clone() };
                self.probers.insert(name.clone(), Prober::start(question, process.clone()));
            }
        }
    }

    /// Decides and acts; when to look again at the latest, in ms.
    async fn act(&mut self) -> Option<u64> {
        for _ in 0..CHANGES_MAX {
            let now = self.detector.clock.now();
            let verdict = self.decide(now);
            if !self.is_to_be_read(&verdict, now) {
                return self.settle(verdict);
            }
            let pause = self.pauses.until(&verdict);
            if now < pause {
                return Some(pause);
            }
            match self.store.read().await {
                Ok(Some(config)) => self.take_shard(ShardRead::Formed(config), false),
                Ok(None) => self.take_shard(ShardRead::Unformed, false),
                Err(StoreError::NotFound(_)) => self.take_shard(ShardRead::Missing, false),
                Err(error) => return Some(self.failed(&verdict, "read", &error)),
            }
            let now = self.detector.clock.now();
            let verdict = self.decide(now);
            let after = match verdict {
                Verdict::Rest(_) => READ_EVERY_MS,
                _ => READ_IN_TROUBLE_MS,
            };
            self.read_at = now + after;
            let written = match verdict.config(&self.shard) {
                Ok(None) => return self.settle(verdict),
                Ok(Some(new)) => self.store.compare_and_set(&new).await.map(|written| (written, new)),
                Err(illegal) => Err(illegal.into()),
            };
            match written {
                Ok((Written::Done, new)) => self.wrote(&verdict, new),
                // Somebody else came first: read what.
                Ok((Written::Conflict(_), _)) => {
                    self.detector.metrics.conflicts.get_or_create(&(&self.key).into()).inc();
                    self.read_at = 0;
                }
                Err(error) => return Some(self.failed(&verdict, "written", &error)),
            }
        }
        Some(self.detector.clock.now())
    }

    fn decide(&self, now: u64) -> Verdict {
        decide(&self.shard, &self.replicas, &self.newest, Rules::of(&self.shown.queue), now)
    }

    /// What is known is good enough to see that there is nothing to do, for a while.
    fn is_to_be_read(&self, verdict: &Verdict, now: u64) -> bool {
        match verdict {
            Verdict::Form(_) | Verdict::Change(_) => true,
            Verdict::Trouble(trouble) => self.trouble.as_ref() != Some(trouble) || now >= self.read_at,
            Verdict::Rest(_) => self.trouble.is_some() || now >= self.read_at,
        }
    }

    /// Nothing is to be written now.
    fn settle(&mut self, verdict: Verdict) -> Option<u64> {
        self.pauses.done();
        let (trouble, until) = match verdict {
            Verdict::Rest(until) => (None, until),
            Verdict::Trouble(trouble) => (Some(trouble), None),
            // Only what was read is written.
            Verdict::Form(_) | Verdict::Change(_) => (self.trouble.clone(), None),
        };
        if trouble != self.trouble {
            if let Some(trouble) = &trouble {
                self.tell_as_leader(news::trouble(trouble));
            } else {
                tracing::info!(queue = %self.key, "the trouble is over");
            }
            self.trouble = trouble;
        }
        until
    }

    /// What came of it is not known, or it was refused: it is read again before anything else.
    fn failed(&mut self, verdict: &Verdict, what: &'static str, error: &StoreError) -> u64 {
        let cause = error.source().map(tracing::field::display);
        tracing::warn!(queue = %self.key, %error, cause, "the configuration could not be {what}");
        self.detector.metrics.unknown.get_or_create(&(&self.key).into()).inc();
        self.read_at = 0;
        self.pauses.failed(verdict, self.detector.clock.now())
    }

    fn wrote(&mut self, verdict: &Verdict, new: Config) {
        self.pauses.done();
        self.detector.metrics.wrote("queueshard");
        match verdict {
            Verdict::Form(config) => {
                let (queue, note) = (&self.shown.queue, news::formed(config));
                self.detector.teller.tell_once(queue, config.epoch.0.into(), note);
            }
            Verdict::Change(Change::Promote { .. }) => {
                self.detector.metrics.promotions.get_or_create(&(&self.key).into()).inc();
            }
            Verdict::Change(change) => {
                tracing::info!(queue = %self.key, ?change, "the configuration was changed");
            }
            Verdict::Rest(_) | Verdict::Trouble(_) => {}
        }
        self.take_shard(ShardRead::Formed(new), true);
    }

    /// The configuration as it was read or written.
    fn take_shard(&mut self, shard: ShardRead, ours: bool) {
        if shard == self.shard {
            return;
        }
        // Other members may be looked for now.
        self.surroundings.mark_changed();
        let before = std::mem::replace(&mut self.shard, shard);
        let Some(config) = self.shard.config() else { return };
        self.newest.learn(config);
        // What went back is no failover.
        if self.newest.allows(config).is_ok() {
            self.tell_of_changes(&before, ours);
        }
    }

    /// Puts down what was found, for the reconciler.
    fn publish(&self) {
        let found = Findings {
            replicas: self.replicas.seen().to_vec(),
            heard: self.replicas.heard().clone(),
            trouble: self.trouble.clone(),
            failover: self.failover.clone(),
            version: self.shard.config().map_or(0, |config| config.version),
        };
        self.detector.board.put(&self.key, found);
    }
}
