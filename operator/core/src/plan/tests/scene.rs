//! A queue at rest, of which each test changes what it is about.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use rq_core::config::{Change, Config, FlushMode, FlushPolicy, Member, next};
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_overseer::{Disk, Seen, Told};
use serde_json::{Value, json};

use crate::observed::{CertificateSeen, Existing, Observed};
use crate::plan::{Action, Child, Plan, Release, plan};
use crate::queue::ReliableQueue;
use crate::shard::{QueueShard, QueueShardSpec};

pub(crate) const NOW: i64 = 1_700_000_000;
pub(crate) const DAY: i64 = 86_400;
pub(crate) const SESSION: Session = Session(7);

pub(crate) fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

pub(crate) fn queue(spec: &Value) -> ReliableQueue {
    let mut object = json!({
        "apiVersion": "reliablequeue.dev/v1alpha1",
        "kind": "ReliableQueue",
        "metadata": { "name": "orders", "namespace": "shop", "uid": "7", "generation": 1 },
        "spec": { "storage": { "size": "10Gi" } },
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

/// Nothing is there but the queue.
pub(crate) fn nothing(spec: &Value) -> Observed {
    Observed {
        queue: queue(spec),
        existing: Existing::default(),
        shard: None,
        pods: Vec::new(),
        volumes: Vec::new(),
        nodes: BTreeMap::new(),
        certificate: None,
        replicas: Vec::new(),
        trouble: None,
        failover: None,
        now_ms: 1_000_000,
        now: time(NOW),
    }
}

/// All is as the spec says; the master is `orders-0`, its store 1.
pub(crate) fn at_rest(spec: &Value) -> Observed {
    let mut observed = nothing(spec);
    observed.certificate = Some(CertificateSeen {
        not_before: time(NOW - DAY),
        not_after: time(NOW + 89 * DAY),
        authority_ends: time(NOW + 3_649 * DAY),
    });
    let replicas = u32::try_from(observed.queue.spec.replicas).unwrap();
    let config = config(replicas, u8::try_from(observed.queue.spec.min_in_sync()).unwrap());
    observed.pods = (0..replicas).map(|ordinal| pod(ordinal, "new")).collect();
    observed.volumes = (0..replicas).map(claim).collect();
    observed.replicas = (0..replicas).map(|ordinal| seen(ordinal, &config)).collect();
    write(&mut observed, &config);
    apply_all(&mut observed);
    assert_eq!(planned(&observed).actions, [], "a queue at rest is left alone");
    observed
}

/// Carries out each `Apply` of the plan, and has the controller of the `StatefulSet` look at it.
pub(crate) fn apply_all(observed: &mut Observed) {
    let actions = planned(observed).actions;
    let there = &mut observed.existing;
    for action in actions {
        let Action::Apply(child) = action else { continue };
        match *child {
            Child::ServiceAccount(child) => there.service_account = Some(child),
            Child::Role(child) => there.role = Some(child),
            Child::RoleBinding(child) => there.role_binding = Some(child),
            Child::PodDisruptionBudget(child) => there.disruption_budget = Some(child),
            Child::Service(child) if child.metadata.name.as_deref() == Some("orders") => {
                there.service = Some(child);
            }
            Child::Service(child) => there.pod_service = Some(child),
            Child::StatefulSet(child) => there.stateful_set = Some(child),
        }
    }
    if let Some(set) = &mut there.stateful_set {
        set.metadata.generation = Some(1);
        set.status = Some(StatefulSetStatus {
            observed_generation: Some(1),
            update_revision: Some("new".to_owned()),
            ..StatefulSetStatus::default()
        });
    }
}

pub(crate) fn planned(observed: &Observed) -> Plan {
    plan(observed, &Release { broker_image: "broker:1".to_owned() })
}

pub(crate) fn write(observed: &mut Observed, config: &Config) {
    observed.shard = Some(QueueShard::new("orders", QueueShardSpec::from(config)));
}

/// The stores of all replicas are in sync, in epoch 1.
pub(crate) fn config(replicas: u32, min_in_sync: u8) -> Config {
    let member = |ordinal: u32| Member {
        name: format!("orders-{ordinal}"),
        address: format!("10.0.0.{ordinal}:8083"),
    };
    let members = (0..replicas).map(|ordinal| (store(ordinal), member(ordinal))).collect();
    let mut config = Config::form(store(0), SESSION, members, min_in_sync);
    for ordinal in 1..replicas {
        let expand = Change::Expand { by: (store(0), Epoch(1)), add: store(ordinal), session: SESSION };
        config = next(&config, &expand).unwrap();
    }
    config
}

pub(crate) const fn store(ordinal: u32) -> StoreId {
    StoreId(1 + ordinal as u128)
}

/// What the pod says that knows this configuration.
pub(crate) fn seen(ordinal: u32, config: &Config) -> Seen {
    let told = Told {
        store: store(ordinal),
        session: SESSION,
        serves: config.master == store(ordinal),
        epoch: config.epoch,
        promised: config.epoch,
        log_epoch: config.epoch,
        config_version: config.version,
        config: Some(config.clone()),
        end: Lsn(100),
        durable: Lsn(100),
        master_silent_since: None,
        halted: false,
        disk: Disk::default(),
        accepts_messages: true,
        flush_policy: Some(FlushPolicy { mode: FlushMode::Sync, interval_ms: 0 }),
        version: "1".to_owned(),
    };
    let new = Seen::new(format!("orders-{ordinal}"), format!("10.0.0.{ordinal}:8083"));
    Seen { running: true, told: Some(told), ..new }
}

/// A replica that has never been of a shard.
pub(crate) fn seen_new(ordinal: u32) -> Seen {
    let mut seen = seen(ordinal, &config(1, 1));
    let told = seen.told.as_mut().unwrap();
    (told.epoch, told.promised, told.log_epoch) = (Epoch(0), Epoch(0), Epoch(0));
    (told.config_version, told.config, told.end, told.durable) = (0, None, Lsn(0), Lsn(0));
    told.serves = false;
    seen
}

pub(crate) fn pod(ordinal: u32, revision: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("orders-{ordinal}"),
            "uid": format!("uid-{ordinal}"),
            "labels": { "controller-revision-hash": revision },
            "creationTimestamp": time(NOW - 30),
        },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{
                "name": "broker", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": {} },
            }],
        },
    }))
    .unwrap()
}

/// The pod does not come up: its container waits for this.
pub(crate) fn waiting(pod: &mut Pod, reason: &str) {
    let status = json!({
        "conditions": [{ "type": "Ready", "status": "False" }],
        "containerStatuses": [{
            "name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": "in its words" } },
        }],
    });
    pod.status = Some(serde_json::from_value(status).unwrap());
}

pub(crate) fn claim(ordinal: u32) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": { "name": format!("data-orders-{ordinal}") },
        "spec": { "resources": { "requests": { "storage": "10Gi" } } },
    }))
    .unwrap()
}
