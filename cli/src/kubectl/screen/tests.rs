//! What the screen shows while all is well, and what of it is left while parts cannot be asked.

use serde_json::{Value, json};

use super::*;

fn queue(status: &Value) -> ReliableQueue {
    let object = json!({
        "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "ReliableQueue",
        "metadata": { "name": "orders", "namespace": "shop", "generation": 2 },
        "spec": { "storage": { "size": "1Gi" } },
        "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-28T10:00:00Z" })
}

fn well() -> Value {
    json!({
        "observedGeneration": 2, "master": "orders-0", "epoch": 3, "inSync": ["orders-0", "orders-1"],
        "conditions": [condition("Ready", "True", "AsExpected", "")],
        "endpoints": { "bootstrap": "orders.shop.svc:8081" },
    })
}

fn shard(epoch: i64, master: char, in_sync: &str) -> QueueShard {
    let store = |id: char| id.to_string().repeat(32);
    let copies = in_sync.chars().map(|id| json!({ "storeId": store(id), "session": "0000000000000007" }));
    let member = |(ordinal, id): (usize, char)| json!({ "storeId": store(id), "name": format!("orders-{ordinal}"), "address": "10.0.0.1:8083" });
    let members: Vec<_> = ['a', 'b'].into_iter().enumerate().map(member).collect();
    let spec = json!({
        "version": 5, "epoch": epoch, "master": store(master), "inSync": copies.collect::<Vec<_>>(),
        "members": members,
        "minInSync": 1, "flushMode": "Sync",
    });
    QueueShard::new("orders", serde_json::from_value(spec).unwrap())
}

fn pod(ordinal: usize) -> Pod {
    let pod = json!({ "metadata": { "name": format!("orders-{ordinal}") },
        "spec": { "nodeName": format!("worker-{ordinal}"), "containers": [] } });
    serde_json::from_value(pod).unwrap()
}

fn told(role: pb::Role, durable: u64) -> pb::ReplicaStatus {
    pb::ReplicaStatus {
        role: role.into(),
        phase: if role == pb::Role::Slave { pb::Phase::Following } else { pb::Phase::Unspecified }.into(),
        serving: role == pb::Role::Master,
        accepts_messages: role == pb::Role::Master,
        end_lsn: 8_192,
        durable_lsn: durable,
        disk_free_bytes: 3 << 30,
        disk_total_bytes: 4 << 30,
        flush_mode: pb::FlushMode::Sync.into(),
        ..pb::ReplicaStatus::default()
    }
}

#[test]
fn a_queue_that_is_well_fits_a_few_lines() {
    let pods =
        Ok(vec![(pod(0), Ok(told(pb::Role::Master, 8_192))), (pod(1), Ok(told(pb::Role::Slave, 4_096)))]);
    let queue = queue(&well());
    let shown = Shown::of(Asked { queue: &queue, shard: Ok(Some(shard(3, 'a', "ab"))), pods });
    let expected = "\
queue       orders in namespace shop
ready       yes
master      orders-0, epoch 3
in sync     2 of 2: orders-0, orders-1; producers need 1
flush mode  sync
clients     orders.shop.svc:8081

POD       ROLE    IN SYNC  BEHIND   DISK FREE           NODE      REMARK
orders-0  master  yes      0 B      3.0 GiB of 4.0 GiB  worker-0
orders-1  slave   yes      4.0 KiB  3.0 GiB of 4.0 GiB  worker-1";
    assert_eq!(shown.text(), expected);
}

#[test]
fn the_configuration_is_believed_where_the_operator_has_not_looked_since() {
    let pods = Ok(vec![(pod(1), Ok(told(pb::Role::Master, 8_192)))]);
    let queue = queue(&well());
    let shown = Shown::of(Asked { queue: &queue, shard: Ok(Some(shard(4, 'b', "b"))), pods });
    assert_eq!((shown.master.as_deref(), shown.epoch), (Some("orders-1"), Some(4)));
    assert_eq!(shown.in_sync, ["orders-1"]);
    let text = shown.text();
    assert!(text.contains("older than the present epoch"), "{text}");
    assert!(text.contains("there is no pod"), "{text}");
}

#[test]
fn a_pod_with_a_new_volume_is_not_the_copy_that_had_its_name() {
    let emptied = pb::ReplicaStatus { store_id: "c".repeat(32), ..told(pb::Role::Slave, 0) };
    let slave = pb::ReplicaStatus { store_id: "b".repeat(32), ..told(pb::Role::Slave, 8_192) };
    let pods = Ok(vec![(pod(0), Ok(emptied)), (pod(1), Ok(slave))]);
    let queue = queue(&well());
    let shown = Shown::of(Asked { queue: &queue, shard: Ok(Some(shard(3, 'a', "ab"))), pods });
    assert_eq!((shown.master, shown.in_sync), (None, vec!["orders-1".to_owned()]));
}

#[test]
fn what_cannot_be_asked_is_left_out_with_the_reason() {
    let status = json!({
        "observedGeneration": 1, "master": "orders-0", "epoch": 3, "inSync": ["orders-0"],
        "conditions": [
            condition("Ready", "False", "SingleInSync", "orders-0 alone"),
            condition("FailoverReady", "False", "SingleInSync", "orders-0 alone holds everything"),
        ],
    });
    let denied = KubeFailure::Forbidden { doing: "get the QueueShard".to_owned(), message: "no".to_owned() };
    let pods =
        Ok(vec![(pod(0), Err("you may not forward ports".to_owned())), (pod(1), Err("away".to_owned()))]);
    let text = Shown::of(Asked { queue: &queue(&status), shard: Err(denied), pods }).text();
    for words in [
        "ready       NO, see below",
        "master      orders-0, epoch 3",
        "you may not forward ports",
        "FailoverReady is False (SingleInSync) since 2026-11-28T10:00:00Z\n    orders-0 alone holds everything",
        "those that the operator saw last, for you may not get the QueueShard",
        "has not looked at the newest spec",
    ] {
        assert!(text.contains(words), "without {words:?}:\n{text}");
    }
}

#[test]
fn a_replica_says_what_is_the_matter_with_it() {
    let halted = pb::ReplicaStatus { halted: "the log is damaged".to_owned(), ..told(pb::Role::Slave, 0) };
    let installing = pb::ReplicaStatus { phase: pb::Phase::Installing.into(), ..told(pb::Role::Slave, 0) };
    let full = pb::ReplicaStatus { accepts_messages: false, ..told(pb::Role::Master, 0) };
    assert_eq!(remark(&halted).unwrap(), "has stopped: the log is damaged");
    assert_eq!(remark(&installing).unwrap(), "fetches the log of the master");
    assert_eq!(remark(&full).unwrap(), "takes no messages: a disk is too full");
    assert_eq!(remark(&told(pb::Role::Slave, 0)), None);
}

#[test]
fn a_new_queue_has_no_master_and_nothing_is_missing() {
    let queue = queue(&json!({ "observedGeneration": 2 }));
    let shown = Shown::of(Asked { queue: &queue, shard: Ok(None), pods: Ok(Vec::new()) });
    assert_eq!((shown.master.clone(), shown.ready.as_str()), (None, "Unknown"));
    assert_eq!(shown.remarks, Vec::<String>::new());
    assert!(shown.text().contains("master      NOBODY"));
}

#[test]
fn without_the_right_to_list_pods_the_rest_is_shown() {
    let denied = KubeFailure::Forbidden { doing: "list pods".to_owned(), message: "no".to_owned() };
    let queue = queue(&well());
    let text =
        Shown::of(Asked { queue: &queue, shard: Ok(Some(shard(3, 'a', "ab"))), pods: Err(denied) }).text();
    assert!(text.contains("orders-0, epoch 3") && text.contains("for you may not list pods"), "{text}");
    assert!(!text.contains("POD"), "{text}");
}
