//! A `QueueShard` and the changes of it that no writer at all may make. One table for the rules here and for a real API server,
//! which `tests/kind` of the workspace asks: it takes this file as its own.

use serde_json::{Value, json};

pub(crate) const A: &str = "0000000000000000000000000000000a";
pub(crate) const B: &str = "0000000000000000000000000000000b";
pub(crate) const C: &str = "0000000000000000000000000000000c";

/// A shard of three in its third epoch: A is master, B is in sync, C is not.
pub(crate) fn shard() -> Value {
    let member = |id: &str, n: u8| json!({ "storeId": id, "name": format!("orders-{n}"), "address": format!("10.0.0.{n}:8081") });
    json!({
        "metadata": { "name": "orders", "namespace": "shop", "labels": { "reliablequeue.dev/queue": "orders" } },
        "spec": {
            "version": 7,
            "epoch": 3,
            "master": A,
            "inSync": [in_sync(A), in_sync(B)],
            "members": [member(A, 0), member(B, 1), member(C, 2)],
            "minInSync": 1,
            "flushMode": "Sync",
            "uncleanEpoch": 0,
        },
    })
}

/// A copy in sync, always in the same session.
pub(crate) fn in_sync(id: &str) -> Value {
    json!({ "storeId": id, "session": "0000000000000001" })
}

/// The shard with these fields of its spec, and the next version unless one is given.
pub(crate) fn with(fields: &Value) -> Value {
    let mut shard = shard();
    shard["spec"]["version"] = 8.into();
    for (field, value) in fields.as_object().unwrap() {
        shard["spec"][field] = value.clone();
    }
    shard
}

/// Fields of the spec that make an illegal change of [`shard`], with part of the answer.
pub(crate) fn illegal() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "epoch": 2, "master": A }), "the epoch must stay, or grow by one"),
        (json!({ "epoch": 5, "master": B, "inSync": [in_sync(B)] }), "the epoch must stay, or grow by one"),
        (json!({ "master": B }), "another master needs another epoch"),
        (json!({ "epoch": 4, "master": C, "inSync": [in_sync(C)] }), "only a replica of the in-sync set"),
        (
            json!({ "epoch": 4, "master": B, "inSync": [in_sync(B), in_sync(C)] }),
            "a promotion cannot enlarge the in-sync set",
        ),
        (
            json!({ "version": 7, "epoch": 4, "master": B, "inSync": [in_sync(B)] }),
            "must grow by exactly one",
        ),
        (json!({ "version": 9, "inSync": [in_sync(A)] }), "must grow by exactly one"),
        (json!({ "version": 6, "inSync": [in_sync(A)] }), "must grow by exactly one"),
        (json!({ "inSync": [] }), "the in-sync set must hold the master"),
        (json!({ "inSync": [in_sync(B)] }), "the in-sync set must hold the master"),
        (json!({ "members": [] }), "and only members"),
        (json!({ "version": 0, "epoch": 0, "master": "", "inSync": [] }), "must grow by exactly one"),
        (
            json!({ "uncleanEpoch": 4, "epoch": 4, "master": C, "inSync": [in_sync(C), in_sync(B)] }),
            "begins a new epoch with one copy in sync",
        ),
        (json!({ "uncleanEpoch": 3 }), "begins a new epoch with one copy in sync"),
        (json!({ "uncleanEpoch": 5, "epoch": 4, "master": B, "inSync": [in_sync(B)] }), "begins a new epoch"),
    ]
}
