//! Hearing of new configurations: by a watch, and by a look now and then, for a watch may be cut off and not notice.

use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use kube::ResourceExt as _;
use kube::api::{WatchEvent, WatchParams};
use rq_core::config::Config;
use rq_operator_core::shard::QueueShard;
use tokio::sync::mpsc;

use crate::store::answered;
use crate::{ShardStore, StoreError};

/// What was seen at one moment: the configuration, or none of a shard that was never formed.
pub type Look = Result<Option<Config>, StoreError>;

/// The API server ends a watch after this, in seconds.
const WATCH_SECONDS: u32 = 20;
/// Beside the watch, the object is read this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time between two attempts where the API server cannot be asked, and between two watches.
const PAUSE: Duration = Duration::from_millis(250);

impl ShardStore {
    /// Tells each configuration as it comes, and every few seconds what is there. Ends when nobody listens any more. What is
    /// told may have been overtaken by then: only [`read`](Self::read) gives the newest.
    pub async fn follow(self, told: mpsc::Sender<Look>) {
        loop {
            let object = self.get().await;
            let version = object.as_ref().ok().and_then(QueueShard::resource_version);
            if told.send(look(object)).await.is_err() {
                return;
            }
            let ended = match version {
                Some(version) => self.watch_from(version, &told).await,
                None => Ended::Watch,
            };
            if ended == Ended::Listener {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Watches until the API server ends it, or the watch is found to miss something.
    async fn watch_from(&self, mut version: String, told: &mpsc::Sender<Look>) -> Ended {
        // An account that may watch one object by name may watch a list that is narrowed down to it.
        let one = format!("metadata.name={}", self.name);
        let params = WatchParams::default().fields(&one).timeout(WATCH_SECONDS).disable_bookmarks();
        let events = match answered(self.api.watch(&params, &version)).await {
            Ok(events) => events,
            Err(error) => return said(told, Err(error)).await.unwrap_or(Ended::Watch),
        };
        pin_mut!(events);
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
        loop {
            let (object, misses) = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => (Ok(object), false),
                    Some(Ok(WatchEvent::Deleted(_))) => (Err(self.gone()), true),
                    Some(Ok(WatchEvent::Bookmark(_))) => continue,
                    // The next look says more.
                    Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => return Ended::Watch,
                },
                _ = looks.tick() => {
                    let object = self.get().await;
                    let misses = object.as_ref().map_or(true, |object| object.resource_version() != Some(version.clone()));
                    (object, misses)
                }
            };
            if let Ok(object) = &object {
                version = object.resource_version().unwrap_or_default();
            }
            if let Some(ended) = said(told, look(object)).await {
                return ended;
            }
            if misses {
                return Ended::Watch;
            }
        }
    }
}

/// What came to an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Watch,
    Listener,
}

fn look(object: Result<QueueShard, StoreError>) -> Look {
    Ok(object?.spec.config()?)
}

async fn said(told: &mpsc::Sender<Look>, look: Look) -> Option<Ended> {
    told.send(look).await.is_err().then_some(Ended::Listener)
}
