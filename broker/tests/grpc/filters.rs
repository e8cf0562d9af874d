//! SQL filters: what a receive gets, what it passes over, and what it must not hold up.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use rq_broker::config::units::Size;
use rq_proto::reliablequeue::DescribeGroupRequest;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::Code;
use rq_proto::rocketmq::settings::PubSub;

use crate::harness::{Broker, Client, SOON, collect, message, system};
use crate::telemetry::{Telemetry, consumer};

pub(crate) fn sql(group: &str, topic: &str, expression: &str, wait: Duration) -> pb::ReceiveMessageRequest {
    let filter =
        pb::FilterExpression { r#type: pb::FilterType::Sql.into(), expression: expression.to_owned() };
    pb::ReceiveMessageRequest { filter_expression: Some(filter), ..Client::wish(group, topic, wait) }
}

fn now(group: &str, topic: &str, expression: &str) -> pb::ReceiveMessageRequest {
    sql(group, topic, expression, Duration::ZERO)
}

/// A message whose body is its id, with user properties, and a tag if there is a property `TAGS`.
pub(crate) fn with(topic: &str, id: &str, properties: &[(&str, &str)]) -> pb::Message {
    let mut message = message(topic, id, id);
    for (key, value) in properties {
        if *key == "TAGS" {
            message.system_properties.as_mut().unwrap().tag = Some((*value).to_owned());
        } else {
            message.user_properties.insert((*key).to_owned(), (*value).to_owned());
        }
    }
    message
}

impl Client {
    /// What a group gets of a topic by an expression, until there is nothing more.
    async fn all_of(&self, group: &str, topic: &str, expression: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let received = self.receive_as(now(group, topic, expression)).await;
            if received.messages.is_empty() {
                assert_eq!(received.status.code(), Code::MessageNotFound, "{}", received.status.message);
                bodies.sort();
                return bodies;
            }
            bodies.extend(received.bodies());
        }
    }
}

#[tokio::test]
async fn only_messages_of_which_the_expression_is_true_are_delivered() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![with("t", "1", &[("amount", "7"), ("region", "eu"), ("TAGS", "paid")])]).await;
    client.send_ok(vec![with("t", "2", &[("amount", "12"), ("region", "us")])]).await;
    client.send_ok(vec![with("t", "3", &[("region", "eu")])]).await;
    client.send_ok(vec![with("t", "4", &[])]).await;
    let cases = [
        ("amount > 6", &["1", "2"][..]),
        ("amount BETWEEN 10 AND 20 OR TAGS = 'paid'", &["1", "2"]),
        ("region IN ('eu', 'uk')", &["1", "3"]),
        // A comparison with what is missing is unknown, and so is NOT of it.
        ("NOT (amount > 6)", &[]),
        ("amount <> 7", &["2"]),
        ("amount IS NULL", &["3", "4"]),
        ("region = 'eu' AND amount IS NULL", &["3"]),
        ("TRUE", &["1", "2", "3", "4"]),
    ];
    for (number, (expression, expected)) in cases.into_iter().enumerate() {
        assert_eq!(client.all_of(&format!("g{number}"), "t", expression).await, expected, "{expression}");
    }
}

#[tokio::test]
async fn what_is_not_wanted_is_passed_over_for_good_and_costs_no_attempt() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![with("t", "1", &[("a", "1")]), with("t", "2", &[("a", "2")])]).await;
    assert_eq!(client.all_of("g", "t", "a = 2").await, ["2"]);
    assert_eq!(client.receive_now("g", "t").await.status.code(), Code::MessageNotFound);
    // Another group was not touched by it.
    let other = client.receive("other", "t").await;
    assert_eq!(other.messages.len(), 2);
    assert!(other.messages.iter().all(|message| system(message).delivery_attempt == Some(1)));
}

#[tokio::test]
async fn a_redelivery_comes_by_the_filter_with_the_next_attempt() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![with("t", "1", &[("a", "1")]), with("t", "2", &[])]).await;
    let first = client.receive_as(now("g", "t", "a = 1")).await;
    client.change_invisible("g", "t", &first.handle(0), 0).await;
    let again = client.receive_as(sql("g", "t", "a = 1", Duration::from_secs(5))).await;
    assert_eq!(again.bodies(), ["1"]);
    assert_eq!(system(&again.messages[0]).delivery_attempt, Some(2));
}

#[tokio::test]
async fn a_waiting_receive_gets_what_it_wants_as_soon_as_it_is_sent_and_nothing_else() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![with("t", "makes the topic", &[])]).await;
    let waiting = client.open(sql("g", "t", "a = 1", Duration::from_secs(15))).await;
    client.send_ok(vec![with("t", "unwanted", &[("a", "2")])]).await;
    client.send_ok(vec![with("t", "wanted", &[("a", "1")])]).await;
    let began = Instant::now();
    assert_eq!(collect(waiting).await.bodies(), ["wanted"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_wait_ends_in_time_whatever_arrives_that_is_not_wanted() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![with("t", "makes the topic", &[])]).await;
    let began = Instant::now();
    let waiting = tokio::spawn(collect(client.open(sql("g", "t", "a = 1", Duration::from_secs(2))).await));
    while !waiting.is_finished() {
        client.send_ok(vec![with("t", "unwanted", &[])]).await;
    }
    assert_eq!(waiting.await.unwrap().status.code(), Code::MessageNotFound);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_500) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_receive_that_is_given_up_while_it_waits_takes_nothing() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![with("t", "unwanted", &[])]).await;
    let waiting = client.open(sql("g", "t", "a = 1", Duration::from_secs(15))).await;
    drop(waiting);
    client.send_ok(vec![with("t", "wanted", &[("a", "1")])]).await;
    let received = client.receive_as(sql("g", "t", "a = 1", Duration::from_secs(10))).await;
    assert_eq!(received.bodies(), ["wanted"]);
}

#[tokio::test]
async fn a_bad_expression_is_refused_with_the_place_of_its_mistake() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    for (expression, place) in
        [("amount == 100", "character 8"), ("", "character 1"), ("a = 1 AND", "character 10")]
    {
        let status = client.receive_as(now("g", "t", expression)).await.status;
        assert_eq!(status.code(), Code::IllegalFilterExpression, "{expression}");
        assert!(status.message.contains(place), "{expression}: {}", status.message);
    }
}

#[tokio::test]
async fn settings_with_a_filter_that_does_not_compile_are_refused() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let subscribed = |r#type: pb::FilterType, expression: &str| {
        let mut settings = consumer("g");
        let Some(PubSub::Subscription(subscription)) = &mut settings.pub_sub else { panic!() };
        let expression = pb::FilterExpression { r#type: r#type.into(), expression: expression.into() };
        subscription.subscriptions[0].expression = Some(expression);
        settings
    };
    Telemetry::open(&client).await.settings(subscribed(pb::FilterType::Sql, "a > 1")).await;
    for (kind, expression) in [(pb::FilterType::Sql, "a >"), (pb::FilterType::Tag, "a|b")] {
        let mut telemetry = Telemetry::open(&client).await;
        telemetry.say(subscribed(kind, expression)).await;
        let status = telemetry.hear().await.unwrap().unwrap().status.unwrap();
        assert_eq!(status.code(), Code::IllegalFilterExpression, "{}", status.message);
        let end = telemetry.hear().await.unwrap_err();
        assert_eq!(end.code(), tonic::Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_selective_filter_goes_through_a_long_backlog_and_holds_up_nobody() {
    const BACKLOG: usize = 20_000;
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    for batch in 0..BACKLOG / 500 {
        let messages = (0..500).map(|number| {
            let id = (batch * 500 + number).to_string();
            with("t", &id, &[("number", &id)])
        });
        client.send_ok(messages.collect()).await;
    }
    client.send_ok(vec![with("t", "wanted", &[("number", "-1")])]).await;
    // Those who have nothing to do with it: another group at the backlog, and a topic of its own.
    let busy = broker.client("busy").await;
    let selective = tokio::spawn(async move {
        let began = Instant::now();
        let received = busy.receive_as(sql("g", "t", "number < 0", Duration::from_secs(15))).await;
        (received.bodies(), began.elapsed())
    });
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while !selective.is_finished() || rounds == 0 {
        let began = Instant::now();
        assert_eq!(client.receive("other", "t").await.messages.len(), 32);
        client.send_ok(vec![message("mine", &format!("mine-{rounds}"), "m")]).await;
        assert_eq!(client.receive("mine", "mine").await.messages.len(), 1);
        slowest = slowest.max(began.elapsed());
        rounds += 1;
    }
    let (bodies, took) = selective.await.unwrap();
    assert_eq!(bodies, ["wanted"]);
    assert!(took < Duration::from_secs(10), "the selective receive took {took:?}");
    assert!(slowest < took.max(Duration::from_secs(1)), "another waited {slowest:?}, of {took:?}");
}

#[tokio::test]
async fn consumers_of_one_group_share_a_backlog_by_a_filter() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    for number in 0..400 {
        client.send_ok(vec![with("t", &format!("{number:03}"), &[("odd", &(number % 2).to_string())])]).await;
    }
    let consumers: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.all_of("g", "t", "odd = 1").await })
        })
        .collect();
    let mut bodies = Vec::new();
    for consumer in consumers {
        bodies.extend(tokio::time::timeout(SOON, consumer).await.expect("nobody hangs").unwrap());
    }
    bodies.sort();
    let expected: Vec<_> =
        (0..400).filter(|number| number % 2 == 1).map(|number| format!("{number:03}")).collect();
    assert_eq!(bodies, expected, "each once");
}

#[tokio::test]
async fn a_damaged_message_hides_no_other_and_is_not_passed_over() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.tail_cache = Size::mib(1);
        config.limits.default_queues = 1;
    })
    .await;
    let client = broker.client("c").await;
    for body in ["first", "to be damaged", "last"] {
        client.send_ok(vec![with("t", body, &[("a", "1")])]).await;
    }
    for n in 0..8 {
        client.send_ok(vec![message("others", &format!("other-{n}"), vec![b'o'; 512 << 10])]).await;
    }
    let bytes = std::fs::read(broker.first_segment()).unwrap();
    let body = b"to be damaged";
    for (at, _) in bytes.windows(body.len()).enumerate().filter(|(_, window)| window == body) {
        let segment = std::fs::File::options().write(true).open(broker.first_segment()).unwrap();
        segment.write_all_at(b"T", at as u64).unwrap();
    }
    let received = client.receive_as(sql("g", "t", "a = 1", Duration::from_secs(5))).await;
    assert_eq!(received.bodies(), ["first", "last"]);
    let mut admin = AdminClient::new(broker.channel().await);
    let group = admin.describe_group(DescribeGroupRequest { name: "g".into() }).await.unwrap().into_inner();
    assert_eq!(group.progress[0].in_flight, 3, "the damaged one is held like the others, and comes again");
}
