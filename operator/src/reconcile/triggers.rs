//! What wakes the reconciler: each watch with a backoff of its own, so that one that fails holds no other up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::Api;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Client, Resource};
use rq_operator_core::children::{MANAGED_BY_LABEL, MANAGER, OF_QUEUES};
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::QueueShard;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;

use crate::detector::{Board, WATCH_SECONDS};
use crate::key::QueueKey;

/// Queues that are worked on at the same time.
const AT_ONCE: u16 = 8;

/// A controller with all its watches.
pub(super) fn controller(client: &Client, board: &Board) -> Controller<ReliableQueue> {
    let (reader, writer) = reflector::store();
    let queues = watcher(Api::<DeserializeGuard<ReliableQueue>>::all(client.clone()), config());
    let queues = queues.default_backoff().filter_map(|change| async { readable(change).transpose() });
    let queues = told(queues.reflect(writer).applied_objects());
    Controller::for_stream(queues, reader)
        .with_config(Config::default().concurrency(AT_ONCE))
        .owns_stream(children::<StatefulSet>(client))
        .owns_stream(children::<Service>(client))
        .owns_stream(children::<ServiceAccount>(client))
        .owns_stream(children::<Role>(client))
        .owns_stream(children::<RoleBinding>(client))
        .owns_stream(children::<PodDisruptionBudget>(client))
        .watches_stream(
            touched::<QueueShard>(client, config()),
            |shard| [QueueKey::named(&shard).reference()],
        )
        .watches_stream(touched::<Pod>(client, config().labels(OF_QUEUES)), |pod| {
            QueueKey::labelled(&pod).map(|key| key.reference())
        })
        .watches_stream(touched::<PersistentVolumeClaim>(client, config().labels(OF_QUEUES)), |volume| {
            QueueKey::labelled(&volume).map(|key| key.reference())
        })
        .reconcile_on(found(board))
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// A queue of another release may be one that this one cannot read: it must not keep all others from being looked at.
fn readable(
    change: watcher::Result<watcher::Event<DeserializeGuard<ReliableQueue>>>,
) -> watcher::Result<Option<watcher::Event<ReliableQueue>>> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let read = |queue: DeserializeGuard<ReliableQueue>| {
        let told = |invalid: &InvalidObject| {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::error!(queue = name, error = invalid.error, "a queue cannot be read");
        };
        queue.0.inspect_err(told).ok()
    };
    Ok(match change? {
        Apply(queue) => read(queue).map(Apply),
        Delete(queue) => read(queue).map(Delete),
        InitApply(queue) => read(queue).map(InitApply),
        Init => Some(Init),
        InitDone => Some(InitDone),
    })
}

/// What the operator made, of one kind.
fn children<K>(
    client: &Client,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let ours = format!("{MANAGED_BY_LABEL}={MANAGER}");
    touched(client, config().labels(&ours))
}

fn touched<K>(
    client: &Client,
    config: watcher::Config,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let objects = Api::<PartialObjectMeta<K>>::all(client.clone());
    told(watcher(objects, config).default_backoff().touched_objects())
}

/// Without the errors: the controller would answer those of one watch with a pause of all.
fn told<K: Send + 'static>(
    changes: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + 'static {
    changes.filter_map(|change| async {
        change.inspect_err(|error| tracing::warn!(%error, "a watch broke and is begun again")).ok().map(Ok)
    })
}

/// What the failure detector has found.
fn found(board: &Board) -> impl Stream<Item = reflector::ObjectRef<ReliableQueue>> + Send + 'static {
    futures::stream::unfold(board.news(), |mut news| async {
        loop {
            match news.recv().await {
                Ok(key) => return Some((key.reference(), news)),
                // Those are looked at by the next event.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

/// How often each queue has failed in a row.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<QueueKey, u32>>);

impl Failures {
    /// It did not fail.
    pub(super) fn forget(&self, key: &QueueKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// It failed once more: the pause before the next look.
    pub(super) fn pause(&self, key: QueueKey, least: Duration, most: Duration) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failures.entry(key).or_insert(0);
        let pause = least.saturating_mul(1 << (*failed).min(16));
        *failed = failed.saturating_add(1);
        pause.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_of_one_queue_doubles_and_that_of_others_does_not() {
        let key = |name: &str| QueueKey { namespace: "shop".to_owned(), name: name.to_owned() };
        let (failures, second) = (Failures::default(), Duration::from_secs(1));
        let pause = |name| failures.pause(key(name), second, second * 5).as_secs();
        assert_eq!([pause("a"), pause("a"), pause("a"), pause("a"), pause("b")], [1, 2, 4, 5, 1]);
        failures.forget(&key("a"));
        assert_eq!(pause("a"), 1);
    }
}
