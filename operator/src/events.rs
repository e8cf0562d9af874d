//! What people are told, as events of the queue. An event of an epoch has a name of its own, so that whichever replica of the
//! operator sees it first tells it, and no other tells it again. (The recorder of kube tells a second note of the same reason
//! as the first one, repeated.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource as _, ResourceExt as _};
use rq_operator_core::children::MANAGER;
use rq_operator_core::plan::Note;
use rq_operator_core::queue::ReliableQueue;

/// The same note within so long is the same event again.
const SERIES: Duration = Duration::from_mins(6);
/// Longest note that the API server takes, in bytes.
const NOTE_MAX: usize = 1_024;
/// Telling has so long; it is never waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Digits of a uid that tell two queues of one name apart.
const UID_DIGITS: usize = 8;

/// Tells people what happens.
#[derive(Clone)]
pub(crate) struct Teller {
    client: Client,
    /// Which replica of the operator tells it.
    instance: String,
    /// By the uid of the queue, the reason and the note.
    told: Arc<Mutex<HashMap<[String; 3], Series>>>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    count: i32,
    newest: Instant,
}

impl Teller {
    /// With this name for the teller.
    pub(crate) fn new(client: Client, instance: String) -> Self {
        Self { client, instance, told: Arc::default() }
    }

    /// Tells something that happens once in an epoch of a queue, whoever else tells it too.
    pub(crate) fn tell_once(&self, queue: &ReliableQueue, epoch: i64, note: Note) {
        let name = once(queue, epoch, &note);
        self.create(queue, name, note);
    }

    /// Tells something that may happen again.
    pub(crate) fn tell(&self, queue: &ReliableQueue, note: Note) {
        let now = Instant::now();
        let key = [queue.uid().unwrap_or_default(), note.reason.clone(), note.note.clone()];
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, series| now.duration_since(series.newest) < SERIES);
        let again = told.get_mut(&key).map(|series| {
            series.count += 1;
            series.newest = now;
            series.clone()
        });
        if let Some(series) = again {
            drop(told);
            self.repeat(queue, series);
            return;
        }
        let name = format!("{}.{:x}", queue.name_any(), Timestamp::now().as_nanosecond());
        let series = Series { name: name.clone(), count: 1, newest: now };
        told.insert(key, series);
        drop(told);
        self.create(queue, name, note);
    }

    fn create(&self, queue: &ReliableQueue, name: String, note: Note) {
        if note.warning {
            tracing::warn!(queue = %queue.name_any(), reason = note.reason, "{}", note.note);
        } else {
            tracing::info!(queue = %queue.name_any(), reason = note.reason, "{}", note.note);
        }
        let event = self.event(queue.object_ref(&()), name, note);
        let events = self.events(queue);
        tell(async move {
            match events.create(&PostParams::default(), &event).await {
                // Another replica was first.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                other => other.map(drop),
            }
        });
    }

    fn repeat(&self, queue: &ReliableQueue, series: Series) {
        let events = self.events(queue);
        let newest = EventSeries { count: series.count, last_observed_time: MicroTime(Timestamp::now()) };
        tell(async move {
            let patch = Patch::Merge(serde_json::json!({ "series": newest }));
            events.patch(&series.name, &PatchParams::default(), &patch).await.map(drop)
        });
    }

    fn events(&self, queue: &ReliableQueue) -> Api<Event> {
        Api::namespaced(self.client.clone(), &queue.namespace().unwrap_or_default())
    }

    fn event(&self, regarding: ObjectReference, name: String, note: Note) -> Event {
        let mut text = note.note;
        text.truncate(text.floor_char_boundary(NOTE_MAX));
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason),
            action: Some(note.action),
            note: Some(text),
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_controller: Some(format!("reliablequeue.dev/{MANAGER}")),
            reporting_instance: Some(self.instance.clone()),
            regarding: Some(regarding),
            ..Event::default()
        }
    }
}

/// Tells it beside the work: nobody waits for an event.
fn tell(call: impl Future<Output = kube::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an event could not be told"),
            Err(_) => tracing::warn!("an event could not be told: the API server does not answer"),
        }
    });
}

/// The one name of such an event, whoever tells it.
fn once(queue: &ReliableQueue, epoch: i64, note: &Note) -> String {
    let uid: String = queue.uid().unwrap_or_default().chars().take(UID_DIGITS).collect();
    format!("{}.{uid}.{epoch:08}.{}", queue.name_any(), note.reason.to_ascii_lowercase())
}
