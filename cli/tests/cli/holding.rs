//! Messages that nobody sees yet, from the command line: delayed, recalled, and in transactions.

use serde_json::Value;

use crate::broker::Broker;
use crate::{bodies, rq};

#[test]
fn a_delayed_message_comes_at_its_time_and_not_once_recalled() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "reminders", "--type", "delay"]).succeeds();
    rq(&["group", "create", "g"]).succeeds();
    let produce = |body: &str, more: &[&str]| rq(&[&["produce", "reminders", "--body", body], more].concat());
    produce("soon", &["--delay", "1s"]).succeeds();
    produce("now", &["--deliver-at", "2020-01-01T00:00:00Z"]).succeeds();
    let told = produce("late", &["--delay", "40days"]).succeeds().out;
    assert!(told.contains("in 40days") && told.contains("rq recall"), "{told}");
    let several = produce("late", &["--delay", "30days", "--repeat", "3"]).succeeds().out;
    assert!(several.starts_with("sent 3 delayed messages in ") && several.contains("-o json"), "{several}");
    assert_eq!(several.lines().count(), 1, "{several}");
    let negative = produce("earlier", &["--delay=-5s"]).ends_with(2);
    assert!(negative.err.contains("like 30s or 5m, and not negative"), "{}", negative.err);
    let refused = produce("later", &["--delay", "41days"]).ends_with(1);
    assert!(refused.err.contains("ILLEGAL_DELIVERY_TIME"), "{}", refused.err);
    let sent = produce("gone", &["--deliver-at", "2999-01-01T00:00:00Z", "-o", "json"]).ends_with(1);
    assert!(sent.err.contains("ILLEGAL_DELIVERY_TIME"), "{}", sent.err);
    let sent = produce("gone", &["--delay", "3s", "-o", "json"]).succeeds().json();
    assert_eq!(sent.get("offset"), None, "{sent}");
    let handle = sent["recallHandle"].as_str().unwrap();
    let recalled = rq(&["recall", "reminders", handle, "-o", "json"]).succeeds().json();
    assert_eq!((&recalled["messageId"], &recalled["recalled"]), (&sent["messageId"], &true.into()));
    let again = rq(&["recall", "reminders", handle]).succeeds().out;
    assert!(again.contains("is recalled"), "{again}");
    let waiting = rq(&["topic", "delete", "reminders"]).ends_with(2);
    assert!(waiting.err.contains("that nobody has seen yet?"), "{}", waiting.err);
    rq(&["recall", "nowhere", handle]).ends_with(3);
    let foreign = rq(&["recall", "reminders", "nonsense"]).ends_with(1);
    assert!(
        foreign.err.contains("rq produce -o json") && !foreign.err.contains("SendMessage"),
        "{foreign:#?}"
    );
    rq(&["recall", "reminders", ""]).ends_with(2);

    let consume = ["consume", "reminders", "--group", "g", "-o", "json"];
    let mut received: Vec<Value> = Vec::new();
    while received.len() < 2 {
        received.extend(rq(&consume).succeeds().json_lines());
    }
    received.extend(rq(&consume).succeeds().json_lines());
    let mut received = bodies(&received);
    received.sort_unstable();
    assert_eq!(received, ["now", "soon"]);
}

#[test]
fn a_half_message_is_committed_rolled_back_or_left_open() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "payments", "--type", "transaction"]).succeeds();
    rq(&["group", "create", "g"]).succeeds();
    let produce = |end: &str, more: &[&str]| {
        rq(&[&["produce", "payments", "--body", end, "--transaction", end], more].concat())
    };
    let committed = produce("commit", &[]).succeeds().out;
    assert!(committed.contains("is committed"), "{committed}");
    let rolled_back = produce("rollback", &["-o", "json"]).succeeds().json();
    let ended = rq(&["tx", "commit", rolled_back["transactionId"].as_str().unwrap()]).ends_with(1);
    assert!(ended.err.contains("rolled back already"), "{}", ended.err);
    assert_eq!(rq(&["tx", "list", "-o", "json"]).succeeds().json().as_array().unwrap().len(), 0);
    let open = produce("open", &["-o", "json"]).succeeds().json();
    let id = open["transactionId"].as_str().unwrap();
    assert_eq!(rq(&["tx", "list", "-o", "json"]).succeeds().json()[0]["transactionId"], id);
    rq(&["tx", "commit", id]).succeeds();
    let several = produce("open", &["--repeat", "2"]).succeeds().out;
    assert!(several.starts_with("sent 2 half messages in "), "{several}");
    assert!(several.contains("-o json") && several.contains("rq tx list"), "{several}");
    let several = produce("rollback", &["--repeat", "2"]).succeeds().out;
    assert!(several.contains("are rolled back"), "{several}");
    let received = rq(&["consume", "payments", "--group", "g", "--count", "2", "-o", "json"]).succeeds();
    let received = received.json_lines();
    let mut received = bodies(&received);
    received.sort_unstable();
    assert_eq!(received, ["commit", "open"]);
    for wrong in [
        &["--delay", "1s"][..],
        &["--message-group", "m"],
        &["--deliver-at", "2020-01-01T00:00:00Z"],
        &["--property", "a=1", "--property", "a=2"],
    ] {
        produce("open", wrong).ends_with(2);
    }
}
