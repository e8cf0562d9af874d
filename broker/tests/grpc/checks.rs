//! Producers that are asked how their transactions ended: who, when, about what, and what becomes of the answer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rq_broker::config::units::Span;
use rq_proto::rocketmq::settings::PubSub;
use rq_proto::rocketmq::telemetry_command::Command;
use rq_proto::rocketmq::{self as pb, Code, MessageType, TransactionResolution};

use crate::cluster::Cluster;
use crate::harness::{Broker, Client, SOON, resource, system};
use crate::lifecycle::get;
use crate::telemetry::{Telemetry, producer};
use crate::transactions::half;

/// As short as a user may have it.
const INTERVAL: Duration = Duration::from_secs(1);
const IMMUNITY: Duration = Duration::from_millis(500);
/// A stream has to live so long after the command.
const LIVES_FOR: Duration = Duration::from_secs(5);
const UNRESOLVED: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

async fn broker(max_checks: u64) -> Broker {
    let span = |duration: Duration| Span::millis(duration.as_millis() as u64);
    Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.transaction_immunity = span(IMMUNITY);
        config.limits.transaction_check_interval = span(INTERVAL);
        config.limits.max_transaction_checks = max_checks;
    })
    .await
}

fn settings(topics: &[&str]) -> pb::Settings {
    let topics = topics.iter().map(|topic| resource(topic)).collect();
    let publishing = pb::Publishing { topics, ..Default::default() };
    pb::Settings { pub_sub: Some(PubSub::Publishing(publishing)), ..producer() }
}

/// A client with an open stream.
struct Producer {
    client: Client,
    stream: Telemetry,
}

impl Producer {
    /// One that declares these topics.
    async fn of(client: Client, topics: &[&str]) -> Self {
        let mut stream = Telemetry::open(&client).await;
        stream.settings(settings(topics)).await;
        Self { client, stream }
    }

    /// Sends a half message, and tells its transaction.
    async fn send(&self, id: &str, body: &str) -> String {
        self.client.send(vec![half(id, body)]).await.entries[0].transaction_id.clone()
    }

    /// Waits to be asked.
    async fn asked(&mut self) -> pb::RecoverOrphanedTransactionCommand {
        loop {
            let heard = self.stream.hear().await.unwrap().expect("the stream goes on");
            if let Some(Command::RecoverOrphanedTransactionCommand(command)) = heard.command {
                return command;
            }
        }
    }

    async fn answer(&self, asked: &pb::RecoverOrphanedTransactionCommand, resolution: TransactionResolution) {
        let status = self.client.end(&asked.transaction_id, resolution).await;
        assert_eq!(status.code(), Code::Ok, "{}", status.message);
    }
}

fn body(asked: &pb::RecoverOrphanedTransactionCommand) -> String {
    String::from_utf8(asked.message.as_ref().unwrap().body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_producer_that_says_nothing_is_asked_with_the_whole_message() {
    let broker = broker(15).await;
    let mut producer = Producer::of(broker.client("p").await, &["orders"]).await;
    let mut message = half("1", "paid?");
    message.user_properties.insert("customer".to_owned(), "7".to_owned());
    let of_message = message.system_properties.as_mut().unwrap();
    (of_message.tag, of_message.keys) = (Some("invoice".to_owned()), vec!["order-1".to_owned()]);
    of_message.born_timestamp = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
    let began = Instant::now();
    let sent = producer.client.send(vec![message.clone()]).await.entries.remove(0);
    let asked = producer.asked().await;
    assert!(began.elapsed() >= IMMUNITY, "{:?}", began.elapsed());
    assert_eq!(asked.transaction_id, sent.transaction_id);
    let shown = asked.message.clone().unwrap();
    assert_eq!((&shown.topic, &shown.body), (&message.topic, &message.body));
    assert_eq!(shown.user_properties, message.user_properties);
    let (is, was) = (system(&shown), system(&message));
    assert_eq!((&is.message_id, &is.tag, &is.keys), (&was.message_id, &was.tag, &was.keys));
    assert_eq!((is.born_timestamp, is.message_type()), (was.born_timestamp, MessageType::Transaction));
    assert_eq!(is.body_encoding(), pb::Encoding::Identity);
    assert!(is.body_digest.is_some() && is.receipt_handle.is_none(), "{is:?}");

    producer.answer(&asked, TransactionResolution::Commit).await;
    let received = producer.client.receive("g", "orders").await;
    assert_eq!(received.bodies(), ["paid?"]);
}

#[tokio::test]
async fn a_producer_that_does_not_know_is_asked_again_and_after_a_rollback_no_more() {
    let broker = broker(15).await;
    let mut producer = Producer::of(broker.client("p").await, &["orders"]).await;
    producer.send("1", "dropped").await;
    let dropped = producer.asked().await;
    let began = Instant::now();
    producer.send("2", "unknown").await;
    producer.answer(&dropped, TransactionResolution::Rollback).await;
    let unknown = producer.asked().await;
    producer.answer(&unknown, TransactionResolution::Unspecified).await;
    for _ in 0..2 {
        let again = producer.asked().await;
        assert_eq!((body(&again), &again.transaction_id), ("unknown".to_owned(), &unknown.transaction_id));
    }
    assert!(began.elapsed() >= 2 * (LIVES_FOR + INTERVAL), "{:?}", began.elapsed());
    assert_eq!(producer.client.receive_now("g", "orders").await.status.code(), Code::MessageNotFound);
}

#[tokio::test]
async fn another_producer_of_the_topic_is_asked_when_the_one_that_sent_is_gone() {
    let broker = broker(15).await;
    let gone = Producer::of(broker.client("gone").await, &["orders"]).await;
    let id = gone.send("1", "a").await;
    drop(gone);
    let mut elsewhere = Producer::of(broker.client("elsewhere").await, &["payments"]).await;
    let mut other = Producer::of(broker.client("other").await, &["payments", "orders"]).await;
    let asked = other.asked().await;
    assert_eq!(asked.transaction_id, id);
    other.answer(&asked, TransactionResolution::Commit).await;
    assert_eq!(other.client.receive("g", "orders").await.bodies(), ["a"]);
    let silent = tokio::time::timeout(IMMUNITY + 2 * INTERVAL, elsewhere.asked()).await;
    assert!(silent.is_err(), "it is not a producer of the topic");
}

#[tokio::test]
async fn a_client_that_declared_nothing_is_a_producer_of_what_it_sent_half_messages_to() {
    let broker = broker(15).await;
    let mut producer = Producer::of(broker.client("p").await, &[]).await;
    let id = producer.send("1", "a").await;
    assert_eq!(producer.asked().await.transaction_id, id);
}

#[tokio::test]
async fn a_check_that_nobody_can_make_does_not_count_and_the_last_that_was_made_ends_the_waiting() {
    let broker = broker(1).await;
    let client = broker.client("without a stream").await;
    let sent = client.send(vec![half("1", "a")]).await;
    // Twice what it would take to give it up.
    tokio::time::sleep(2 * (IMMUNITY + INTERVAL)).await;
    let figures = get(&broker, "/metrics").await;
    assert!(figures.contains("rq_transactions_open 1"), "{figures}");
    let mut producer = Producer::of(broker.client("p").await, &["orders"]).await;
    assert_eq!(producer.asked().await.transaction_id, sent.entries[0].transaction_id);
    let given_up = async {
        loop {
            // The topic is made for the first one.
            let received = producer.client.receive("people", UNRESOLVED).await;
            if received.status.code() != Code::TopicNotFound {
                return received;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let received = tokio::time::timeout(SOON, given_up).await.expect("it becomes a dead letter");
    assert_eq!(received.bodies(), ["a"]);
    let acked = producer.client.ack("people", UNRESOLVED, &[&received.handle(0)]).await;
    assert_eq!(acked.status.unwrap().code(), Code::Ok);
    let late = producer.client.end(&sent.entries[0].transaction_id, TransactionResolution::Commit).await;
    assert_eq!(late.code(), Code::InvalidTransactionId, "{}", late.message);
    let figures = get(&broker, "/metrics").await;
    for line in
        ["rq_transactions_given_up_total 1", "rq_transaction_checks_total 1", "rq_transactions_open 0"]
    {
        assert!(figures.contains(line), "{line}: {figures}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody() {
    const HALVES: usize = 30;
    let broker = broker(15).await;
    let window = 64 << 10;
    let stuck = Producer::of(broker.client_with_window("stuck", window).await, &["orders"]).await;
    let mut reads = Producer::of(broker.client("reads").await, &["orders"]).await;
    let large = "x".repeat(2 * window as usize);
    for number in 0..HALVES {
        reads.send(&number.to_string(), &large).await;
    }
    let mut ids = BTreeSet::new();
    // One is on its way to the client that does not read: its transport has the beginning.
    while ids.len() < HALVES - 1 {
        let asked = reads.asked().await;
        reads.answer(&asked, TransactionResolution::Commit).await;
        ids.insert(asked.transaction_id);
    }
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_connected_to_a_slave_is_asked_through_it() {
    let cluster = Cluster::start().await;
    let mut declares = Producer::of(cluster.client("r1").await, &["orders"]).await;
    let id = declares.send("1", "a").await;
    let asked = declares.asked().await;
    assert_eq!((&asked.transaction_id, body(&asked)), (&id, "a".to_owned()));
    declares.answer(&asked, TransactionResolution::Commit).await;
    assert_eq!(declares.client.receive("g", "orders").await.bodies(), ["a"]);
    drop(declares);

    let mut sends = Producer::of(cluster.brokers["r1"].client("sends").await, &[]).await;
    let id = sends.send("2", "b").await;
    let asked = sends.asked().await;
    assert_eq!(asked.transaction_id, id);
    sends.answer(&asked, TransactionResolution::Rollback).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_outlives_its_master() {
    let mut cluster = Cluster::start().await;
    let mut producer = Producer::of(cluster.client("r1").await, &["orders"]).await;
    let known = producer.send("1", "known").await;
    let unknown = producer.send("2", "unknown").await;
    cluster.stop("r0").await;
    let ended = producer.client.end(&known, TransactionResolution::Commit).await;
    assert_eq!(ended.code(), Code::Ok, "{}", ended.message);
    let asked = tokio::time::timeout(SOON, async {
        loop {
            let asked = producer.asked().await;
            // The old master may have asked about the other one.
            if asked.transaction_id == unknown {
                return asked;
            }
        }
    });
    let asked = asked.await.expect("the new master has it asked");
    producer.answer(&asked, TransactionResolution::Commit).await;
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        bodies.extend(producer.client.receive("g", "orders").await.bodies());
    }
    bodies.sort();
    assert_eq!(bodies, ["known", "unknown"]);
}
