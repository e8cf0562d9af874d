//! The watches: each with a backoff of its own, and noticed within seconds when its other end is gone without a word.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource};
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::QueueShard;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::index::Event;
use super::pulse::Pulse;

/// The server ends a watch after so long, and it is begun again, in seconds.
pub(crate) const WATCH_SECONDS: u32 = 20;
/// Label of the pods of all queues.
const PODS: &str = "app.kubernetes.io/name=reliablequeue";
/// A list of everything within so long, also where nothing happens: a sign of life, and a guard against what was missed.
const AFRESH: Duration = Duration::from_mins(10);

/// Starts all of them.
pub(super) fn start(
    client: &Client,
    pulse: &Arc<Pulse>,
    events: &mpsc::Sender<Event>,
) -> [AbortOnDropHandle<()>; 4] {
    let starter = Starter { client, pulse, events };
    [
        starter.watch::<DeserializeGuard<ReliableQueue>>("reliablequeues", None, Event::Queue),
        starter.watch::<PartialObjectMeta<QueueShard>>("queueshards", None, Event::Shard),
        starter.watch::<Pod>("pods", Some(PODS), Event::Pod),
        starter.watch::<Node>("nodes", None, Event::Node),
    ]
}

struct Starter<'a> {
    client: &'a Client,
    pulse: &'a Arc<Pulse>,
    events: &'a mpsc::Sender<Event>,
}

impl Starter<'_> {
    fn watch<K>(
        &self,
        kind: &'static str,
        labels: Option<&str>,
        event: fn(watcher::Event<K>) -> Event,
    ) -> AbortOnDropHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (api, pulse, events) =
            (Api::<K>::all(self.client.clone()), self.pulse.clone(), self.events.clone());
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let config = labels.into_iter().fold(config, watcher::Config::labels);
        pulse.watched(kind);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let mut changes = std::pin::pin!(watcher(api.clone(), config.clone()).default_backoff());
                let afresh = tokio::time::sleep(AFRESH);
                let mut afresh = std::pin::pin!(afresh);
                loop {
                    let change = tokio::select! {
                        change = changes.next() => change,
                        () = &mut afresh => break,
                    };
                    match change {
                        Some(Ok(change)) => {
                            pulse.watched(kind);
                            if events.send(event(change)).await.is_err() {
                                return;
                            }
                        }
                        Some(Err(error)) => tracing::warn!(kind, %error, "a watch broke and is begun again"),
                        None => break,
                    }
                }
            }
        }))
    }
}
