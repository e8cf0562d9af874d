//! The watches: each with a backoff of its own, and noticed within seconds when its other end is gone without a word.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
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

/// Pause before a watch that broke is begun again. It doubles until it works.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest one. (Those of kube go up to half a minute, which a failover cannot wait after the API server was away.)
const PAUSE_MAX: Duration = Duration::from_secs(4);

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
                let mut changes =
                    std::pin::pin!(watcher(api.clone(), config.clone()).backoff(Pauses::default()));
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

/// The pauses of one watch.
#[derive(Debug, Default)]
struct Pauses {
    broken: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSE.saturating_mul(1 << self.broken.min(16));
        self.broken = self.broken.saturating_add(1);
        Some(pause.min(PAUSE_MAX))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.broken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_breaks_again_and_again_is_begun_again_within_seconds() {
        let mut pauses = Pauses::default();
        let taken: Vec<u128> = pauses.by_ref().take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(taken, [250, 500, 1_000, 2_000, 4_000, 4_000]);
        pauses.reset();
        assert_eq!(pauses.next(), Some(PAUSE));
    }
}
