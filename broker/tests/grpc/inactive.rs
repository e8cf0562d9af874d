//! Consumers that fail or stay away: what bounds them, and where people see it.

use std::time::{Duration, Instant};

use rq_broker::config::units::Span;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::{DescribeGroupRequest, IdleGroup, StatusRequest};
use rq_proto::rocketmq::Code;

use crate::harness::{Broker, Client, SOON, message};
use crate::lifecycle::get;

#[tokio::test]
async fn a_group_with_too_much_in_a_back_off_gets_nothing_new_until_it_acks() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.default_queues = 1;
        config.limits.max_pending = 2;
    })
    .await;
    let client = broker.client("c").await;
    for body in ["a", "b", "c"] {
        client.send_ok(vec![message("t", body, body)]).await;
    }
    let received = client.receive("g", "t").await;
    assert_eq!(received.bodies(), ["a", "b"]);
    let mut handles = Vec::new();
    for at in 0..2 {
        let changed = client.change_invisible("g", "t", &received.handle(at), 600).await;
        assert_eq!(changed.status.unwrap().code(), Code::Ok);
        handles.push(changed.receipt_handle);
    }
    assert_eq!(client.receive_now("g", "t").await.status.code(), Code::MessageNotFound);
    assert_eq!(client.receive_now("other", "t").await.bodies(), ["a", "b"], "another group is not held up");
    assert_eq!(client.ack("g", "t", &[&handles[0]]).await.status.unwrap().code(), Code::Ok);
    assert_eq!(client.receive("g", "t").await.bodies(), ["c"]);
}

#[tokio::test]
async fn a_group_that_stays_away_is_reported_wherever_people_look() {
    let broker = Broker::start_unchecked(|config| {
        config.auto_create = true;
        config.limits.report_inactive = Span::secs(1);
        config.limits.checkpoint_interval = Span::secs(1);
    })
    .await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    assert_eq!(client.receive_as(Client::wish("away", "t", Duration::ZERO)).await.bodies(), ["x"]);
    let mut admin = AdminClient::new(broker.channel().await);
    let until = Instant::now() + SOON;
    let idle = loop {
        let status = admin.status(StatusRequest {}).await.unwrap().into_inner();
        if let [idle] = status.idle_groups.as_slice() {
            break idle.clone();
        }
        assert!(Instant::now() < until, "never reported: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let IdleGroup { group, topic, idle_ms, pinned_bytes } = idle;
    assert_eq!((group.as_str(), topic.as_str()), ("away", "t"));
    assert!(idle_ms > 1_000 && pinned_bytes > 0, "{idle_ms} ms, {pinned_bytes} bytes");
    let group =
        admin.describe_group(DescribeGroupRequest { name: "away".into() }).await.unwrap().into_inner();
    assert_eq!(group.idle.map(|idle| idle.topic), Some("t".to_owned()));
    assert!(group.last_used_ms > 0 && group.expired == 0, "{} {}", group.last_used_ms, group.expired);
    let metrics = get(&broker, "/metrics").await;
    assert!(metrics.contains("rq_group_idle_pinned_bytes{group=\"away\"} "), "{metrics}");
    assert!(metrics.contains("rq_messages_expired_total 0"), "{metrics}");
}
