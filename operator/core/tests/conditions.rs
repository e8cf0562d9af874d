//! Conditions are merged as the conventions of Kubernetes ask: the time tells since when the status holds.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use rq_operator_core::conditions::{ConditionStatus, ConditionType, Finding, MESSAGE_MAX, Reason, merge};

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn found(condition: ConditionType, status: ConditionStatus, reason: Reason) -> Finding {
    Finding { condition, status, reason, message: format!("{reason:?} in words") }
}

const DOWN: (ConditionType, ConditionStatus, Reason) =
    (ConditionType::FullyReplicated, ConditionStatus::False, Reason::MemberDown);

#[test]
fn the_time_stays_while_the_status_does_and_the_reason_follows() {
    let first = merge(&[], &[found(DOWN.0, DOWN.1, DOWN.2)], 1, &at(100));
    assert_eq!((first[0].reason.as_str(), &first[0].last_transition_time), ("MemberDown", &at(100)));
    let catching_up = found(DOWN.0, ConditionStatus::False, Reason::CatchingUp);
    let second = merge(&first, &[catching_up], 2, &at(200));
    assert_eq!((second[0].reason.as_str(), &second[0].last_transition_time), ("CatchingUp", &at(100)));
    assert_eq!(second[0].observed_generation, Some(2));
    let whole = found(DOWN.0, ConditionStatus::True, Reason::AsExpected);
    let third = merge(&second, &[whole], 2, &at(300));
    assert_eq!((third[0].status.as_str(), &third[0].last_transition_time), ("True", &at(300)));
    assert_eq!(third.len(), 1);
}

#[test]
fn the_same_finding_again_changes_nothing_so_that_a_queue_at_rest_is_not_written() {
    let findings = ConditionType::ALL.map(|kind| found(kind, ConditionStatus::True, Reason::AsExpected));
    let once = merge(&[], &findings, 1, &at(100));
    assert_eq!(merge(&once, &findings, 1, &at(500)), once);
    assert_eq!(once.len(), ConditionType::ALL.len());
}

#[test]
fn what_nobody_looked_at_and_what_others_wrote_stays_in_its_place() {
    let foreign = Condition {
        type_: "Backup".to_owned(),
        status: "True".to_owned(),
        reason: "Done".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: at(1),
    };
    let old = merge(std::slice::from_ref(&foreign), &[found(DOWN.0, DOWN.1, DOWN.2)], 1, &at(100));
    let ready = found(ConditionType::Ready, ConditionStatus::Unknown, Reason::NoMaster);
    let merged = merge(&old, &[ready], 1, &at(200));
    assert_eq!(merged[..2], old[..]);
    assert_eq!((merged[0].clone(), merged[2].type_.as_str()), (foreign, "Ready"));
}

#[test]
fn a_message_is_cut_to_what_the_api_server_takes() {
    let mut long = found(DOWN.0, DOWN.1, DOWN.2);
    long.message = "ü".repeat(MESSAGE_MAX + 1);
    let merged = merge(&[], &[long], 1, &at(1));
    assert_eq!(merged[0].message.chars().count(), MESSAGE_MAX);
}
