//! What senders and consumers of one measurement share: the clock, the window that is measured, the pace, and the
//! tallies. Nothing here waits for the broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

use crate::bench::Bench;
use crate::bench::history::Recorder;
use crate::bench::lateness::{LATENCY_MAX_NS, Lateness};
use crate::bench::ledger::Ledger;
use crate::client::{CallError, Fate};
use crate::failure::Failure;

/// The pacer of an open loop sleeps no shorter than this: what is due meanwhile begins together.
const PACE_STEP: Duration = Duration::from_micros(50);

/// One measurement.
pub(super) struct Run {
    anchor: (Instant, u64),
    /// Where the measured window begins.
    pub(super) from: Instant,
    to: Option<Instant>,
    ended: Mutex<Option<Instant>>,
    interrupted: AtomicBool,
    tickets: Tickets,
    consumers_end: AtomicBool,
    pub(super) sends: Tally,
    pub(super) receives: Tally,
    pub(super) acks: Tally,
    /// From the send of a message to its receipt.
    pub(super) end_to_end: Tally,
    pub(super) lateness: Lateness,
    pub(super) history: Recorder,
    pub(super) ledger: Ledger,
}

/// Permits to begin a send.
struct Tickets {
    /// Sends of this run, if it has a number.
    count: u64,
    next: AtomicU64,
    /// Open loop: the rate, and what is due.
    pace: Option<(f64, Arc<Semaphore>)>,
    start: Instant,
}

impl Run {
    /// Begins now.
    pub(super) fn start(bench: &Bench, history: Recorder) -> Result<Self, Failure> {
        let start = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let from = if bench.count.is_some() { start } else { start + bench.warmup };
        let pace = bench.rate.map(|rate| (rate, pacer(rate, start)));
        Ok(Self {
            anchor: (start, wall),
            from,
            to: bench.count.is_none().then(|| from + bench.duration),
            ended: Mutex::new(None),
            interrupted: AtomicBool::new(false),
            tickets: Tickets { count: bench.count.unwrap_or(u64::MAX), next: AtomicU64::new(0), pace, start },
            consumers_end: AtomicBool::new(false),
            sends: Tally::new()?,
            receives: Tally::new()?,
            acks: Tally::new()?,
            end_to_end: Tally::new()?,
            lateness: Lateness::new()?,
            history,
            ledger: Ledger::new(),
        })
    }

    /// Nanoseconds since 1970 of a moment of this run; never goes back.
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        self.anchor.1 + at.saturating_duration_since(self.anchor.0).as_nanos() as u64
    }

    /// Waits until the next send is to begin; the moment it was due. None: no more.
    pub(super) async fn ticket(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let due = match &self.tickets.pace {
            None => {
                let number = self.tickets.next.fetch_add(1, Ordering::Relaxed);
                return (number < self.tickets.count).then(Instant::now);
            }
            Some((rate, due)) => {
                let left = self.left();
                tokio::time::timeout(left, due.acquire()).await.ok()?.ok()?.forget();
                let number = self.tickets.next.fetch_add(1, Ordering::Relaxed);
                (number < self.tickets.count).then(|| Duration::from_secs_f64(number as f64 / rate))?
            }
        };
        Some(self.tickets.start + due)
    }

    /// Open loop: sends that were due and never began.
    pub(super) fn late(&self) -> u64 {
        let Some((rate, _)) = &self.tickets.pace else { return 0 };
        // Up to the end of the window: what consumers take beyond it is no time to send in.
        let sending = self.from.saturating_duration_since(self.tickets.start) + self.end();
        #[allow(clippy::cast_sign_loss, reason = "neither time nor rate is negative")]
        let due = ((sending.as_secs_f64() * rate) as u64).min(self.tickets.count);
        due.saturating_sub(self.tickets.next.load(Ordering::Relaxed))
    }

    /// Is a completion at this moment to be counted?
    pub(super) fn counts(&self, at: Instant) -> bool {
        at >= self.from && self.to.is_none_or(|to| at < to)
    }

    pub(super) fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.to.is_some_and(|to| Instant::now() >= to)
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Time until the window closes.
    pub(super) fn left(&self) -> Duration {
        self.to.map_or(Duration::MAX / 2, |to| to.saturating_duration_since(Instant::now()))
    }

    /// Time since the window opened.
    pub(super) fn elapsed(&self) -> Duration {
        self.from.elapsed()
    }

    /// Closes the window, if nothing did before; its length.
    pub(super) fn end(&self) -> Duration {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let end = *ended.get_or_insert(self.to.map_or(now, |to| to.min(now)));
        end.saturating_duration_since(self.from)
    }

    /// The longest time of the window without a successful send: how long, and when it began, from the opening on.
    pub(super) fn gap(&self) -> Option<(Duration, Duration)> {
        let gap = self.sends.gap(self.from + self.end())?;
        Some((gap.length, gap.from.saturating_duration_since(self.from)))
    }

    /// Seconds in which the counted operations were done: the window, or what consumers needed beyond one that ended
    /// with the last send.
    pub(super) fn seconds(&self, tally: &Tally) -> f64 {
        let window = self.end();
        let needed = tally.last().map_or(window, |last| last.saturating_duration_since(self.from));
        window.max(needed).as_secs_f64()
    }

    /// Consumers end with what they have.
    pub(super) fn end_consumers(&self) {
        self.consumers_end.store(true, Ordering::Release);
    }

    pub(super) fn do_consumers_end(&self) -> bool {
        self.consumers_end.load(Ordering::Acquire)
    }
}

/// Adds a permit for each send at its moment, from a thread of its own: timers of the runtime are too coarse.
fn pacer(rate: f64, start: Instant) -> Arc<Semaphore> {
    let due = Arc::new(Semaphore::new(0));
    let permits = Arc::downgrade(&due);
    std::thread::spawn(move || {
        let mut issued = 0_u64;
        while let Some(permits) = permits.upgrade() {
            #[allow(clippy::cast_sign_loss, reason = "neither time nor rate is negative")]
            let wanted = (start.elapsed().as_secs_f64() * rate) as u64 + 1;
            permits.add_permits((wanted - issued) as usize);
            issued = wanted;
            drop(permits);
            let next = start + Duration::from_secs_f64(wanted as f64 / rate);
            // An hour-long pause would outlive the run.
            std::thread::sleep(
                next.saturating_duration_since(Instant::now()).clamp(PACE_STEP, Duration::from_secs(1)),
            );
        }
    });
    due
}

struct Latency {
    nanos: Histogram<u64>,
    /// When the newest success was.
    last: Option<Instant>,
    gap: Option<Gap>,
}

/// A time without a success: from one to the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub(super) from: Instant,
    pub(super) length: Duration,
}

/// Outcomes and latencies of one kind of operation within the window.
pub(super) struct Tally {
    ok: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    latency: Mutex<Latency>,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    fn new() -> Result<Self, Failure> {
        let nanos = Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?;
        Ok(Self {
            ok: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            latency: Mutex::new(Latency { nanos, last: None, gap: None }),
            errors: Mutex::new(BTreeMap::new()),
        })
    }

    /// Counts a success.
    pub(super) fn succeed(&self, now: Instant, latency: Duration) {
        self.ok.fetch_add(1, Ordering::Relaxed);
        let mut tally = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        tally.nanos.saturating_record(latency.as_nanos() as u64);
        let gap = tally.last.map(|last| Gap { from: last, length: now.saturating_duration_since(last) });
        tally.gap =
            gap.filter(|gap| tally.gap.is_none_or(|longest| gap.length > longest.length)).or(tally.gap);
        tally.last = tally.last.max(Some(now));
    }

    /// Counts a failure.
    pub(super) fn fail(&self, error: &CallError) {
        let tally = if error.fate() == Fate::NotDone { &self.failed } else { &self.unknown };
        tally.fetch_add(1, Ordering::Relaxed);
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(error.name()).or_default() += 1;
    }

    pub(super) fn ok(&self) -> u64 {
        self.ok.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self) -> Histogram<u64> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).nanos.clone()
    }

    /// When the newest success was.
    fn last(&self) -> Option<Instant> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// The longest time between two successes, or after the last one until `end`.
    pub(super) fn gap(&self, end: Instant) -> Option<Gap> {
        let tally = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let last = tally.last.map(|last| Gap { from: last, length: end.saturating_duration_since(last) });
        tally.gap.into_iter().chain(last).max_by_key(|gap| gap.length)
    }

    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
