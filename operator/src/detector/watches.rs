//! The watches: each with a backoff of its own, and noticed within seconds when its other end is gone without a word.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource};
use rq_operator_core::children::OF_QUEUES;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::QueueShard;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use super::index::Event;
use super::pulse::Pulse;

/// The server ends a watch after so long, and it is begun again, in seconds. Where nothing happens nothing is shown of that.
pub(crate) const WATCH_SECONDS: u32 = 20;
/// A list of everything within so long: a guard against what was missed.
const AFRESH: Duration = Duration::from_mins(10);
/// The task of a watch turns so often, also where nothing happens: that is how it shows that it lives.
const TURN: Duration = Duration::from_secs(5);

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
        starter.watch::<Pod>("pods", Some(OF_QUEUES), Event::Pod),
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
                let changes = watcher(api.clone(), config.clone()).backoff(Pauses::default());
                let shown = Shown { kind, events: &events, event, every: TURN };
                let followed = shown.follow(changes, || pulse.watched(kind));
                match tokio::time::timeout(AFRESH, followed).await {
                    // It is to be listed afresh, or the stream ended.
                    Err(_) | Ok(Followed::Ended) => {}
                    Ok(Followed::Unwanted) => return,
                }
            }
        }))
    }
}

/// Why a watch is not followed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Followed {
    /// There is nothing more to come.
    Ended,
    /// Nobody takes what comes.
    Unwanted,
}

/// Where what a watch shows goes.
struct Shown<'a, K> {
    kind: &'static str,
    events: &'a mpsc::Sender<Event>,
    event: fn(watcher::Event<K>) -> Event,
    /// It turns so often at least.
    every: Duration,
}

impl<K> Shown<'_, K> {
    /// Passes it on. It turns every so often, whether something comes or not.
    async fn follow(
        &self,
        changes: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
        turned: impl Fn() + Send,
    ) -> Followed {
        let mut changes = std::pin::pin!(changes);
        let mut turns = tokio::time::interval(self.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(change)) => {
                        if self.events.send((self.event)(change)).await.is_err() {
                            return Followed::Unwanted;
                        }
                    }
                    Some(Err(error)) => {
                        tracing::warn!(kind = self.kind, %error, "a watch broke and is begun again");
                    }
                    None => return Followed::Ended,
                },
                _ = turns.tick() => {}
            }
            turned();
        }
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    type Changes = Vec<watcher::Result<watcher::Event<Pod>>>;

    fn shown(events: &mpsc::Sender<Event>) -> Shown<'_, Pod> {
        Shown { kind: "pods", events, event: Event::Pod, every: Duration::from_millis(1) }
    }

    #[tokio::test]
    async fn a_watch_that_never_shows_anything_lives() {
        let (turned, often) = (AtomicU32::new(0), tokio::sync::Notify::new());
        let turn = || {
            if turned.fetch_add(1, Ordering::Relaxed) == 20 {
                often.notify_one();
            }
        };
        let (events, _taken) = mpsc::channel(1);
        let shown = shown(&events);
        tokio::select! {
            followed = shown.follow(futures::stream::pending(), turn) => panic!("it {followed:?}"),
            () = often.notified() => {}
        }
    }

    #[tokio::test]
    async fn a_watch_goes_on_where_it_broke_and_ends_with_its_stream() {
        let changes: Changes = vec![Err(watcher::Error::NoResourceVersion), Ok(watcher::Event::<Pod>::Init)];
        let (events, mut taken) = mpsc::channel(1);
        let followed = shown(&events).follow(futures::stream::iter(changes), || {}).await;
        assert_eq!((followed, taken.try_recv().is_ok()), (Followed::Ended, true));
        drop(taken);
        let changes: Changes = vec![Ok(watcher::Event::Init)];
        let followed = shown(&events).follow(futures::stream::iter(changes), || {}).await;
        assert_eq!(followed, Followed::Unwanted);
    }

    #[test]
    fn a_watch_that_breaks_again_and_again_is_begun_again_within_seconds() {
        let mut pauses = Pauses::default();
        let taken: Vec<u128> = pauses.by_ref().take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(taken, [250, 500, 1_000, 2_000, 4_000, 4_000]);
        pauses.reset();
        assert_eq!(pauses.next(), Some(PAUSE));
    }
}
