//! What is told of a queue, from what is seen alone.

use super::{Release, Rollout};
use crate::observed::Observed;
use crate::queue::status::ReliableQueueStatus;

/// The whole status.
pub(crate) fn status(observed: &Observed, _release: &Release, _rollout: &Rollout) -> ReliableQueueStatus {
    let config = observed.shard.as_ref().and_then(|shard| shard.spec.config().ok().flatten());
    let name = |store| config.as_ref()?.members.get(&store).map(|member| member.name.clone());
    let before = observed.queue.status.clone().unwrap_or_default();
    ReliableQueueStatus {
        observed_generation: observed.queue.metadata.generation,
        master: config.as_ref().and_then(|config| name(config.master)),
        epoch: config.as_ref().map(|config| config.epoch.0.into()),
        in_sync: config
            .iter()
            .flat_map(|config| config.in_sync.keys())
            .filter_map(|store| name(*store))
            .collect(),
        ..before
    }
}
