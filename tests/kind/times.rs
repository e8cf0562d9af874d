//! What was measured on the way: printed, never asserted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One figure.
struct Time {
    test: String,
    what: String,
    took: Duration,
}

static TIMES: Mutex<Vec<Time>> = Mutex::new(Vec::new());

/// Notes how long something took, and says so at once.
pub(crate) fn note(test: &str, what: &str, took: Duration) {
    eprintln!("{test}: {what}: {:.2} s", took.as_secs_f64());
    let time = Time { test: test.to_owned(), what: what.to_owned(), took };
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).push(time);
}

/// All figures of this run, in the order in which they were noted.
pub(crate) fn table() -> String {
    let times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = times
        .iter()
        .map(|Time { test, what, took }| format!("{test:32} {what:48} {:8.2} s\n", took.as_secs_f64()));
    rows.collect()
}
