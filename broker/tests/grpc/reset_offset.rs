//! Positions of groups, set to a time by the Admin service.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rq_proto::reliablequeue as admin;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::reset_offset_request::To;
use rq_proto::rocketmq::{Code, TransactionResolution};

use crate::delayed::delayed;
use crate::harness::{Broker, Client, message, system};
use crate::transactions::half;

async fn one_queue() -> Broker {
    Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.default_queues = 1;
    })
    .await
}

/// Where a group would go on.
async fn since(broker: &Broker, group: &str, topic: &str, ms: i64) -> Vec<admin::QueueReset> {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    let request = admin::ResetOffsetRequest { group, topic, to: Some(To::TimeMs(ms)), dry_run: true };
    let mut client = AdminClient::new(broker.channel().await);
    client.reset_offset(request).await.unwrap().into_inner().queues
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What was before is older than the next millisecond.
async fn later() -> i64 {
    tokio::time::sleep(Duration::from_millis(20)).await;
    let now = now_ms();
    tokio::time::sleep(Duration::from_millis(20)).await;
    now
}

async fn take_all(client: &Client, topic: &str, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let received = client.receive("reader", topic).await.bodies();
        assert!(!received.is_empty(), "only {} came", bodies.len());
        bodies.extend(received);
    }
    bodies
}

#[tokio::test]
async fn old_messages_that_were_committed_late_hide_none_that_was_sent_since_the_time() {
    let broker = one_queue().await;
    let client = broker.client("c").await;
    let mut open = Vec::new();
    for batch in 0..20 {
        let halves = (0..50).map(|n| half(&format!("old-{batch}-{n}"), "old")).collect();
        open.extend(client.send(halves).await.entries.into_iter().map(|entry| entry.transaction_id));
    }
    let before = later().await;
    let sent = client.send((0..100).map(|n| half(&format!("new-{n}"), "new")).collect()).await;
    let (first_old, open) = open.split_at(10);
    let new: Vec<_> = sent.entries.into_iter().map(|entry| entry.transaction_id).collect();
    for id in first_old.iter().chain(&new).chain(open) {
        assert_eq!(client.end(id, TransactionResolution::Commit).await.code(), Code::Ok);
    }
    let bodies = take_all(&client, "orders", 1_100).await;
    let first_new = bodies.iter().position(|body| body == "new").unwrap();
    assert_eq!(first_new, 10, "committed in this order");
    let after = later().await;
    let queues = since(&broker, "reader", "orders", before).await;
    assert_eq!(queues[0].after, 10, "the first that was sent since then");
    assert_eq!(since(&broker, "reader", "orders", after).await[0].after, 1_100);
    assert_eq!(since(&broker, "reader", "orders", 1).await[0].after, 0);
}

#[tokio::test]
async fn a_delayed_message_counts_from_when_it_was_due() {
    let broker = one_queue().await;
    let client = broker.client("c").await;
    let now = SystemTime::now();
    let (soon, late) = (now + Duration::from_millis(1_200), now + Duration::from_millis(1_600));
    client.send_ok((0..20).map(|n| delayed(&format!("late-{n}"), late)).collect()).await;
    client.send_ok((0..20).map(|n| delayed(&format!("soon-{n}"), soon)).collect()).await;
    client.send_ok((0..20).map(|n| delayed(&format!("now-{n}"), now)).collect()).await;
    assert_eq!(take_all(&client, "orders", 60).await.len(), 60);
    let ms = |time: SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    // Times are rounded up to a millisecond.
    for (time, first) in [(ms(soon) - 50, 20), (ms(soon) + 50, 40), (ms(late), 40), (ms(late) + 2, 60)] {
        assert_eq!(since(&broker, "reader", "orders", time).await[0].after, first, "since {time}");
    }
}

#[tokio::test]
async fn a_dead_letter_counts_from_when_it_became_one() {
    let broker = one_queue().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "first"), message("t", "2", "second")]).await;
    let received = client.receive("g", "t").await;
    client.dead_letter("g", "t", &received.handle(1)).await;
    let between = later().await;
    client.dead_letter("g", "t", &received.handle(0)).await;
    assert_eq!(take_all(&client, "%DLQ%g", 2).await, ["second", "first"]);
    assert_eq!(since(&broker, "reader", "%DLQ%g", between).await[0].after, 1);
}

#[tokio::test]
async fn a_time_finds_the_first_message_since_then_in_a_long_queue() {
    let broker = one_queue().await;
    let client = broker.client("c").await;
    let mut times = Vec::new();
    for batch in 0..40 {
        client.send_ok((0..50).map(|n| message("t", &format!("{batch}-{n}"), "x")).collect()).await;
    }
    loop {
        let received = client.receive_now("reader", "t").await;
        if received.messages.is_empty() {
            break;
        }
        for message in &received.messages {
            let stored = system(message).store_timestamp.unwrap();
            let ms = stored.seconds * 1_000 + i64::from(stored.nanos) / 1_000_000;
            times.push((system(message).queue_offset.unwrap(), ms));
        }
    }
    times.sort_unstable();
    assert_eq!(times.len(), 2_000);
    let wanted = times.iter().step_by(97).flat_map(|(_, ms)| [*ms, ms + 1]).chain([0, i64::MAX]);
    for ms in wanted {
        let queues = since(&broker, "reader", "t", ms).await;
        let first = times.iter().find(|(_, stored)| *stored >= ms).map_or(2_000, |(offset, _)| *offset);
        assert_eq!((queues.len(), queues[0].after, queues[0].before), (1, first, Some(2_000)), "since {ms}");
    }
}
