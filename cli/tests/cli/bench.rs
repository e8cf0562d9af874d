//! `rq bench`: what it tells of its messages, and what it writes down of them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::rq;

fn events(history: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(history).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ids of the messages with which that was done.
fn done(events: &[Value], op: &str) -> BTreeSet<String> {
    let ok = events.iter().filter(|event| event["op"] == op && event["result"] == "ok");
    ok.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// What came of so many messages if all went well.
fn all(messages: u64) -> Value {
    json!({"acknowledged": messages, "unknown": 0, "received": messages, "lost": 0})
}

#[test]
fn a_bench_accounts_for_every_message() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("ops.jsonl");
    let mut args = vec!["bench", "--senders", "8", "--consumers", "2", "--inflight", "16", "--count", "500"];
    args.extend(["--drain", "-o", "json", "--message-groups", "20", "--history", history.to_str().unwrap()]);
    let report = rq(broker.endpoint(), &args).succeeds().json();
    assert_eq!(report["messages"], all(500), "{report:#}");
    for operation in ["send", "receive", "ack"] {
        let figures = &report[operation];
        assert_eq!((&figures["ok"], &figures["failed"]), (&500.into(), &0.into()), "{operation}: {report:#}");
        assert!(figures["latencyUs"]["p50"].as_f64().unwrap() > 0.0, "{report:#}");
    }
    let events = events(&history);
    assert_eq!(done(&events, "send").len(), 500);
    assert_eq!(done(&events, "send"), done(&events, "ack"));
    assert!(events.iter().all(|event| event["invoke_ns"].as_u64() < event["complete_ns"].as_u64()));
    assert_eq!(rq(broker.endpoint(), &["group", "describe", "bench", "-o", "json"]).json()["backlog"], 0);
}

#[test]
fn a_bench_tells_of_its_messages_by_itself() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    let senders = ["bench", "--senders", "4", "--count", "300"];
    let alone = rq(&senders).succeeds().out;
    assert!(alone.contains("acknowledged 300, unknown 0\n"), "{alone}");
    // The consumers have to go through those of the run before as well.
    let both = rq(&[&senders[..], &["--consumers", "2"]].concat()).succeeds().out;
    assert!(both.contains("acknowledged 300, received 300, lost 0\n"), "{both}");
    assert!(both.contains("longest time without an acknowledged send"), "{both}");
}

#[test]
fn a_message_that_a_bench_never_gets_back_is_a_loss() {
    let broker = Broker::start();
    rq(broker.endpoint(), &["topic", "create", "bench"]).succeeds();
    rq(broker.endpoint(), &["group", "create", "bench"]).succeeds();
    // Somebody else receives for the same group.
    let mut thief = Command::new(env!("CARGO_BIN_EXE_rq"));
    thief.args(["consume", "bench", "--group", "bench", "--follow", "--count", "5", "-o", "json"]);
    let thief = thief.env("RQ_ENDPOINT", broker.endpoint()).stdout(Stdio::piped()).spawn().unwrap();
    let bench = ["bench", "--rate", "200", "--count", "1000", "--consumers", "1", "-o", "json"];
    let robbed = rq(broker.endpoint(), &bench).ends_with(1);
    let stolen = thief.wait_with_output().unwrap().stdout;
    let stolen = String::from_utf8(stolen).unwrap().lines().count();
    assert_eq!((stolen, &robbed.json()["messages"]["lost"]), (5, &5.into()), "{robbed:#?}");
    assert!(robbed.err.contains("5 acknowledged messages were never received"), "{}", robbed.err);
}

#[test]
fn an_open_loop_keeps_its_rate_and_an_empty_call_needs_no_topic() {
    let broker = Broker::start();
    let open =
        rq(broker.endpoint(), &["bench", "--rate", "50", "--duration", "2s", "-o", "json"]).succeeds().json();
    let rate = open["send"]["perSecond"].as_f64().unwrap();
    assert!((40.0..=60.0).contains(&rate), "{open:#}");
    let empty = ["bench", "--call", "empty", "--senders", "1", "--duration", "1s", "-o", "json"];
    assert!(rq(broker.endpoint(), &empty).succeeds().json()["send"]["ok"].as_u64().unwrap() > 10);
}

#[test]
fn a_transaction_is_sent_when_it_is_committed() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("ops.jsonl");
    let mut args = vec!["bench", "--transactions", "--senders", "8", "--consumers", "2", "--count", "200"];
    args.extend(["-o", "json", "--history", history.to_str().unwrap()]);
    let report = rq(broker.endpoint(), &args).succeeds().json();
    assert_eq!((&report["messages"], &report["send"]["ok"]), (&all(200), &200.into()), "{report:#}");
    let events = events(&history);
    let halves: Vec<&Value> = events.iter().filter(|event| event["op"] == "send").collect();
    assert!(halves.iter().all(|half| half["half"] == true), "{:?}", halves.first());
    assert_eq!((done(&events, "commit").len(), halves.len()), (200, 200));
    assert_eq!(done(&events, "commit"), done(&events, "ack"));
    assert_eq!(rq(broker.endpoint(), &["tx", "list", "-o", "json"]).succeeds().json(), json!([]));
}

#[test]
fn a_delayed_message_is_waited_for_and_never_early() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("ops.jsonl");
    let mut args = vec!["bench", "--delay", "2s", "--rate", "100", "--count", "100", "--consumers", "2"];
    args.extend(["-o", "json", "--history", history.to_str().unwrap()]);
    let report = rq(broker.endpoint(), &args).succeeds().json();
    assert_eq!(report["messages"], all(100), "{report:#}");
    let late = &report["lateDelivery"];
    assert_eq!((&late["messages"], &late["early"]), (&100.into(), &0.into()), "{report:#}");
    assert!(late["afterUs"]["max"].as_f64().unwrap() > 0.0, "{report:#}");
    // The report's histogram tells a time to a thousandth; `early` above is exact.
    assert!(report["endToEndUs"]["min"].as_f64().unwrap() >= 1.998e6, "{report:#}");
    let events = events(&history);
    let of = |op: &'static str| events.iter().filter(move |event| event["op"] == op);
    assert!(of("send").all(|send| send["due_ns"].as_u64() > send["complete_ns"].as_u64()), "sent in time");
    let due: HashMap<&str, u64> =
        of("send").map(|send| (send["id"].as_str().unwrap(), send["due_ns"].as_u64().unwrap())).collect();
    let received = of("receive").filter(|receive| receive["id"] != "");
    for receive in received {
        let (id, came) = (receive["id"].as_str().unwrap(), receive["complete_ns"].as_u64().unwrap());
        assert!(came >= due[id], "{id} came {} ns before its time", due[id] - came);
    }
}

#[test]
fn consumers_of_a_bench_get_what_their_filter_wants() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "bench"]).succeeds();
    for tag in ["paid", "new"] {
        rq(&["produce", "bench", "--body", "x", "--tag", tag, "--property", "amount=5"]).succeeds();
    }
    let bench = ["bench", "--senders", "4", "--consumers", "2", "--count", "100", "-o", "json"];
    let with = |options: &[&str]| rq(&[&bench[..], options].concat()).succeeds().json();
    let by_tag = with(&["--tag", "paid", "--group", "by-tag", "--drain"]);
    assert_eq!((&by_tag["messages"], &by_tag["receive"]["ok"]), (&all(100), &101.into()), "{by_tag:#}");
    let by_sql = ["--sql", "amount > 100", "--property", "amount=250", "--group", "by-sql", "--drain"];
    let by_sql = with(&by_sql);
    assert_eq!((&by_sql["messages"], &by_sql["receive"]["ok"]), (&all(100), &100.into()), "{by_sql:#}");
    let nobody = rq(&[&bench[..], &["--sql", "amount > 100"]].concat()).ends_with(2);
    assert!(nobody.err.contains("--property"), "{}", nobody.err);
}
