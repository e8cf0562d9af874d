//! The tool against a real broker: every command as a user types it, its output, its exit codes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/broker.rs"]
mod broker;
#[path = "cli/holding.rs"]
mod holding;
#[path = "cli/looking_after.rs"]
mod looking_after;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/transactions.rs"]
mod transactions;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Broker;
use crate::run::Run;

/// Runs `rq` with these arguments.
fn rq(endpoint: &str, args: &[&str]) -> Run {
    rq_with_input(endpoint, args, b"")
}

fn rq_with_input(endpoint: &str, args: &[&str], input: &[u8]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rq"));
    command.env("RQ_ENDPOINT", endpoint).args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Run {
        what: args.join(" "),
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

impl Run {
    /// The JSON values that it printed, one a line.
    #[track_caller]
    fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["body"].as_str().unwrap()).collect()
}

#[test]
fn a_topic_is_created_listed_described_and_deleted() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders", "--type", "fifo", "--queues", "3"]).succeeds();
    // Once more with the same settings: done already. With others: refused.
    rq(&["topic", "create", "orders", "--type", "fifo", "--queues", "3"]).succeeds();
    let other = rq(&["topic", "create", "orders", "--type", "normal"]).ends_with(1);
    assert!(other.err.contains("exists already with other settings"), "{}", other.err);

    let listed = rq(&["topic", "list", "-o", "json"]).succeeds().json();
    assert_eq!((&listed[0]["name"], &listed[0]["type"]), (&"orders".into(), &"fifo".into()));
    assert_eq!(listed[0]["queues"].as_array().unwrap().len(), 3);
    let table = rq(&["topic", "list"]).succeeds().out;
    assert!(table.starts_with("NAME") && table.contains("\norders  fifo  3"), "{table}");
    assert_eq!(rq(&["topic", "describe", "orders", "-o", "json"]).succeeds().json()["messages"], 0);

    rq(&["topic", "delete", "orders"]).succeeds();
    let gone = rq(&["topic", "describe", "orders"]).ends_with(3);
    assert!(gone.err.contains("rq topic create orders"), "says what to do: {}", gone.err);
    let gone = rq(&["topic", "delete", "orders"]).ends_with(3);
    assert!(gone.err.contains("rq topic list") && !gone.err.contains("create"), "{}", gone.err);
    let illegal = rq(&["topic", "create", "not a name"]).ends_with(1);
    assert!(illegal.err.contains("illegal topic name"), "{}", illegal.err);
}

#[test]
fn a_group_is_created_listed_described_changed_and_deleted() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    let create = ["group", "create", "billing", "--fifo", "--max-attempts", "5", "--retry-delay", "3s"];
    rq(&create).succeeds();
    let group = rq(&["group", "describe", "billing", "-o", "json"]).succeeds().json();
    assert_eq!((&group["fifo"], &group["maxAttempts"]), (&true.into(), &5.into()));
    assert_eq!(group["retry"]["customized"]["delaysMs"], serde_json::json!([3000]));
    assert_eq!(group["start"], "earliest");
    let again = rq(&["group", "create", "billing"]).ends_with(1);
    assert!(again.err.contains("rq group update"), "{}", again.err);
    rq(&["group", "update", "billing", "--max-attempts", "8"]).succeeds();
    let changed = rq(&["group", "update", "billing", "--retry-exponential", "1s,10s,2", "-o", "json"]);
    let group = changed.succeeds().json();
    assert_eq!((&group["fifo"], &group["maxAttempts"]), (&true.into(), &8.into()), "what is not named stays");
    assert_eq!(group["retry"]["exponential"]["maxMs"], 10_000);
    let nothing = rq(&["group", "update", "billing"]).ends_with(2);
    assert!(nothing.err.contains("--max-attempts"), "{}", nothing.err);
    rq(&["group", "update", "nobody", "--max-attempts", "8"]).ends_with(3);

    rq(&["group", "create", "audit", "--start", "latest"]).succeeds();
    let listed = rq(&["group", "list", "-o", "json"]).succeeds().json();
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|group| &group["name"]).collect();
    assert_eq!(names, ["audit", "billing"], "in the order of their names");
    rq(&["group", "delete", "billing"]).succeeds();
    rq(&["group", "describe", "billing"]).ends_with(3);
    let gone = rq(&["group", "delete", "billing"]).ends_with(3);
    assert!(gone.err.contains("rq group list") && !gone.err.contains("create"), "{}", gone.err);
}

#[test]
fn lines_of_standard_input_are_sent_in_order_and_received_once() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders", "--type", "fifo"]).succeeds();
    rq(&["group", "create", "billing", "--fifo"]).succeeds();
    let produce = ["produce", "orders", "--message-group", "customer-7", "-o", "json"];
    let produced = rq_with_input(broker.endpoint(), &produce, b"one\n\ntwo\r\n\r\nthree").succeeds();
    let sent = produced.json_lines();
    assert_eq!(sent.len(), 3, "empty lines are skipped");
    assert!(produced.err.contains("2 empty lines were skipped"), "{}", produced.err);

    let consume = ["consume", "orders", "--group", "billing", "-o", "json"];
    let received = rq(&consume).succeeds().json_lines();
    assert_eq!(bodies(&received), ["one", "two", "three"]);
    let id = |messages: &[Value]| messages.iter().map(|one| one["messageId"].clone()).collect::<Vec<_>>();
    assert_eq!(id(&received), id(&sent));
    assert!(rq(&consume).succeeds().out.is_empty(), "acknowledged messages do not come back");
}

#[test]
fn a_count_that_is_not_reached_ends_with_a_code_of_its_own() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders"]).succeeds();
    rq(&["group", "create", "billing"]).succeeds();
    let three = ["consume", "orders", "--group", "billing", "--count", "3"];
    let none = rq(&three).ends_with(5);
    assert!(none.err.contains("0 of 3 messages") && none.err.contains("--follow"), "{}", none.err);
    rq(&["produce", "orders", "--body", "x", "--repeat", "5"]).succeeds();
    rq(&three).succeeds();
    let rest = rq(&three).ends_with(5);
    assert!(rest.err.contains("2 of 3 messages") && rest.out.lines().count() == 2, "{rest:?}");
    let help = rq(&["--help"]).succeeds().out;
    assert!(help.contains("5  fewer messages came"), "{help}");
}

#[test]
fn a_message_carries_what_it_was_given() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders"]).succeeds();
    rq(&["group", "create", "billing"]).succeeds();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    std::fs::write(&file, [0, 159, 146, 150]).unwrap();
    let file = file.to_str().unwrap();
    rq(&[
        "produce",
        "orders",
        "--file",
        file,
        "--tag",
        "b",
        "--key",
        "k1",
        "--key",
        "k2",
        "--property",
        "x=1=2",
    ])
    .succeeds();
    rq(&["produce", "orders", "--body", "text", "--tag", "a"]).succeeds();

    let all = rq(&["consume", "orders", "--group", "billing", "-o", "json"]).succeeds().json_lines();
    let binary = all.iter().find(|message| message["tag"] == "b").unwrap();
    assert_eq!(binary["bodyBase64"], "AJ+Slg==");
    assert_eq!(binary["keys"], serde_json::json!(["k1", "k2"]));
    assert_eq!(binary["properties"]["x"], "1=2");

    rq(&["group", "create", "tagged"]).succeeds();
    let tagged = rq(&["consume", "orders", "--group", "tagged", "--tag", "a || c"]).succeeds().out;
    assert!(tagged.contains("tag=a  text") && !tagged.contains("tag=b"), "{tagged}");
}

#[test]
fn a_message_never_acknowledged_becomes_a_dead_letter() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders"]).succeeds();
    rq(&["group", "create", "billing", "--max-attempts", "2", "--retry-delay", "1s"]).succeeds();
    assert_eq!(rq(&["dlq", "count", "billing"]).succeeds().out, "0\n");
    rq(&["produce", "orders", "--body", "poison", "--key", "k"]).succeeds();

    // The broker moves it when its last lease ends and somebody asks; until then it is received again.
    let consume =
        ["consume", "orders", "--group", "billing", "--ack", "never", "--invisible", "1s", "-o", "json"];
    let attempts: Vec<Value> = rq(&consume).succeeds().json_lines();
    let attempts: Vec<i64> = attempts.iter().map(|message| message["attempt"].as_i64().unwrap()).collect();
    assert_eq!(attempts, [1, 2]);
    broker.wait_until("the dead letter", || rq(&["dlq", "count", "billing"]).succeeds().out == "1\n");

    let letters = rq(&["dlq", "list", "billing", "-o", "json"]).succeeds().json();
    let letter = &letters[0];
    assert_eq!((&letter["topic"], &letter["body"]), (&"orders".into(), &"poison".into()));
    assert_eq!(letter["keys"], serde_json::json!(["k"]));
    let table = rq(&["dlq", "list", "billing"]).succeeds().out;
    assert!(table.contains("poison"), "{table}");
    rq(&["dlq", "count", "nobody"]).ends_with(3);
}

#[test]
fn refusals_name_their_code_and_say_what_to_do() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    let no_topic = rq(&["produce", "nowhere", "--body", "x"]).ends_with(3);
    assert!(
        no_topic.err.contains("TOPIC_NOT_FOUND") && no_topic.err.contains("rq topic create"),
        "{}",
        no_topic.err
    );
    rq(&["topic", "create", "fifo", "--type", "fifo"]).succeeds();
    let unordered = rq(&["produce", "fifo", "--body", "x"]).ends_with(1);
    assert!(unordered.err.contains("MESSAGE_PROPERTY_CONFLICT_WITH_TYPE"), "{}", unordered.err);
    let no_group = rq(&["consume", "fifo", "--group", "nobody"]).ends_with(3);
    assert!(no_group.err.contains("CONSUMER_GROUP_NOT_FOUND"), "{}", no_group.err);
    let nothing = rq(&["produce", "fifo", "--message-group", "g", "--body", ""]).ends_with(1);
    assert!(nothing.err.contains("MESSAGE_BODY_EMPTY"), "{}", nothing.err);
}

#[test]
fn wrong_use_ends_with_2_and_an_absent_broker_with_4() {
    let nobody = broker::free_address();
    rq(&nobody, &["topic", "create"]).ends_with(2);
    rq(&nobody, &["produce", "t", "--body", "x", "--file", "y"]).ends_with(2);
    rq(&nobody, &["bench", "--drain"]).ends_with(2);
    for args in [&["status"][..], &["produce", "t", "--body", "x"], &["dlq", "count", "g"]] {
        let run = rq(&nobody, args).ends_with(4);
        assert!(run.err.contains("rq-broker --data DIR"), "says what to do: {}", run.err);
    }
}

#[test]
fn a_silent_broker_is_given_up_after_the_time_asked_for() {
    // Connections are taken by the system, and nobody ever answers on them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    for args in [&["status"][..], &["topic", "list"], &["produce", "t", "--body", "x"]] {
        let run = rq(&endpoint, &[args, &["--timeout", "1s"]].concat()).ends_with(4);
        assert!(run.err.contains("within 1s"), "{}", run.err);
    }
    // Of a message all attempts together.
    let began = Instant::now();
    let run = rq(&endpoint, &["produce", "t", "--body", "x", "--timeout", "4s"]).ends_with(4);
    assert!(began.elapsed() < Duration::from_secs(12) && run.err.contains("may be stored"), "{run:#?}");
}

#[test]
fn status_and_the_log_tell_the_same_of_a_broker() {
    let mut broker = Broker::start();
    rq(broker.endpoint(), &["topic", "create", "orders"]).succeeds();
    rq(broker.endpoint(), &["produce", "orders", "--body", "x", "--repeat", "100", "--concurrency", "8"])
        .succeeds();
    let status = rq(broker.endpoint(), &["status", "-o", "json"]).succeeds().json();
    assert_eq!((&status["topics"], &status["acceptsMessages"]), (&1.into(), &true.into()));
    assert!(rq(broker.endpoint(), &["status"]).succeeds().out.contains("accepts messages  yes"));

    let data = broker.data_dir();
    broker.stop();
    let log = rq("a:1", &["log", "inspect", &data, "-o", "json"]).succeeds().json();
    assert_eq!(log["storeId"], status["storeId"]);
    assert!(log["closedCleanly"].as_bool().unwrap());
    assert!(log["logEndLsn"].as_u64() >= status["durableLsn"].as_u64(), "{log:#}");
    assert!(log["records"].as_u64().unwrap() > 100 && log["damage"].is_null(), "{log:#}");
    let records = rq("a:1", &["log", "records", &data, "--limit", "200"]).succeeds().out;
    assert!(records.contains("TopicPut") && records.contains("body: 1 B"), "{records}");

    // A flipped bit below the checkpoint of the clean end is damage, and named with its place.
    let segments = std::path::Path::new(&data).join("log");
    let files = std::fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().path());
    let segment = files.min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = rq("a:1", &["log", "inspect", &data]).ends_with(1);
    assert!(damaged.err.contains("is damaged at log position 0"), "{}", damaged.err);
    // What the checkpoint stands for is not gone from the log, and a broker starts on it.
    assert!(damaged.out.contains(&format!(" to {}\n", log["logEndLsn"])), "{}", damaged.out);
    broker.start_again();
    rq(broker.endpoint(), &["produce", "orders", "--body", "after"]).succeeds();
    let elsewhere = tempfile::tempdir().unwrap();
    let empty = rq("a:1", &["log", "inspect", elsewhere.path().to_str().unwrap()]).ends_with(1);
    assert!(empty.err.contains("not a data directory"), "{}", empty.err);
}
