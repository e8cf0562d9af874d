//! Where the failure detector says what it found, and the reconciler reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rq_operator_core::queue::status::LastFailover;
use rq_overseer::{Disk, Seen, Trouble};
use tokio::sync::broadcast;

use crate::key::QueueKey;

/// Queues that wait to be looked at; with more, some are looked at by the next event.
const WAKES: usize = 1_024;
/// Room on a disk counts in steps of this part: it changes all the time.
const DISK_STEPS: u64 = 20;

/// What is found about one queue.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Findings {
    /// What its replicas say.
    pub(crate) replicas: Vec<Seen>,
    /// When the last question was put that each of them has answered, in ms.
    pub(crate) heard: BTreeMap<String, u64>,
    /// What keeps the shard from being well.
    pub(crate) trouble: Option<Trouble>,
    /// The newest failover that was seen.
    pub(crate) failover: Option<LastFailover>,
    /// Version of the configuration; 0 if none is known.
    pub(crate) version: u64,
}

/// The findings of all queues.
#[derive(Debug)]
pub(crate) struct Board {
    findings: Mutex<BTreeMap<QueueKey, Findings>>,
    wake: broadcast::Sender<QueueKey>,
}

impl Board {
    /// Nothing found.
    pub(crate) fn new() -> Self {
        Self { findings: Mutex::default(), wake: broadcast::Sender::new(WAKES) }
    }

    /// What was found about a queue last.
    pub(crate) fn of(&self, key: &QueueKey) -> Findings {
        self.lock().get(key).cloned().unwrap_or_default()
    }

    /// Queues about which something was found that matters, from now on.
    pub(crate) fn news(&self) -> broadcast::Receiver<QueueKey> {
        self.wake.subscribe()
    }

    /// Puts down what was found.
    pub(super) fn put(&self, key: &QueueKey, found: Findings) {
        let before = self.lock().insert(key.clone(), found.clone()).unwrap_or_default();
        if gist(before) != gist(found) {
            // Fails where nobody listens: this replica carries out no changes.
            let _ = self.wake.send(key.clone());
        }
    }

    /// The queue is gone.
    pub(super) fn forget(&self, key: &QueueKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<QueueKey, Findings>> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What matters: without positions in the log and times, which change with every message and every heartbeat.
fn gist(mut found: Findings) -> Findings {
    found.heard.clear();
    for seen in &mut found.replicas {
        seen.silent_since = seen.silent_since.map(|_| 0);
        let Some(told) = &mut seen.told else { continue };
        told.end = rq_core::ids::Lsn(0);
        told.durable = rq_core::ids::Lsn(0);
        told.master_silent_since = None;
        let Disk { free_bytes, total_bytes } = told.disk;
        let step = (total_bytes / DISK_STEPS).max(1);
        told.disk = Disk { free_bytes: free_bytes / step, total_bytes };
    }
    found
}

#[cfg(test)]
mod tests {
    use rq_overseer::Told;
    use rq_proto::reliablequeue as pb;

    use super::*;

    fn found(durable: u64, silent_since: Option<u64>) -> Findings {
        let store_id = rq_core::ids::StoreId(1).to_string();
        let status = pb::ReplicaStatus { store_id, durable_lsn: durable, ..pb::ReplicaStatus::default() };
        let seen = Seen::new("orders-0".to_owned(), String::new());
        let seen = Seen { running: true, silent_since, told: Told::read(&status, 0), ..seen };
        let heard = [("orders-0".to_owned(), durable)].into();
        Findings { replicas: vec![seen], heard, ..Findings::default() }
    }

    #[test]
    fn the_reconciler_is_woken_by_what_matters_alone() {
        let (board, key) = (Board::new(), QueueKey { namespace: "n".to_owned(), name: "q".to_owned() });
        let mut news = board.news();
        board.put(&key, found(1, None));
        assert_eq!(news.try_recv().unwrap(), key);
        board.put(&key, found(2, None));
        assert!(news.try_recv().is_err(), "a message more");
        board.put(&key, found(2, Some(5)));
        assert_eq!(news.try_recv().unwrap(), key);
        board.put(&key, found(2, Some(9)));
        assert!(news.try_recv().is_err(), "still silent");
        assert_eq!(board.of(&key), found(2, Some(9)));
    }
}
