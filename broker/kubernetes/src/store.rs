//! Reading the configuration, and changing it by compare-and-set.

use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};
use rq_core::config::{self, Config, Illegal, Written};
use rq_operator_core::shard::{QueueShard, QueueShardSpec};

use crate::{ANSWER_WITHIN, StoreError};

/// How often a write is tried whose object was touched by others meanwhile and has the same configuration.
const TRIES: u32 = 3;

/// The `QueueShard` of one shard. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ShardStore {
    pub(crate) api: Api<QueueShard>,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ShardStore {
    /// The object of this name, which is there or not.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The newest configuration; none if the shard was never formed. An object that is not there is an error.
    pub async fn read(&self) -> Result<Option<Config>, StoreError> {
        Ok(self.get().await?.spec.config()?)
    }

    /// Makes `new` the newest version if the newest one is `new.version - 1` now.
    pub async fn compare_and_set(&self, new: &Config) -> Result<Written, StoreError> {
        for _ in 0..TRIES {
            let mut object = self.get().await?;
            match object.spec.config()? {
                Some(old) if old.version >= new.version => return Ok(Written::Conflict(old)),
                Some(old) => config::check(&old, new)?,
                None if new.version == 1 => {}
                None => return Err(Illegal::Version.into()),
            }
            object.spec = QueueShardSpec::from(new);
            // It carries the resource version that was read: the API server takes it only if that is the newest.
            match answered(self.api.replace(&self.name, &PostParams::default(), &object)).await {
                Ok(_) => return Ok(Written::Done),
                Err(StoreError::Api(kube::Error::Api(status))) if status.is_conflict() => {}
                Err(error) => return Err(self.not_found(error)),
            }
        }
        let newest = self.read().await?;
        newest.filter(|newest| newest.version >= new.version).map(Written::Conflict).ok_or(BUSY)
    }

    /// The object as the API server has it now: without a resource version, a read is never answered from its cache alone.
    pub(crate) async fn get(&self) -> Result<QueueShard, StoreError> {
        answered(self.api.get(&self.name)).await.map_err(|error| self.not_found(error))
    }

    fn not_found(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Api(kube::Error::Api(status)) if status.is_not_found() => self.gone(),
            error => error,
        }
    }

    pub(crate) fn gone(&self) -> StoreError {
        StoreError::NotFound(format!("{}/{}", self.namespace, self.name))
    }
}

/// Others touch the object again and again: as if it had not answered.
const BUSY: StoreError = StoreError::Unknown(ANSWER_WITHIN);

/// What a call brought in time.
pub(crate) async fn answered<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Err(_) => Err(StoreError::Unknown(ANSWER_WITHIN)),
        Ok(Err(kube::Error::Api(status))) if is_refusal(&status) => {
            Err(StoreError::Refused { message: status.message })
        }
        Ok(answer) => answer.map_err(StoreError::Api),
    }
}

/// Whether nothing would change by asking again: a rule of the resource, a policy, or the rights of who asks.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code, 403 | 422)
}
