//! The config store of a queue: its `QueueShard`, read by quorum and changed by compare-and-set. A call that is not
//! answered in time has an unknown outcome: whoever made it reads again, and assumes nothing.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, PostParams};
use rq_core::config::{self, Change, Config, Illegal};
use rq_operator_core::shard::{Malformed, QueueShard, QueueShardSpec};
use thiserror::Error;

use crate::key::QueueKey;

/// A call has so long. A failover cannot wait longer for an API server that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The configuration cannot be read or changed.
#[derive(Debug, Error)]
pub(crate) enum ShardError {
    /// What is there makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nobody knows what came of it.
    #[error("the API server did not answer within {} ms", PATIENCE.as_millis())]
    Unanswered,
    /// It said no, or could not be reached.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The change is against the rules.
    #[error("the configuration cannot be changed so: {0}")]
    Illegal(#[from] Illegal),
}

/// What became of a compare-and-set.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Written {
    /// It is the newest version now.
    Done(Box<ShardRead>),
    /// There is a newer one, or none at all: read again.
    Conflict,
}

/// The configuration as it was read, with the object that it was read from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ShardRead {
    /// The object.
    pub(crate) object: QueueShard,
    /// What it holds; none if the shard was never formed.
    pub(crate) config: Option<Config>,
}

/// The `QueueShard` of one queue. The client must repeat no call by itself: a write that is sent twice conflicts with itself.
#[derive(Clone)]
pub(crate) struct ShardStore {
    shards: Api<QueueShard>,
    name: String,
}

impl ShardStore {
    /// Of this queue.
    pub(crate) fn of(key: &QueueKey, client_without_retries: Client) -> Self {
        Self { shards: Api::namespaced(client_without_retries, &key.namespace), name: key.name.clone() }
    }

    /// Reads what is newest; none if there is no such object.
    pub(crate) async fn read(&self) -> Result<Option<ShardRead>, ShardError> {
        // Without a resource version it is a read of the quorum, never of a cache.
        let Some(object) = within(self.shards.get_opt(&self.name)).await? else { return Ok(None) };
        let config = object.spec.config()?;
        Ok(Some(ShardRead { object, config }))
    }

    /// Writes `new` over what was read.
    pub(crate) async fn compare_and_set(
        &self,
        read: &QueueShard,
        new: Config,
    ) -> Result<Written, ShardError> {
        let mut object = read.clone();
        object.spec = QueueShardSpec::from(&new);
        match within(self.shards.replace(&self.name, &PostParams::default(), &object)).await {
            Ok(object) => Ok(Written::Done(Box::new(ShardRead { object, config: Some(new) }))),
            Err(ShardError::Api(kube::Error::Api(status)))
                if status.is_conflict() || status.is_not_found() =>
            {
                Ok(Written::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes one change to what was read.
    pub(crate) async fn change(&self, read: &QueueShard, change: &Change) -> Result<Written, ShardError> {
        let Some(old) = read.spec.config()? else { return Err(Illegal::Nothing.into()) };
        self.compare_and_set(read, config::next(&old, change)?).await
    }
}

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ShardError> {
    let answered = tokio::time::timeout(PATIENCE, call).await;
    Ok(answered.map_err(|_| ShardError::Unanswered)??)
}
