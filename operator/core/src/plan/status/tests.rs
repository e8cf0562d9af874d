//! One row a situation: what is seen, and what is said of it.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use rq_core::config::{Config, Member};
use rq_core::failover::Stalled;
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_overseer::{Disk, Seen, Told, Trouble};
use serde_json::{Value, json};

use super::*;
use crate::observed::{CertificateSeen, Existing, NodeSeen};
use crate::shard::{QueueShard, QueueShardSpec};
use ConditionType::{
    CertificateHealthy, ConfigAccepted, FailoverReady, FullyReplicated, Ready, StorageHealthy,
    TopologySatisfied, UpToDate, WritesAvailable,
};

const NOW_MS: u64 = 100_000;
const DAY: i64 = 86_400;

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn store(ordinal: u16) -> StoreId {
    StoreId(u128::from(ordinal) + 0xA)
}

fn pod(ordinal: u16) -> Pod {
    let pod = json!({
        "metadata": { "name": format!("orders-{ordinal}"), "labels": { ROLE: if ordinal == 0 { "master" } else { "slave" } } },
        "spec": { "nodeName": format!("worker-{ordinal}"), "containers": [] },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{ "name": "broker", "image": "broker:1", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": {} } }],
        },
    });
    serde_json::from_value(pod).unwrap()
}
const ROLE: &str = crate::children::ROLE_LABEL;

fn volume(ordinal: u16) -> PersistentVolumeClaim {
    let claim = json!({
        "metadata": { "name": format!("data-orders-{ordinal}") },
        "spec": { "resources": { "requests": { "storage": "10Gi" } } },
        "status": { "capacity": { "storage": "10Gi" } },
    });
    serde_json::from_value(claim).unwrap()
}

fn seen(ordinal: u16) -> Seen {
    let master = ordinal == 0;
    Seen {
        running: true,
        told: Some(Told {
            store: store(ordinal),
            session: Session(7),
            serves: master,
            epoch: Epoch(3),
            promised: Epoch(3),
            log_epoch: Epoch(3),
            config_version: 5,
            config: None,
            end: Lsn(100),
            durable: Lsn(100),
            master_silent_since: (!master).then_some(NOW_MS - 100),
            halted: false,
            disk: Disk { free_bytes: 60, total_bytes: 100 },
            accepts_messages: master,
            flush_policy: None,
            version: String::new(),
        }),
        ..Seen::new(format!("orders-{ordinal}"), format!("10.0.0.{ordinal}:8083"))
    }
}

fn config(replicas: u16) -> Config {
    let member = |ordinal: u16| Member { name: format!("orders-{ordinal}"), address: String::new() };
    let members = (0..replicas).map(|ordinal| (store(ordinal), member(ordinal))).collect();
    let mut config = Config::form(store(0), Session(7), members, 1);
    config.in_sync = (0..replicas).map(|ordinal| (store(ordinal), Session(7))).collect();
    (config.version, config.epoch) = (5, Epoch(3));
    config
}

/// A queue at rest, with so many replicas.
fn at_rest(replicas: u16, spec: &Value) -> Observed {
    let mut whole = json!({ "replicas": replicas, "storage": { "size": "10Gi" } });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let queue = json!({
        "apiVersion": "reliablequeue.dev/v1alpha1",
        "kind": "ReliableQueue",
        "metadata": { "name": "orders", "namespace": "shop", "uid": "7", "generation": 4 },
        "spec": whole,
    });
    let ordinals = 0..replicas;
    let node = |ordinal: u16| NodeSeen { zone: Some(format!("zone-{ordinal}")), ..NodeSeen::default() };
    Observed {
        queue: serde_json::from_value(queue).unwrap(),
        existing: Existing::default(),
        shard: Some(QueueShard::new("orders", QueueShardSpec::from(&config(replicas)))),
        pods: ordinals.clone().map(pod).collect(),
        volumes: ordinals.clone().map(volume).collect(),
        nodes: ordinals.clone().map(|ordinal| (format!("worker-{ordinal}"), node(ordinal))).collect(),
        certificate: Some(CertificateSeen {
            not_before: at(0),
            not_after: at(90 * DAY),
            authority_ends: at(3_650 * DAY),
        }),
        replicas: ordinals.map(seen).collect(),
        trouble: None,
        failover: None,
        now_ms: NOW_MS,
        now: at(1_000),
    }
}

fn release() -> Release {
    Release { broker_image: "reliablequeue/broker:1".to_owned() }
}

fn looked(observed: &Observed) -> ReliableQueueStatus {
    status(observed, &release(), &Rollout::UpToDate)
}

fn condition(status: &ReliableQueueStatus, type_: ConditionType) -> (String, String, String) {
    let found = status.conditions.iter().find(|found| found.type_ == type_.as_str()).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

/// The condition has this status and reason, and its sentence these words.
#[track_caller]
fn says(status: &ReliableQueueStatus, type_: ConditionType, expected: (&str, Reason), words: &[&str]) {
    let (holds, reason, message) = condition(status, type_);
    assert_eq!((holds.as_str(), reason.as_str()), (expected.0, expected.1.as_str()), "{type_:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{type_:?} says {message:?}, without {word:?}");
    }
}

fn reshape(observed: &mut Observed, change: impl FnOnce(&mut Config)) {
    let mut config = config(u16::try_from(observed.queue.spec.replicas).unwrap());
    change(&mut config);
    observed.shard = Some(QueueShard::new("orders", QueueShardSpec::from(&config)));
}

fn told(observed: &mut Observed, ordinal: usize) -> &mut Told {
    observed.replicas[ordinal].told.as_mut().unwrap()
}

fn container(observed: &mut Observed, ordinal: usize, change: &Value) {
    let mut pod = serde_json::to_value(&observed.pods[ordinal]).unwrap();
    for (key, value) in change.as_object().unwrap() {
        pod["status"]["containerStatuses"][0][key] = value.clone();
    }
    pod["status"]["conditions"][0]["status"] = json!("False");
    observed.pods[ordinal] = serde_json::from_value(pod).unwrap();
    observed.replicas[ordinal].running = false;
}

/// All pods were made with this setting.
fn started_with(observed: &mut Observed, key: &str, value: &str) {
    for pod in &mut observed.pods {
        let env = json!([{ "name": crate::children::environment::variable(key), "value": value }]);
        let broker = json!([{ "name": "broker", "env": env }]);
        pod.spec.as_mut().unwrap().containers = serde_json::from_value(broker).unwrap();
    }
}

/// orders-1 is out of the set, because of this.
fn slave_out(change: impl FnOnce(&mut Observed)) -> Observed {
    let mut observed = at_rest(2, &json!({}));
    reshape(&mut observed, |config| {
        config.in_sync.remove(&store(1));
    });
    change(&mut observed);
    observed
}

/// The master is gone, with this change.
fn master_lost(spec: &Value, change: impl FnOnce(&mut Observed)) -> Observed {
    let mut observed = at_rest(2, spec);
    observed.pods.remove(0);
    observed.replicas[0].running = false;
    change(&mut observed);
    observed
}

mod rows;
mod whole;
