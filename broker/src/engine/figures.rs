//! What the engine tells of itself while it works: positions, room, flushes. Read without stopping it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rq_core::ids::Lsn;
use rq_core::queue::HeldCounts;
use rq_core::queue::idle::IdleGroup;
use rq_log::Space;

/// Upper bounds of the flush-time buckets, in microseconds; one more bucket takes the rest.
pub const FLUSH_BUCKETS_US: [u64; 10] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

/// The engine's figures at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Where the log begins.
    pub start: Lsn,
    /// All below is durable.
    pub durable: Lsn,
    /// All below is committed.
    pub commit: Lsn,
    /// All below is covered by the newest checkpoint.
    pub checkpoint: Lsn,
    /// Bytes left for the log.
    pub available_bytes: u64,
    /// Size of the file system, in bytes.
    pub total_bytes: u64,
    /// False while the disk is too full for new messages.
    pub accepts_messages: bool,
    /// Messages that idle groups gave up, since the log began.
    pub expired_messages: u64,
    /// Messages that nobody can see yet.
    pub held: HeldCounts,
    /// Half messages that became dead letters because nobody ended their transaction; since the log began.
    pub given_up_transactions: u64,
    /// How far log time is ahead of the wall clock (negative: behind), in milliseconds.
    pub log_time_ahead_ms: i64,
    /// What the scrub has found.
    pub scrub: ScrubFigures,
    /// Comparisons with the master's state that found the same.
    pub states_same: u64,
    /// Comparisons with the master's state that found another one.
    pub states_different: u64,
    /// Batches worked off.
    pub batches: u64,
    /// Requests worked off.
    pub requests: u64,
    /// Flushes of the log.
    pub flushes: u64,
    /// Time spent in them, in microseconds.
    pub flush_us: u64,
    /// Flushes by their time, by [`FLUSH_BUCKETS_US`].
    pub flushes_by_time: [u64; FLUSH_BUCKETS_US.len() + 1],
}

/// What the scrub has found since the broker started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrubFigures {
    /// Segments that were read again.
    pub segments: u64,
    /// Damaged ones among them, and those that a reader came upon.
    pub damaged: u64,
    /// Segments that another replica's copy has replaced.
    pub repaired: u64,
    /// Segments that are damaged now.
    pub damaged_now: u64,
}

/// The figures as they are published.
#[derive(Default)]
pub(super) struct Published {
    start: AtomicU64,
    durable: AtomicU64,
    commit: AtomicU64,
    checkpoint: AtomicU64,
    available_bytes: AtomicU64,
    total_bytes: AtomicU64,
    accepts_messages: AtomicBool,
    expired_messages: AtomicU64,
    log_time_ahead_ms: AtomicI64,
    delayed: AtomicU64,
    halves: AtomicU64,
    given_up_transactions: AtomicU64,
    /// Whoever pins most of the log comes first.
    idle_groups: Mutex<Arc<[Arc<IdleGroup>]>>,
    scrub: Mutex<ScrubFigures>,
    states_same: AtomicU64,
    states_different: AtomicU64,
    batches: AtomicU64,
    requests: AtomicU64,
    flushes: AtomicU64,
    flush_us: AtomicU64,
    flushes_by_time: [AtomicU64; FLUSH_BUCKETS_US.len() + 1],
}

impl Published {
    pub(super) fn space(&self, space: Space, accepts_messages: bool) {
        self.available_bytes.store(space.available_bytes, Ordering::Relaxed);
        self.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        self.accepts_messages.store(accepts_messages, Ordering::Relaxed);
    }

    pub(super) fn expired(&self, messages: u64) {
        self.expired_messages.store(messages, Ordering::Relaxed);
    }

    pub(super) fn held(&self, held: HeldCounts, given_up_transactions: u64) {
        self.delayed.store(held.delayed, Ordering::Relaxed);
        self.halves.store(held.halves, Ordering::Relaxed);
        self.given_up_transactions.store(given_up_transactions, Ordering::Relaxed);
    }

    pub(super) fn idle(&self, groups: Arc<[Arc<IdleGroup>]>) {
        *self.idle_groups.lock().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    pub(super) fn idle_groups(&self) -> Arc<[Arc<IdleGroup>]> {
        Arc::clone(&self.idle_groups.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn scrubbed(&self, scrub: ScrubFigures) {
        *self.scrub.lock().unwrap_or_else(PoisonError::into_inner) = scrub;
    }

    pub(super) fn compared(&self, same: bool) {
        let count = if same { &self.states_same } else { &self.states_different };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn log_time_ahead(&self, ms: i64) {
        self.log_time_ahead_ms.store(ms, Ordering::Relaxed);
    }

    pub(super) fn batch(&self, requests: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self, start: Lsn, durable: Lsn, took: Duration) {
        self.start.store(start.0, Ordering::Relaxed);
        self.durable.store(durable.0, Ordering::Relaxed);
        let micros = took.as_micros() as u64;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.flush_us.fetch_add(micros, Ordering::Relaxed);
        let bucket = FLUSH_BUCKETS_US.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.flushes_by_time.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn committed(&self, commit: Lsn) {
        self.commit.store(commit.0, Ordering::Relaxed);
    }

    pub(super) fn dropped_below(&self, start: Lsn) {
        self.start.store(start.0, Ordering::Relaxed);
    }

    pub(super) fn checkpointed(&self, checkpoint: Lsn) {
        self.checkpoint.store(checkpoint.0, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> Figures {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Figures {
            start: Lsn(load(&self.start)),
            durable: Lsn(load(&self.durable)),
            commit: Lsn(load(&self.commit)),
            checkpoint: Lsn(load(&self.checkpoint)),
            available_bytes: load(&self.available_bytes),
            total_bytes: load(&self.total_bytes),
            accepts_messages: self.accepts_messages.load(Ordering::Relaxed),
            expired_messages: load(&self.expired_messages),
            log_time_ahead_ms: self.log_time_ahead_ms.load(Ordering::Relaxed),
            held: HeldCounts { delayed: load(&self.delayed), halves: load(&self.halves) },
            given_up_transactions: load(&self.given_up_transactions),
            scrub: *self.scrub.lock().unwrap_or_else(PoisonError::into_inner),
            states_same: load(&self.states_same),
            states_different: load(&self.states_different),
            batches: load(&self.batches),
            requests: load(&self.requests),
            flushes: load(&self.flushes),
            flush_us: load(&self.flush_us),
            flushes_by_time: std::array::from_fn(|at| self.flushes_by_time.get(at).map_or(0, load)),
        }
    }
}
