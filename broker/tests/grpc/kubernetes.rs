//! Two processes whose configuration is a `QueueShard` of an API server of a few lines.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rq_core::config::{Config, Member, Written};
use rq_core::ids::{Session, StoreId};
use rq_kubernetes::{Client, ShardStore};
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use rq_proto::reliablequeue::{DescribeReplicaRequest, Phase, ReplicaStatus, Role};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::harness::SOON;

const NAMES: [&str; 2] = ["orders-0", "orders-1"];
/// How soon a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// What the API server has.
struct Objects {
    shard: Value,
    resource_version: u64,
    /// The role that each pod is labelled with.
    roles: BTreeMap<String, String>,
    away: bool,
}

type Shared = Arc<Mutex<Objects>>;

fn objects() -> Shared {
    let unformed = json!({
        "version": 0, "epoch": 0, "master": "", "inSync": [], "members": [], "minInSync": 1, "flushMode": "Sync"
    });
    let roles = BTreeMap::new();
    Arc::new(Mutex::new(Objects { shard: unformed, resource_version: 1, roles, away: false }))
}

impl Objects {
    fn shard(&self) -> Value {
        json!({
            "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "QueueShard", "spec": self.shard,
            "metadata": { "name": "orders", "resourceVersion": self.resource_version.to_string() },
        })
    }

    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, String) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if self.away {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        if let Some(pod) = path.strip_prefix("/api/v1/namespaces/shop/pods/") {
            let role = body["metadata"]["labels"]["reliablequeue.dev/role"].as_str();
            self.roles.insert(pod.to_owned(), role.unwrap_or_default().to_owned());
            return (StatusCode::OK, json!({ "metadata": {} }).to_string());
        }
        if *method == Method::PUT {
            let version = self.resource_version.to_string();
            if body["metadata"]["resourceVersion"].as_str() != Some(&version) {
                let status = json!({ "status": "Failure", "code": 409, "reason": "Conflict" });
                return (StatusCode::CONFLICT, status.to_string());
            }
            self.shard = body["spec"].clone();
            self.resource_version += 1;
        }
        (StatusCode::OK, self.shard().to_string())
    }
}

/// The event after a resource version, once there is one. None while the server is away.
async fn event(objects: Shared, after: String) -> Result<String, Infallible> {
    loop {
        {
            let objects = objects.lock().unwrap();
            if objects.away {
                return Ok(String::new());
            }
            if objects.resource_version.to_string() != after {
                let event = json!({ "type": "MODIFIED", "object": objects.shard() });
                return Ok(format!("{event}\n"));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn serve(objects: Shared, method: &Method, uri: &Uri, body: &[u8]) -> Response {
    let query = uri.query().unwrap_or_default();
    if query.contains("watch=true") {
        let version = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        let event = event(objects, version.unwrap_or_default().to_owned());
        return Body::from_stream(futures::stream::once(event)).into_response();
    }
    objects.lock().unwrap().answer(method, uri.path(), body).into_response()
}

struct Cluster {
    dir: TempDir,
    objects: Shared,
    store: ShardStore,
    addresses: BTreeMap<&'static str, SocketAddr>,
    brokers: BTreeMap<&'static str, Child>,
}

impl Cluster {
    async fn start() -> Self {
        let (dir, objects) = (TempDir::new().unwrap(), objects());
        let router = Router::new().fallback({
            let objects = Arc::clone(&objects);
            async move |method: Method, uri: Uri, body: Bytes| {
                serve(Arc::clone(&objects), &method, &uri, &body)
            }
        });
        let store = ShardStore::new(Client::new(router.clone(), "default"), "shop", "orders");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": server } }],
            "users": [{ "name": "test", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        std::fs::write(dir.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
        // Free again when these are dropped, and not given to others soon.
        let free = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let addresses = NAMES.into_iter().zip(free.iter().map(|free| free.local_addr().unwrap())).collect();
        drop(free);
        let mut cluster = Self { dir, objects, store, addresses, brokers: BTreeMap::new() };
        for name in NAMES {
            cluster.start_broker(name);
        }
        cluster
    }

    fn start_broker(&mut self, name: &'static str) {
        let address = self.addresses[name].to_string();
        let broker = Command::new(env!("CARGO_BIN_EXE_rq-broker"))
            .env("KUBECONFIG", self.dir.path().join("kubeconfig"))
            .arg("--data")
            .arg(self.dir.path().join(name))
            .args([
                "--queue-shard",
                "shop/orders",
                "--name",
                name,
                "--listen",
                &address,
                "--advertise",
                &address,
            ])
            .args(["--http", "127.0.0.1:0", "--segment", "1MiB", "--allow-unsafe-filesystem"])
            .kill_on_drop(true)
            .spawn();
        self.brokers.insert(name, broker.unwrap());
    }

    /// Tells a broker to stop, and waits until it has.
    async fn stop(&mut self, name: &str) {
        let mut broker = self.brokers.remove(name).unwrap();
        let pid = broker.id().and_then(|id| Pid::from_raw(id.cast_signed())).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = tokio::time::timeout(SOON, broker.wait()).await.expect("stops in time");
        assert!(ended.unwrap().success(), "{name} closes its log");
    }

    async fn describe(&self, name: &str) -> Option<ReplicaStatus> {
        let mut replica = ReplicaClient::connect(format!("http://{}", self.addresses[name])).await.ok()?;
        Some(replica.describe(DescribeReplicaRequest {}).await.ok()?.into_inner())
    }

    /// What a replica says, once it says this.
    async fn says(&self, name: &str, what: &str, says: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
        let until = Instant::now() + SOON;
        loop {
            let status = self.describe(name).await;
            match status {
                Some(status) if says(&status) => return status,
                status => assert!(Instant::now() < until, "{name} never says {what}: {status:#?}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn is_labelled(&self, name: &str, role: &str) {
        let until = Instant::now() + SOON;
        while self.objects.lock().unwrap().roles.get(name).map(String::as_str) != Some(role) {
            assert!(Instant::now() < until, "{name} is never labelled {role}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until both copies count, and this one serves.
    async fn in_sync(&self, master: &str) -> Config {
        let both = |status: &ReplicaStatus| {
            status.serving && status.config.as_ref().is_some_and(|config| config.in_sync.len() == 2)
        };
        self.says(master, "that both count", both).await;
        self.store.read().await.unwrap().unwrap()
    }
}

fn store_of(status: &ReplicaStatus) -> StoreId {
    status.store_id.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_of_a_queue_shard_register_outlive_the_api_server_and_hand_over_when_they_are_told_to_stop() {
    let mut cluster = Cluster::start().await;
    let first = cluster.says("orders-0", "anything", |_| true).await;
    assert!(first.config.is_none() && first.role() == Role::Unspecified, "{first:?}");
    // Formed by somebody who knows one of them, and not where that is.
    let elsewhere = Member { name: "orders-0".to_owned(), address: "127.0.0.1:1".to_owned() };
    let store = store_of(&first);
    let formed = Config::form(store, Session(first.session), [(store, elsewhere)].into(), 1);
    assert_eq!(cluster.store.compare_and_set(&formed).await.unwrap(), Written::Done);
    let config = cluster.in_sync("orders-0").await;
    for name in NAMES {
        let address = cluster.addresses[name].to_string();
        let member = Member { name: name.to_owned(), address };
        assert!(config.members.values().any(|have| *have == member), "{config:?}");
    }
    cluster.is_labelled("orders-0", "master").await;
    cluster.is_labelled("orders-1", "slave").await;

    cluster.objects.lock().unwrap().away = true;
    cluster.stop("orders-1").await;
    cluster.start_broker("orders-1");
    let follows = |status: &ReplicaStatus| status.phase() == Phase::Following && status.config.is_some();
    let second = cluster.says("orders-1", "that it follows", follows).await;
    cluster.objects.lock().unwrap().away = false;
    // It has left, which could not be written before, and comes back.
    let came_back = |status: &ReplicaStatus| {
        status.config.as_ref().is_some_and(|now| now.version >= config.version + 2 && now.in_sync.len() == 2)
    };
    cluster.says("orders-0", "that the other one has come back", came_back).await;

    cluster.stop("orders-0").await;
    let config = cluster.store.read().await.unwrap().unwrap();
    assert_eq!(config.master, store_of(&second), "by the time it has stopped");
    assert!(config.in_sync.keys().eq([&config.master]), "it left: {config:?}");
    let role = cluster.objects.lock().unwrap().roles["orders-0"].clone();
    assert_eq!(role, "slave", "it did not end as another master beside its successor");
    cluster.says("orders-1", "that it serves", |status| status.serving).await;
    cluster.is_labelled("orders-1", "master").await;
    cluster.start_broker("orders-0");
    cluster.in_sync("orders-1").await;
    cluster.is_labelled("orders-0", "slave").await;
}
