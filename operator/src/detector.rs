//! The failure detector. It runs in every replica of the operator, with watches of its own, and asks every broker by itself
//! four times a second; it never waits for the reconciler or for the lease. What it decides ([`rq_overseer`]) it writes by
//! compare-and-set, so that two of them, or one of them and a broker, can do no harm to each other.

mod board;
mod decide;
mod failover;
mod identity;
mod index;
mod newest;
mod news;
mod pods;
mod prober;
mod pulse;
mod queue;
mod replicas;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::board::{Board, Findings};
use self::index::{Index, Surroundings};
pub(crate) use self::pulse::Pulse;
use self::queue::QueueWatch;
pub(crate) use self::watches::WATCH_SECONDS;
use crate::clock::Clock;
use crate::events::Teller;
use crate::key::QueueKey;
use crate::metrics::Metrics;

/// Events of the watches that wait to be taken.
const EVENTS: usize = 256;
/// How often the loop turns though nothing happens.
const TURN: Duration = Duration::from_secs(1);

/// What it works with.
#[derive(Clone)]
pub(crate) struct Detector {
    /// For watches and certificates.
    pub(crate) client: Client,
    /// For configurations.
    pub(crate) without_retries: Client,
    /// Its clock.
    pub(crate) clock: Clock,
    /// Where it says what it found.
    pub(crate) board: Arc<Board>,
    /// Where it says that it lives.
    pub(crate) pulse: Arc<Pulse>,
    /// What it counts.
    pub(crate) metrics: Arc<Metrics>,
    /// Tells people.
    pub(crate) teller: Teller,
    /// Whether this replica carries out changes: it then tells what all replicas see.
    pub(crate) is_leader: watch::Receiver<bool>,
}

/// The task that watches over one queue.
struct Watching {
    uid: Option<String>,
    tell: watch::Sender<Surroundings>,
    task: AbortOnDropHandle<()>,
}

impl Detector {
    /// Looks for failures for as long as the process lives.
    pub(crate) async fn run(self) {
        let (tell, mut events) = mpsc::channel(EVENTS);
        let _watches = watches::start(&self.client, &self.pulse, &tell);
        let mut index = Index::default();
        let mut watching = BTreeMap::new();
        let mut turns = tokio::time::interval(TURN);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let touched = tokio::select! {
                // It holds a sender itself: there is always another one.
                Some(event) = events.recv() => {
                    let was_ready = index.is_ready();
                    let touched = index.take(event);
                    // Who is not known yet is not dead.
                    if index.is_ready() && !was_ready { index.queues() } else { touched }
                }
                _ = turns.tick() => ended(&watching),
            };
            self.pulse.turn();
            if index.is_ready() {
                self.pulse.look();
                for key in touched {
                    self.refresh(&index, key, &mut watching);
                }
            }
        }
    }

    /// Tells the task of a queue what is new, starts it, or ends it.
    fn refresh(&self, index: &Index, key: QueueKey, watching: &mut BTreeMap<QueueKey, Watching>) {
        let Some(surroundings) = index.surroundings(&key) else {
            if watching.remove(&key).is_some() {
                tracing::info!(queue = %key, "no longer watched over");
                self.board.forget(&key);
                self.metrics.forget(&key);
            }
            return;
        };
        let uid = surroundings.queue.uid();
        if let Some(there) = watching.get(&key).filter(|there| there.uid == uid && !there.task.is_finished())
        {
            there.tell.send_replace(surroundings);
            return;
        }
        tracing::info!(queue = %key, "watched over");
        let (tell, told) = watch::channel(surroundings);
        let task = QueueWatch::new(self.clone(), key.clone(), told).run();
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        watching.insert(key, Watching { uid, tell, task });
    }
}

/// Queues whose task ended, which it never should: they get another one.
fn ended(watching: &BTreeMap<QueueKey, Watching>) -> Vec<QueueKey> {
    let ended = watching.iter().filter(|(_, watching)| watching.task.is_finished());
    ended
        .inspect(|(key, _)| tracing::error!(queue = %key, "its watch ended and is started again"))
        .map(|(key, _)| key.clone())
        .collect()
}

#[cfg(test)]
mod tests;
