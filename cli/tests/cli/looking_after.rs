//! What people do about dead letters and positions: list, show, replay, purge, reset.

use std::cell::Cell;

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::{bodies, rq};

/// A broker with a topic and a group, of which these messages became dead letters: body, tag, key, region.
fn with_dead_letters(messages: &[[&str; 4]]) -> Broker {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders", "--queues", "2"]).succeeds();
    rq(&["group", "create", "billing", "--max-attempts", "1", "--retry-delay", "1s"]).succeeds();
    for [body, tag, key, region] in messages {
        let region = format!("region={region}");
        rq(&["produce", "orders", "--body", body, "--tag", tag, "--key", key, "--property", &region])
            .succeeds();
        fail_once(&broker);
    }
    broker.wait_until("the dead letters", || {
        rq(&["dlq", "count", "billing"]).succeeds().out == format!("{}\n", messages.len())
    });
    broker
}

/// Has what waits for the group become a dead letter.
fn fail_once(broker: &Broker) {
    let consume =
        ["consume", "orders", "--group", "billing", "--ack", "never", "--invisible", "1s", "--count", "1"];
    rq(broker.endpoint(), &consume).succeeds();
}

fn listed(broker: &Broker, options: &[&str]) -> Vec<String> {
    let letters = rq(broker.endpoint(), &[&["dlq", "list", "billing", "-o", "json"], options].concat());
    let letters = letters.succeeds().json();
    bodies(letters.as_array().unwrap()).into_iter().map(str::to_owned).collect()
}

fn received(broker: &Broker, group: &str) -> Vec<String> {
    let consume = ["consume", "orders", "--group", group, "-o", "json"];
    let messages = rq(broker.endpoint(), &consume).succeeds().json_lines();
    let mut bodies: Vec<String> = bodies(&messages).into_iter().map(str::to_owned).collect();
    bodies.sort();
    bodies
}

#[test]
fn dead_letters_are_found_by_what_they_carry_shown_replayed_and_purged() {
    let broker =
        with_dead_letters(&[["a", "new", "k1", "eu"], ["b", "old", "k2", "us"], ["c", "new", "k3", "us"]]);
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    for (options, expected) in [
        (&[][..], &["a", "b", "c"][..]),
        (&["--tag", "new"], &["a", "c"]),
        (&["--key", "k2"], &["b"]),
        (&["--property", "region=us", "--tag", "new"], &["c"]),
        (&["--topic", "orders", "--from", "1"], &["b", "c"]),
        (&["--from", "1", "--to", "1"], &["b"]),
        (&["--since", "1h ago"], &["a", "b", "c"]),
        (&["--before", "1h ago"], &[]),
        (&["--tag", "new", "--limit", "1"], &["a"]),
        (&["--limit", "0"], &[]),
    ] {
        assert_eq!(listed(&broker, options), expected, "{options:?}");
    }
    let cut = |options: &[&str]| rq(&[&["dlq", "list", "billing"], options].concat()).succeeds().err;
    assert!(cut(&["--limit", "2"]).contains("first 2 dead letters; there are more: --limit"));
    assert!(cut(&["--tag", "new", "--limit", "1", "-o", "json"]).contains("first 1 dead letters"));
    for whole in
        [&[][..], &["--limit", "3"], &["--tag", "new", "--limit", "2"], &["--to", "1", "--limit", "2"]]
    {
        assert_eq!(cut(whole), "", "{whole:?}");
    }
    for wrong in [
        &["--key", ""][..],
        &["--topic", ""],
        &["--tag", ""],
        &["--before", "1970-01-01T00:00:00Z"],
        &["--before", "99999days ago"],
        &["--property", "region=eu", "--property", "region=us"],
    ] {
        for what in [&["list", "billing"][..], &["replay", "billing"], &["purge", "billing", "--yes"]] {
            let refused = rq(&[&["dlq"][..], what, wrong].concat()).ends_with(2);
            assert!(refused.err.contains(wrong[0]), "{what:?}: {}", refused.err);
        }
    }
    rq(&["consume", "orders", "--group", "billing", "--tag", ""]).ends_with(2);
    for missing in [&["list", "nobody", "--limit", "0"][..], &["replay", "billing", "--topic", "others"]] {
        rq(&[&["dlq"][..], missing].concat()).ends_with(3);
    }
    let shown = rq(&["dlq", "show", "billing", "1"]).succeeds().out;
    assert!(shown.contains("region=us") && shown.ends_with("\nb\n"), "{shown}");
    assert_eq!(rq(&["dlq", "show", "billing", "1", "-o", "json"]).succeeds().json()["keys"], json!(["k2"]));
    let none = rq(&["dlq", "show", "billing", "7"]).ends_with(3);
    assert!(none.err.contains("rq dlq list billing"), "{}", none.err);

    let dry = rq(&["dlq", "replay", "billing", "--tag", "new", "--dry-run"]).succeeds().out;
    assert_eq!(dry, "2 dead letters would be replayed\n");
    assert_eq!(listed(&broker, &[]).len(), 3, "a dry run does nothing");
    let replayed = rq(&["dlq", "replay", "billing", "--tag", "new", "-o", "json"]).succeeds().json();
    assert_eq!(replayed, json!({ "group": "billing", "matched": 2, "replayed": 2 }));
    assert_eq!(listed(&broker, &[]), ["b"]);
    rq(&["group", "create", "audit"]).succeeds();
    assert_eq!(received(&broker, "audit"), ["a", "b", "c"], "another group gets each once");
    assert_eq!(received(&broker, "billing"), ["a", "c"], "the group gets back what was replayed");

    let unasked = rq(&["dlq", "purge", "billing"]).ends_with(2);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert_eq!(
        rq(&["dlq", "purge", "billing", "--dry-run"]).succeeds().out,
        "1 dead letter would be purged\n"
    );
    assert_eq!(rq(&["dlq", "purge", "billing", "--yes"]).succeeds().out, "1 dead letter purged\n");
    assert_eq!(rq(&["dlq", "count", "billing"]).succeeds().out, "0\n");
    assert_eq!(rq(&["dlq", "purge", "billing", "--yes"]).succeeds().out, "0 dead letters purged\n");
    // Half messages that nobody ended are no group's: there are none, and that is no error.
    assert_eq!(rq(&["dlq", "list", "TRANS_CHECK_MAX_TIME_TOPIC", "-o", "json"]).succeeds().json(), json!([]));
    rq(&["dlq", "replay", "nobody"]).ends_with(3);
}

#[test]
fn a_dead_letter_whose_topic_is_gone_stays_and_is_named() {
    let broker = with_dead_letters(&[["a", "t", "k", "eu"]]);
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    let unasked = rq(&["topic", "delete", "orders"]).ends_with(2);
    assert!(unasked.err.contains("with 1 message?") && unasked.err.contains("--yes"), "{}", unasked.err);
    rq(&["topic", "delete", "orders", "--yes"]).succeeds();
    let stays = rq(&["dlq", "replay", "billing"]).ends_with(1);
    assert!(stays.err.contains("1 dead letter could not be replayed"), "{}", stays.err);
    assert_eq!(rq(&["dlq", "count", "billing"]).succeeds().out, "1\n");
}

#[test]
fn a_group_is_set_to_go_on_at_an_end_or_at_a_time() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders", "--queues", "1"]).succeeds();
    rq(&["group", "create", "billing"]).succeeds();
    let send = |body: &str| {
        let sent = rq(&["produce", "orders", "--body", body, "-o", "json"]).succeeds().json_lines();
        assert_eq!(sent.len(), 1);
    };
    send("a");
    send("b");
    assert_eq!(received(&broker, "billing"), ["a", "b"]);
    let reset = |to: &str, more: &[&str]| {
        let args = ["group", "reset-offset", "billing", "--topic", "orders", "-o", "json", "--to", to];
        rq(&[&args, more].concat())
    };
    let queue = |before: i64, after: i64, to_come: i64| json!([{ "queue": 0, "before": before, "after": after, "toCome": to_come }]);
    let dry = reset("earliest", &["--dry-run"]).succeeds().json();
    assert_eq!((&dry["queues"], &dry["done"]), (&queue(2, 0, 2), &json!(false)));
    assert_eq!(received(&broker, "billing"), Vec::<String>::new(), "a dry run does nothing");
    let unasked = reset("earliest", &[]).ends_with(2);
    assert!(unasked.err.contains("--yes") && unasked.err.contains("TO COME"), "{}", unasked.err);

    assert_eq!(reset("earliest", &["--yes"]).succeeds().json()["queues"], queue(2, 0, 2));
    assert_eq!(received(&broker, "billing"), ["a", "b"]);
    // The time of the second message, as it was stored: all since then, and nothing before.
    let readers = Cell::new(0);
    let stored = |body: &str| -> i64 {
        readers.set(readers.get() + 1);
        let reader = format!("reader-{}", readers.get());
        rq(&["group", "create", &reader]).succeeds();
        let messages = rq(&["consume", "orders", "--group", &reader, "-o", "json"]).succeeds().json_lines();
        let found = messages.iter().filter(|message| message["body"] == body);
        found.map(|message| message["storeTimeMs"].as_i64().unwrap()).max().unwrap()
    };
    broker.wait_until("another millisecond", || {
        send("later");
        stored("later") > stored("b")
    });
    let total =
        rq(&["topic", "describe", "orders", "-o", "json"]).succeeds().json()["messages"].as_i64().unwrap();
    let time = jiff::Timestamp::from_millisecond(stored("b") + 1).unwrap().to_string();
    let to_time = reset(&time, &["--yes"]).succeeds().json();
    assert_eq!(to_time["queues"][0]["after"], 2, "the first after b: {to_time}");
    assert_eq!(received(&broker, "billing").len() as u64, (total - 2).cast_unsigned());
    reset("earliest", &["--yes"]).succeeds();
    assert_eq!(reset("latest", &["--yes"]).succeeds().json()["queues"], queue(0, total, 0));
    assert_eq!(received(&broker, "billing"), Vec::<String>::new());
    assert_eq!(reset("1h ago", &["--dry-run"]).succeeds().json()["queues"], queue(total, 0, total));
    assert_eq!(
        reset("2999-01-01T00:00:00Z", &["--dry-run"]).succeeds().json()["queues"],
        queue(total, total, 0)
    );
    reset("newest", &["--yes"]).ends_with(2);
    rq(&["group", "reset-offset", "billing", "--topic", "nowhere", "--to", "latest", "--yes"]).ends_with(3);
}

#[test]
fn a_consumer_receives_by_an_expression() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders"]).succeeds();
    rq(&["group", "create", "billing", "--retry-exponential", "1s,10m,2"]).succeeds();
    let group = rq(&["group", "describe", "billing", "-o", "json"]).succeeds().json();
    assert_eq!(group["retry"]["exponential"]["maxMs"], Value::from(600_000));
    for amount in ["7", "12"] {
        rq(&["produce", "orders", "--body", amount, "--property", &format!("amount={amount}")]).succeeds();
    }
    let consume = ["consume", "orders", "--group", "billing", "-o", "json", "--sql"];
    let received = rq(&[&consume[..], &["amount > 10"]].concat()).succeeds().json_lines();
    assert_eq!(bodies(&received), ["12"]);
    let left_out = rq(&consume[..consume.len() - 1]).succeeds();
    assert!(left_out.out.is_empty(), "passed over for good: {}", left_out.out);
    let help = rq(&["consume", "--help"]).succeeds().out;
    assert!(help.contains("passed over for the whole group"), "{help}");
    let bad = rq(&[&consume[..], &["amount >"]].concat()).ends_with(1);
    assert!(bad.err.contains("ILLEGAL_FILTER_EXPRESSION") && bad.err.contains("character 9"), "{}", bad.err);
}
