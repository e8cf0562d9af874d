//! How late delayed messages come: from their time, as the broker gives it, to their first delivery.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use rq_proto::rocketmq as pb;

use crate::failure::Failure;

/// Longest latency told apart: one minute. What takes longer counts as that.
pub(super) const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Of all messages that were due within the window.
pub(super) struct Lateness {
    nanos: Mutex<Histogram<u64>>,
    early: AtomicU64,
}

impl Lateness {
    pub(super) fn new() -> Result<Self, Failure> {
        let nanos = Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)?;
        Ok(Self { nanos: Mutex::new(nanos), early: AtomicU64::new(0) })
    }

    /// Counts a message received just now, if it had a time and `counts` says so of that: of when it came it must not
    /// depend, or the latest would be left out. What comes again comes for another reason.
    pub(super) fn note(&self, system: &pb::SystemProperties, counts: impl FnOnce(Instant) -> bool) {
        let due = system.delivery_timestamp.and_then(|due| SystemTime::try_from(due).ok());
        let Some(due) = due.filter(|_| system.delivery_attempt.unwrap_or(1) <= 1) else { return };
        match SystemTime::now().duration_since(due) {
            Ok(late) if Instant::now().checked_sub(late).is_some_and(counts) => self.record(late),
            Ok(_) => {}
            Err(_) => {
                self.early.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn record(&self, late: Duration) {
        let mut nanos = self.nanos.lock().unwrap_or_else(PoisonError::into_inner);
        nanos.saturating_record(late.as_nanos() as u64);
    }

    /// Of those that came after their time, in nanoseconds.
    pub(super) fn nanos(&self) -> Histogram<u64> {
        self.nanos.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Messages that came before their time, by the clock of this machine.
    pub(super) fn early(&self) -> u64 {
        self.early.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delayed(due: SystemTime, attempt: i32) -> pb::SystemProperties {
        pb::SystemProperties {
            delivery_timestamp: Some(due.into()),
            delivery_attempt: Some(attempt),
            ..Default::default()
        }
    }

    #[test]
    fn what_counts_is_when_a_message_was_due() {
        let (lateness, opened) = (Lateness::new().unwrap(), Instant::now());
        let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        let within = |due| due + Duration::from_secs(5) > opened;
        lateness.note(&delayed(ago(2), 1), within);
        lateness.note(&delayed(ago(2), 2), within);
        lateness.note(&delayed(ago(9), 1), within);
        lateness.note(&pb::SystemProperties::default(), within);
        let nanos = lateness.nanos();
        assert_eq!((nanos.len(), lateness.early()), (1, 0));
        assert!((1_990_000_000..3_000_000_000).contains(&nanos.max()), "{}", nanos.max());
    }

    #[test]
    fn what_comes_before_its_time_is_counted_apart() {
        let lateness = Lateness::new().unwrap();
        lateness.note(&delayed(SystemTime::now() + Duration::from_secs(5), 1), |_| true);
        assert_eq!((lateness.nanos().len(), lateness.early()), (0, 1));
    }
}
