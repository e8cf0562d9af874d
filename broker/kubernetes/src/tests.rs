//! Against an API server of a few lines.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rq_core::config::{Change, Config, Illegal, Member, Written, next};
use rq_core::ids::{Epoch, Session, StoreId};
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use tokio::sync::mpsc;

use super::*;

const A: StoreId = StoreId(0xA);
/// Much longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn formed() -> Config {
    let member = Member { name: "orders-0".to_owned(), address: "10.0.0.1:8083".to_owned() };
    Config::form(A, Session(3), [(A, member)].into(), 1)
}

fn touched(config: &Config) -> Config {
    next(config, &Change::Touch { by: (config.master, config.epoch) }).unwrap()
}

fn spec(config: &Config) -> QueueShardSpec {
    QueueShardSpec::from(config)
}

/// What the server does with a request.
enum Turn {
    /// As an API server does.
    Work,
    /// Others change the object first: to this configuration, or only what is around it.
    After(Option<QueueShardSpec>),
    /// It fails with this code and message.
    Fail(u16, &'static str),
    /// It never answers.
    Hang,
}

#[derive(Default)]
struct Server {
    object: Option<QueueShardSpec>,
    resource_version: u64,
    /// What happens to the next writes; after that all are carried out.
    writes: VecDeque<Turn>,
    /// Likewise.
    reads: VecDeque<Turn>,
    /// What the next watches bring.
    events: VecDeque<String>,
    asked: Vec<String>,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn with(object: Option<QueueShardSpec>) -> Shared {
        Arc::new(Mutex::new(Self { object, resource_version: 7, ..Self::default() }))
    }

    fn text(&self) -> Option<String> {
        let mut object = QueueShard::new("orders", self.object.clone()?);
        object.metadata.resource_version = Some(self.resource_version.to_string());
        Some(serde_json::to_string(&object).unwrap())
    }

    fn change(&mut self, object: Option<QueueShardSpec>) {
        self.object = object.or(self.object.take());
        self.resource_version += 1;
    }

    fn write(&mut self, body: &[u8]) -> Response {
        let object: QueueShard = serde_json::from_slice(body).unwrap();
        if object.metadata.resource_version != Some(self.resource_version.to_string()) {
            return failure(409, "the object has been modified");
        }
        self.change(Some(object.spec));
        self.text().unwrap().into_response()
    }
}

fn failure(code: u16, message: &str) -> Response {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
        "reason": match code { 404 => "NotFound", 409 => "Conflict", _ => "Other" },
    });
    (StatusCode::from_u16(code).unwrap(), status.to_string()).into_response()
}

async fn serve(server: Shared, method: Method, uri: Uri, body: axum::body::Bytes) -> Response {
    let turn = {
        let mut server = server.lock().unwrap();
        server.asked.push(format!("{method} {uri}"));
        if method == Method::PUT { server.writes.pop_front() } else { server.reads.pop_front() }
    };
    match turn {
        Some(Turn::Hang) => std::future::pending().await,
        Some(Turn::Fail(code, message)) => return failure(code, message),
        Some(Turn::After(object)) => server.lock().unwrap().change(object),
        Some(Turn::Work) | None => {}
    }
    let mut server = server.lock().unwrap();
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        return server.events.pop_front().unwrap_or_default().into_response();
    }
    match method {
        Method::PUT => server.write(&body),
        Method::PATCH => "{\"metadata\":{}}".into_response(),
        _ => server.text().map_or_else(|| failure(404, "not found"), |text| text.into_response()),
    }
}

fn client(server: &Shared) -> Client {
    let server = Arc::clone(server);
    let router = Router::new().fallback(move |method: Method, uri: Uri, body: axum::body::Bytes| {
        serve(server.clone(), method, uri, body)
    });
    Client::new(router, "default")
}

fn store(server: &Shared) -> ShardStore {
    ShardStore::new(client(server), "shop", "orders")
}

#[tokio::test]
async fn a_configuration_is_written_over_the_one_it_was_made_from_and_read_back() {
    let server = Server::with(Some(QueueShardSpec::unformed()));
    let store = store(&server);
    assert_eq!(store.read().await.unwrap(), None, "version 0 was never formed");
    assert_eq!(store.compare_and_set(&formed()).await.unwrap(), Written::Done);
    assert_eq!(store.compare_and_set(&touched(&formed())).await.unwrap(), Written::Done);
    assert_eq!(store.read().await.unwrap(), Some(touched(&formed())));
    let put = "PUT /apis/reliablequeue.dev/v1alpha1/namespaces/shop/queueshards/orders";
    assert!(server.lock().unwrap().asked.iter().any(|asked| asked.starts_with(put)));
}

#[tokio::test]
async fn a_newer_version_is_a_conflict_that_shows_it_even_if_it_comes_between_read_and_write() {
    let newer = Config { min_in_sync: 2, ..touched(&formed()) };
    let server = Server::with(Some(spec(&newer)));
    let there = store(&server).compare_and_set(&touched(&formed())).await.unwrap();
    assert_eq!(there, Written::Conflict(newer.clone()));

    let server = Server::with(Some(spec(&formed())));
    server.lock().unwrap().writes.push_back(Turn::After(Some(spec(&newer))));
    let overtaken = store(&server).compare_and_set(&touched(&formed())).await.unwrap();
    assert_eq!(overtaken, Written::Conflict(newer));
}

#[tokio::test]
async fn a_change_of_what_is_around_the_configuration_is_no_conflict() {
    let server = Server::with(Some(spec(&formed())));
    server.lock().unwrap().writes.push_back(Turn::After(None));
    assert_eq!(store(&server).compare_and_set(&touched(&formed())).await.unwrap(), Written::Done);
    let endless = (0..9).map(|_| Turn::After(None));
    server.lock().unwrap().writes.extend(endless);
    let next = touched(&touched(&formed()));
    assert!(matches!(store(&server).compare_and_set(&next).await, Err(StoreError::Unknown(_))));
}

#[tokio::test]
async fn what_is_not_there_is_an_error_and_never_empty() {
    let store = store(&Server::with(None));
    let error = store.read().await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)) && error.to_string().contains("shop/orders"), "{error}");
    assert!(matches!(store.compare_and_set(&formed()).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn an_illegal_change_is_refused_before_it_is_written() {
    let server = Server::with(Some(spec(&formed())));
    let store = store(&server);
    let jump = Config { version: 9, ..formed() };
    assert!(matches!(store.compare_and_set(&jump).await, Err(StoreError::Illegal(Illegal::Version))));
    let stolen = Config { master: StoreId(0xB), epoch: Epoch(2), ..touched(&formed()) };
    assert!(matches!(store.compare_and_set(&stolen).await, Err(StoreError::Illegal(_))));
    server.lock().unwrap().object = Some(QueueShardSpec::unformed());
    assert!(matches!(
        store.compare_and_set(&touched(&formed())).await,
        Err(StoreError::Illegal(Illegal::Version))
    ));
    assert!(!server.lock().unwrap().asked.iter().any(|asked| asked.starts_with("PUT")));
}

#[tokio::test]
async fn a_rule_of_the_api_server_is_told_in_its_own_words() {
    for (code, message) in [(422, "a promotion cannot enlarge the in-sync set"), (403, "only the operator")] {
        let server = Server::with(Some(spec(&formed())));
        server.lock().unwrap().writes.push_back(Turn::Fail(code, message));
        let error = store(&server).compare_and_set(&touched(&formed())).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Refused { .. }) && error.to_string().contains(message),
            "{error}"
        );
    }
    let server = Server::with(Some(spec(&formed())));
    server.lock().unwrap().reads.push_back(Turn::Fail(503, "the server is starting"));
    assert!(matches!(store(&server).read().await, Err(StoreError::Api(_))), "no rule: it may pass");
}

#[tokio::test]
async fn without_an_answer_the_outcome_is_unknown() {
    let server = Server::with(Some(spec(&formed())));
    server.lock().unwrap().writes.push_back(Turn::Hang);
    let store = store(&server);
    assert!(matches!(store.compare_and_set(&touched(&formed())).await, Err(StoreError::Unknown(_))));
    server.lock().unwrap().reads.push_back(Turn::Hang);
    let error = store.read().await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)) && error.to_string().contains("within 1s"), "{error}");
}

#[tokio::test]
async fn a_watch_tells_what_changes_and_a_look_tells_what_it_missed() {
    let server = Server::with(Some(spec(&formed())));
    let second = touched(&formed());
    let event = {
        let mut server = server.lock().unwrap();
        server.change(Some(spec(&second)));
        let event = format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", server.text().unwrap());
        server.object = Some(spec(&formed()));
        event
    };
    server.lock().unwrap().events.push_back(event);
    let (told, mut looks) = mpsc::channel(1);
    let following = tokio::spawn(store(&server).follow(told));
    assert_eq!(looks.recv().await.unwrap().unwrap(), Some(formed()));
    assert_eq!(looks.recv().await.unwrap().unwrap(), Some(second.clone()));
    let third = touched(&second);
    server.lock().unwrap().change(Some(spec(&third)));
    let newest = async { while looks.recv().await.unwrap().ok().flatten().as_ref() != Some(&third) {} };
    tokio::time::timeout(PATIENCE, newest).await.unwrap();
    server.lock().unwrap().object = None;
    let gone = async { while !matches!(looks.recv().await, Some(Err(StoreError::NotFound(_)))) {} };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    drop(looks);
    tokio::time::timeout(PATIENCE, following).await.unwrap().unwrap();
    let watched = "watch=true&timeoutSeconds=20&fieldSelector=metadata.name%3Dorders";
    assert!(server.lock().unwrap().asked.iter().any(|asked| asked.contains(watched)));
}

#[tokio::test]
async fn a_pod_is_labelled_by_a_patch_of_its_labels_alone() {
    let server = Server::with(None);
    label_pod(&client(&server), "shop", "orders-1", PodRole::Master).await.unwrap();
    let asked = server.lock().unwrap().asked.clone();
    assert!(
        asked.iter().all(|asked| asked.starts_with("PATCH /api/v1/namespaces/shop/pods/orders-1")),
        "{asked:?}"
    );
}
