//! Where the clients of a local cluster go. Nothing here reads a clock or a socket.

use std::collections::BTreeSet;

use rq_core::failover::DETECT_TIMEOUT_MS;
use rq_overseer::Seen;

/// Where new connections go, and which old ones are cut.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Backends {
    /// Addresses to try, in this order.
    pub(super) order: Vec<String>,
    /// Addresses of processes that hang, while another one serves: who waits for them waits in vain.
    pub(super) hang: BTreeSet<String>,
}

/// Where clients go: to the newest master that serves, else to whoever answers.
pub(super) fn backends(seen: &[Seen], now: u64) -> Backends {
    let answering = || seen.iter().filter_map(|seen| Some((seen, seen.answer()?)));
    let master = answering().filter(|(_, told)| told.serves).max_by_key(|(_, told)| told.epoch);
    let master = master.map(|(seen, _)| &seen.address);
    let others = answering().map(|(seen, _)| &seen.address).filter(|address| Some(*address) != master);
    let hangs = |seen: &&Seen| {
        seen.silent_since.is_some_and(|since| since + DETECT_TIMEOUT_MS <= now) && seen.running
    };
    let hang = seen.iter().filter(hangs).filter(|_| master.is_some());
    Backends {
        order: master.into_iter().chain(others).cloned().collect(),
        hang: hang.map(|seen| seen.address.clone()).collect(),
    }
}

#[cfg(test)]
mod tests;
