//! Conditions are awaited, never slept for: on two cores nobody knows how long anything takes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Until something that usually takes seconds. Two cores run all of the cluster and the load.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(400);

/// Looks until there is something, and returns that. A look that fails is made again: the API server may be away. `what`
/// says in an error what did not come.
pub(crate) fn wait<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<Looked<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        let seen = match look() {
            Ok(Looked::Found(found)) => return Ok(found),
            Ok(Looked::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > deadline {
            bail!("{what}: not within {} s; last seen: {seen}", deadline.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

/// What a look has shown.
pub(crate) enum Looked<T> {
    /// That which was waited for.
    Found(T),
    /// Something else; this.
    NotYet(String),
}

/// Found if it is so, and else this is how it is.
pub(crate) fn once(is_so: bool, seen: impl Into<String>) -> Looked<()> {
    if is_so { Looked::Found(()) } else { Looked::NotYet(seen.into()) }
}
