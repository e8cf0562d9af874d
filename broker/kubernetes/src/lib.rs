//! The config store of a shard on Kubernetes: its `QueueShard`, by get, watch and compare-and-set. For brokers, whose account
//! may touch that one object, and for the operator.
//!
//! Whatever the API server does not answer within [`ANSWER_WITHIN`] is unknown: a write may have happened or not.

mod client;
mod pod;
mod store;
#[cfg(test)]
mod tests;
mod watch;

use std::time::Duration;

pub use kube::Client;
use rq_core::config::Illegal;
use rq_operator_core::shard::Malformed;
use thiserror::Error;

pub use self::client::{NoClient, client};
pub use self::pod::{PodRole, label_pod};
pub use self::store::ShardStore;
pub use self::watch::Look;

/// How long the API server may take for an answer. A failover waits for it.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why the configuration was not read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It is not there: unknown, never empty.
    #[error(
        "the QueueShard {0} is not there: the operator writes it when the queue is new, and again if it was lost"
    )]
    NotFound(String),
    /// There was no answer in time. A write may have happened or not.
    #[error("the API server did not answer within {0:?}: what was asked of it may have happened or not")]
    Unknown(Duration),
    /// A rule of the API server forbids it: of the resource, of a policy, or of who may do what.
    #[error("the API server refuses that: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
    /// What is there was not written by a release of ours.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The new version may not follow the old one.
    #[error("the configuration cannot be changed like this: {0}")]
    Illegal(#[from] Illegal),
    /// The API server cannot be reached, or fails. A write may have happened or not.
    #[error("the API server cannot be asked")]
    Api(#[source] kube::Error),
}
