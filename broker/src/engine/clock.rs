//! The one place that reads the machine's clocks for the log.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rq_core::clock::Reading;

/// Both clocks now.
pub(super) fn read() -> Reading {
    static START: OnceLock<Instant> = OnceLock::new();
    let monotonic = START.get_or_init(Instant::now).elapsed();
    // A wall clock before 1970 counts as 1970: log time follows the monotonic clock anyway.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reading { monotonic_us: monotonic.as_micros() as u64, wall_us: wall.as_micros() as u64 }
}
