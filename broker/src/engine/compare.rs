//! The log thread's part in comparing states: when the master marks the log, who hashes, what follows from a difference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rq_core::ids::{LogTime, Lsn};
use rq_core::queue::compare::{Comparison, Verdict};
use rq_core::queue::{Compare, State};
use rq_core::replication::Input;
use rq_log::WriteError;
use tokio::sync::oneshot;

use super::EngineError;
use super::log_thread::LogThread;
use super::queues::Queues;
use super::release::Held;

/// A mark is due when so much was written since the last one, and that is at least so long ago.
const MARK_BYTES: u64 = 64 << 20;
const MARK_PAUSE: Duration = Duration::from_secs(10);
/// However little was written, a mark is due after this, if anything was.
const MARK_EVERY: Duration = Duration::from_hours(1);
/// Hashing takes no more than one part in so many of the time of a thread, however large the state is.
const HASHING_SHARE: u32 = 50;
/// Hashes of this replica's state that are told to who asks.
const HASHES_MAX: usize = 8;

/// What the log thread knows of marks and hashes. A replica whose log was opened anew knows nothing of earlier ones.
pub(super) struct Comparing {
    comparison: Comparison,
    /// Where the log ended when the last mark had got its hash, and when the mark was made.
    last: (Lsn, Instant),
    /// How long this replica took to hash its state last.
    took: Duration,
    /// The master's own hash of a mark, which is not in the log yet.
    to_tell: Option<(Lsn, u128)>,
    /// It was just appended.
    told: bool,
}

/// What came of hashing the state at a mark.
#[derive(Clone, Copy, Debug)]
pub struct Hashed {
    /// The mark.
    pub of: Lsn,
    /// The hash.
    pub hash: u128,
    /// How long it took.
    pub took: Duration,
}

/// Hashes this replica's state had at the newest marks, oldest first.
pub type Hashes = Vec<(Lsn, u128)>;

impl Comparing {
    pub(super) fn new(end: Lsn) -> Self {
        Self {
            comparison: Comparison::default(),
            last: (end, Instant::now()),
            took: Duration::ZERO,
            to_tell: None,
            told: false,
        }
    }

    fn is_due(&self, end: Lsn) -> bool {
        let (written, since) = (end.0 - self.last.0.0.min(end.0), self.last.1.elapsed());
        let usual = written >= MARK_BYTES && since >= MARK_PAUSE;
        (usual || since >= MARK_EVERY) && written > 0 && since >= self.took * HASHING_SHARE
    }
}

/// Hashes a state that was set aside at a mark. Takes long.
pub(super) fn hash(state: &State) -> Hashed {
    let began = Instant::now();
    Hashed { of: state.applied(), hash: state.hash(), took: began.elapsed() }
}

impl LogThread {
    /// On a master that serves, before it works off a batch: tells the hash of the last mark, and makes another one if
    /// it is due and there is a slave to compare with.
    pub(super) fn compare_if_due(&mut self, now: LogTime) {
        let end = self.frames.end();
        let Queues::Master(shard) = &mut self.queues else { return };
        if std::mem::take(&mut self.comparing.told) {
            self.comparing.last.0 = end;
        }
        if let Some((of, hash)) = self.comparing.to_tell.take() {
            shard.tell_hash(now, of, hash, &mut self.frames);
            // It is this replica's own.
            shard.take_compare();
            self.comparing.told = true;
        } else if self.member.replica.peers().next().is_some() && self.comparing.is_due(end) {
            self.mark(now);
        }
    }

    /// Marks the log because somebody wants the replicas compared.
    pub(super) fn mark_for(&mut self, now: LogTime, reply: oneshot::Sender<Result<Lsn, EngineError>>) {
        if let Some(of) = self.mark(now) {
            let told = move || {
                // Who has left needs not to be told.
                let _ = reply.send(Ok(of));
            };
            self.hold(false, Held::View(Box::new(told)));
        }
    }

    fn mark(&mut self, now: LogTime) -> Option<Lsn> {
        let Queues::Master(shard) = &mut self.queues else { return None };
        let of = shard.mark(now, &mut self.frames);
        let marked = shard.take_compare().marked;
        self.comparing.last.1 = Instant::now();
        if let Some(state) = marked {
            self.hold(false, Held::Hash(state));
        }
        Some(of)
    }

    /// What the frames of the master asked for.
    pub(super) fn compare(&mut self, Compare { marked, told }: Compare) -> Result<(), WriteError> {
        if let Some(state) = marked {
            // Not before it is committed: what is cut off again was never a state to compare.
            self.gate.wait(self.frames.end(), false, Held::Hash(state));
        }
        match told {
            Some((of, hash)) => {
                let verdict = self.comparing.comparison.told(of, hash);
                self.judge(of, verdict)
            }
            None => Ok(()),
        }
    }

    /// This replica's state at a mark has been hashed.
    pub(super) fn on_hashed(&mut self, Hashed { of, hash, took }: Hashed) -> Result<(), WriteError> {
        self.comparing.took = took;
        self.member.outlets.hashes.send_modify(|hashes| {
            hashes.push((of, hash));
            let surplus = hashes.len().saturating_sub(HASHES_MAX);
            hashes.drain(..surplus);
        });
        if self.member.replica.leading().is_some() {
            self.comparing.to_tell = Some((of, hash));
        }
        let verdict = self.comparing.comparison.own(of, hash);
        self.judge(of, verdict)
    }

    fn judge(&mut self, of: Lsn, verdict: Verdict) -> Result<(), WriteError> {
        match verdict {
            Verdict::Open => {}
            Verdict::Same => self.published.compared(true),
            Verdict::Different => {
                self.published.compared(false);
                tracing::error!(
                    mark = of.0,
                    "the state of this replica is not what the master's was at a mark of the log"
                );
                self.step(Input::StateDiffers(of))?;
            }
        }
        Ok(())
    }
}

/// A state that waits to be hashed.
pub(super) type Marked = Arc<State>;
