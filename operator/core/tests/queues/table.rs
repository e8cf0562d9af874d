//! Queues that cannot work, each with what the user reads. One table for the rules here and for a real API server, which
//! `tests/kind` of the workspace asks: it takes this file as its own.

use serde_json::{Value, json};

/// What is refused.
pub(crate) struct Refused {
    /// What is stored before, as a patch of the least queue; none for a new one.
    pub(crate) old: Option<Value>,
    /// What is written, as such a patch.
    pub(crate) new: Value,
    /// Part of the answer.
    pub(crate) told: &'static str,
}

fn new(new: Value, told: &'static str) -> Refused {
    Refused { old: None, new, told }
}

fn spec(spec: &Value, told: &'static str) -> Refused {
    new(json!({ "spec": spec }), told)
}

fn change(old: &Value, after: &Value, told: &'static str) -> Refused {
    Refused { old: Some(json!({ "spec": old })), new: json!({ "spec": after }), told }
}

fn copies() -> Vec<Refused> {
    vec![
        spec(
            &json!({ "replicas": 0 }),
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
        ),
        spec(&json!({ "replicas": 6 }), "should be less than or equal to 5"),
        spec(&json!({ "replicas": "two" }), "must be of type integer"),
        spec(&json!({ "shards": 2 }), "set shards to 1"),
        spec(
            &json!({ "replicas": 2, "replication": { "minInSync": 3 } }),
            "replication.minInSync is more than replicas, so that nothing could ever be written: lower it, or raise replicas",
        ),
        spec(&json!({ "replication": { "minInSync": 0 } }), "should be greater than or equal to 1"),
        change(
            &json!({ "replicas": 3, "replication": { "minInSync": 2 } }),
            &json!({ "replicas": 1, "replication": { "minInSync": 2 } }),
            "replication.minInSync is more than replicas",
        ),
        spec(
            &json!({ "flushMode": "Fast" }),
            "Unsupported value: \"Fast\": supported values: \"Sync\", \"Async\"",
        ),
        spec(&json!({ "flushInterval": "1s" }), "remove it, or set flushMode to Async"),
        change(
            &json!({ "flushMode": "Async", "flushInterval": "1s" }),
            &json!({ "flushMode": "Sync", "flushInterval": "1s" }),
            "flushInterval has a meaning only with flushMode Async",
        ),
        spec(
            &json!({ "flushMode": "Async", "flushInterval": "2h" }),
            "write a time span of 10ms to 60s in ms, s, m or h",
        ),
    ]
}

fn times_and_sizes() -> Vec<Refused> {
    vec![
        spec(&json!({ "replication": { "ackTimeout": "fast" } }), "write a time span of 500ms to 60s"),
        spec(&json!({ "replication": { "ackTimeout": "100ms" } }), "write a time span of 500ms to 60s"),
        spec(&json!({ "failover": { "detectTimeout": "500ms" } }), "write a time span of 1s to 60s"),
        spec(&json!({ "failover": { "detectTimeout": "-2s" } }), "write a time span of 1s to 60s"),
        spec(&json!({ "failover": { "detectTimeout": 2 } }), "must be of type string"),
        spec(&json!({ "replication": { "rejoinLag": "0Mi" } }), "write a size of 64Ki to 1Gi"),
        spec(&json!({ "failover": { "mode": "Off" } }), "supported values: \"Automatic\", \"Manual\""),
        spec(&json!({ "failover": { "brokerInitiated": true } }), "must be of type string"),
        spec(&json!({ "storage": { "size": null } }), "spec.storage.size: Required value"),
        spec(&json!({ "storage": { "size": "10GB" } }), "write a size of 1Gi to 64Ti"),
        spec(&json!({ "storage": { "size": "1Mi" } }), "write a size of 1Gi to 64Ti"),
        spec(&json!({ "storage": { "onDelete": "Keep" } }), "supported values: \"Retain\", \"Delete\""),
        change(
            &json!({ "storage": { "size": "20Gi" } }),
            &json!({ "storage": { "size": "10Gi" } }),
            "volumes cannot shrink: set the size to 20Gi or more",
        ),
        change(
            &json!({ "storage": { "storageClassName": "fast" } }),
            &json!({ "storage": { "storageClassName": "slow" } }),
            "storageClassName cannot change: volumes do not move between classes",
        ),
        change(
            &json!({}),
            &json!({ "storage": { "storageClassName": "fast" } }),
            "storageClassName cannot change",
        ),
        change(
            &json!({ "storage": { "storageClassName": "fast" } }),
            &json!({}),
            "storageClassName cannot change",
        ),
    ]
}

fn names_and_extras() -> Vec<Refused> {
    let pod = |template: Value| json!({ "scheduling": { "podTemplate": template } });
    vec![
        new(
            json!({ "metadata": { "name": "a-queue-whose-name-is-longer-than-forty-x" } }),
            "give the queue a name of at most 40 lower-case letters",
        ),
        new(json!({ "metadata": { "name": "1st" } }), "begins with a letter: its Service has the same"),
        new(json!({ "metadata": { "name": "orders.eu" } }), "lower-case letters, digits and '-'"),
        spec(&json!({ "image": "" }), "should be at least 1 chars long"),
        spec(&json!({ "imagePullPolicy": "Sometimes" }), "\"Always\", \"IfNotPresent\", \"Never\""),
        spec(&json!({ "reconcile": "Off" }), "supported values: \"Active\", \"Paused\""),
        spec(&json!({ "replica": 3 }), "unknown field \"spec.replica\""),
        spec(&json!({ "scheduling": { "hostSpread": "Always" } }), "\"Preferred\", \"Required\", \"None\""),
        spec(&json!({ "scheduling": { "nodeLostSeconds": -1 } }), "should be greater than or equal to 0"),
        spec(
            &pod(json!({ "labels": { "reliablequeue.dev/role": "master" } })),
            "remove the labels that begin with reliablequeue.dev/",
        ),
        spec(
            &pod(json!({ "labels": { "app.kubernetes.io/name": "mine" } })),
            "the operator finds its pods by them",
        ),
        spec(
            &pod(json!({ "annotations": { "reliablequeue.dev/config": "x" } })),
            "remove the annotations that begin with reliablequeue.dev/",
        ),
        spec(
            &pod(json!({ "env": [{ "name": "RQ_LISTEN", "value": "0.0.0.0:1" }] })),
            "remove the variables that begin with RQ_: they are the broker's settings, which belong into spec.config",
        ),
        spec(
            &pod(json!({ "env": [{ "name": "POD_IP", "value": "10.0.0.1" }] })),
            "remove the variable POD_IP, or give it another name",
        ),
        spec(&pod(json!({ "env": [{ "name": "A" }] })), "give the variable either a value or a valueFrom"),
        spec(
            &json!({ "services": { "bootstrap": { "type": "ExternalName" } } }),
            "\"ClusterIP\", \"NodePort\", \"LoadBalancer\"",
        ),
        spec(
            &json!({ "services": { "bootstrap": { "annotations": { "reliablequeue.dev/x": "y" } } } }),
            "remove the annotations that begin with reliablequeue.dev/",
        ),
        spec(&json!({ "config": { "maxBody": "8MiB" } }), "in lower-case letters and '-', such as max-body"),
        spec(
            &json!({ "config": { "listen": "0.0.0.0:1" } }),
            "from config: the operator sets them, some from other fields of the spec",
        ),
        spec(&json!({ "config": { "log-format": "text" } }), "and log-format from config: the operator sets"),
    ]
}

/// All of them.
pub(crate) fn table() -> Vec<Refused> {
    copies().into_iter().chain(times_and_sizes()).chain(names_and_extras()).collect()
}

/// The least that is a queue.
pub(crate) fn minimal() -> Value {
    json!({
        "apiVersion": "reliablequeue.dev/v1alpha1",
        "kind": "ReliableQueue",
        "metadata": { "name": "orders" },
        "spec": { "storage": { "size": "10Gi" } },
    })
}

/// That, changed by a JSON merge patch.
pub(crate) fn changed(patch: &Value) -> Value {
    let mut queue = minimal();
    merge(&mut queue, patch);
    queue
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}
