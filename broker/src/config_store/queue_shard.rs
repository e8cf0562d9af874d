//! The config store on Kubernetes: the `QueueShard`, watched by a task of its own so that no request waits for a look.

use rq_core::config::{Config, Written};
use rq_kubernetes::{Look, ShardStore, StoreError};
use tokio::sync::mpsc;

use super::ConfigStore;

/// Looks that may wait to be taken.
const LOOKS: usize = 4;

/// The store.
#[derive(Debug)]
pub struct Shard {
    store: ShardStore,
    looks: mpsc::Receiver<Look>,
}

impl Shard {
    /// Begins to watch. Called within a tokio runtime, on which the watch ends with this value.
    pub fn watch(store: ShardStore) -> Self {
        let (told, looks) = mpsc::channel(LOOKS);
        tokio::spawn(store.clone().follow(told));
        Self { store, looks }
    }
}

impl ConfigStore for Shard {
    type Error = StoreError;

    async fn read(&mut self) -> Result<Option<Config>, StoreError> {
        self.store.read().await
    }

    async fn compare_and_set(&mut self, new: &Config) -> Result<Written, StoreError> {
        self.store.compare_and_set(new).await
    }

    async fn look(&mut self) -> Result<Option<Config>, StoreError> {
        match self.looks.recv().await {
            Some(look) => look,
            // The runtime ends, and the process with it.
            None => std::future::pending().await,
        }
    }
}
