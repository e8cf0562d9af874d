//! What a user may ask for: the examples are taken, and what cannot work is refused with a sentence that says what to change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod refused;
mod schema;
mod table;

use std::fs;
use std::path::Path;

use rq_operator_core::conditions::ConditionType;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::queue::spec::OnDelete;
use serde_json::Value;

use self::schema::Crd;
use self::table::minimal;

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_example_is_taken_and_read_as_written() {
    let crd = Crd::new();
    for name in ["minimal.yaml", "production.yaml", "async.yaml"] {
        let taken = crd.create(&example(name)).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let queue: ReliableQueue = serde_json::from_value(taken.clone()).unwrap();
        let again = serde_json::to_value(&queue).unwrap();
        assert_eq!(again["spec"], taken["spec"], "{name}: nothing of it is lost on the operator");
    }
}

#[test]
fn a_size_alone_is_a_queue_of_two_that_keeps_its_volumes_and_needs_one_copy() {
    let taken = Crd::new().create(&minimal()).unwrap();
    let ReliableQueue { spec, .. } = serde_json::from_value(taken.clone()).unwrap();
    assert_eq!((spec.replicas, spec.shards, spec.min_in_sync()), (2, 1, 1));
    assert_eq!(spec.storage.on_delete, OnDelete::Retain);
    assert_eq!(spec.failover.detect_timeout.duration().unwrap().as_secs(), 2);
    assert_eq!(spec.replication.rejoin_lag.bytes(), Ok(4 << 20));
    // The types' defaults and the schema's are the same.
    let from_types: ReliableQueue = serde_json::from_value(minimal()).unwrap();
    assert_eq!(from_types.spec, spec);
}

#[test]
fn three_replicas_need_two_copies_where_the_user_says_nothing() {
    let mut queue: ReliableQueue = serde_json::from_value(minimal()).unwrap();
    queue.spec.replicas = 3;
    assert_eq!(queue.spec.min_in_sync(), 2);
    queue.spec.replication.min_in_sync = Some(1);
    assert_eq!(queue.spec.min_in_sync(), 1);
}

#[test]
fn a_queue_that_nobody_has_looked_at_is_unknown_in_every_respect() {
    let taken = Crd::new().create(&minimal()).unwrap();
    let queue: ReliableQueue = serde_json::from_value(taken).unwrap();
    let conditions = queue.status.unwrap().conditions;
    let types: Vec<_> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ConditionType::ALL.map(ConditionType::as_str));
    for condition in conditions {
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("Unknown", "NotReconciled"));
    }
}
