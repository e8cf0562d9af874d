//! Ordered consumer groups, and leases that the broker renews.

use std::time::Duration;

use rq_proto::reliablequeue::CreateGroupRequest;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::rocketmq::Code;

use crate::harness::{Broker, Client, message, system};

/// A broker with an ordered group whose failed messages come back after a second.
async fn with_ordered_group(group: &str) -> Broker {
    let broker = Broker::start().await;
    let mut admin = AdminClient::new(broker.channel().await);
    let request = CreateGroupRequest { name: group.into(), fifo: true, ..Default::default() };
    admin.create_group(request).await.unwrap();
    broker
}

async fn send_in_group(client: &Client, message_group: &str, id: &str) {
    let mut message = message("orders", id, id);
    message.system_properties.as_mut().unwrap().message_group = Some(message_group.to_owned());
    client.send_ok(vec![message]).await;
}

#[tokio::test]
async fn an_ordered_group_gets_one_message_of_each_message_group_at_a_time() {
    let broker = with_ordered_group("billing").await;
    let client = broker.client("c").await;
    for id in ["a1", "a2", "b1", "b2"] {
        send_in_group(&client, &id[..1], id).await;
    }
    let mut heads = Vec::new();
    while heads.len() < 2 {
        let received = client.receive("billing", "orders").await;
        assert!(!received.messages.is_empty(), "only {heads:?}");
        heads.extend(received.bodies().into_iter().zip((0..).map(|at| received.handle(at))));
    }
    heads.sort();
    assert_eq!(heads.iter().map(|(body, _)| body.as_str()).collect::<Vec<_>>(), ["a1", "b1"]);
    assert_eq!(client.receive_now("billing", "orders").await.status.code(), Code::MessageNotFound);

    client.ack("billing", "orders", &[&heads[0].1]).await;
    let next = client.receive("billing", "orders").await;
    assert_eq!(next.bodies(), ["a2"], "the message group that is done goes on, the other one waits");
}

#[tokio::test]
async fn a_failed_message_holds_up_its_message_group_until_it_is_done() {
    let broker = with_ordered_group("billing").await;
    let client = broker.client("c").await;
    send_in_group(&client, "a", "a1").await;
    send_in_group(&client, "a", "a2").await;
    let failed = client.receive("billing", "orders").await.handle(0);
    let changed = client.change_invisible("billing", "orders", &failed, 1).await;
    assert_eq!(changed.status.unwrap().code(), Code::Ok);
    let again = client.receive("billing", "orders").await;
    assert_eq!(again.bodies(), ["a1"]);
    assert_eq!(system(&again.messages[0]).delivery_attempt, Some(2));
    client.ack("billing", "orders", &[&again.handle(0)]).await;
    assert_eq!(client.receive("billing", "orders").await.bodies(), ["a2"]);
}

#[tokio::test]
async fn a_dead_letter_lets_its_message_group_go_on() {
    let broker = with_ordered_group("billing").await;
    let client = broker.client("c").await;
    send_in_group(&client, "a", "a1").await;
    send_in_group(&client, "a", "a2").await;
    let poison = client.receive("billing", "orders").await.handle(0);
    assert_eq!(client.dead_letter("billing", "orders", &poison).await, Code::Ok);
    assert_eq!(client.receive("billing", "orders").await.bodies(), ["a2"]);
}

#[tokio::test]
async fn a_lease_that_is_renewed_outlasts_the_time_asked_for() {
    let broker = Broker::start().await;
    let (slow, other) = (broker.client("slow").await, broker.client("other").await);
    slow.send_ok(vec![message("t", "1", "x")]).await;
    let mut wish = Client::wish("g", "t", Duration::from_secs(5));
    wish.auto_renew = true;
    wish.invisible_duration = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let handle = slow.receive_as(wish).await.handle(0);
    let waited = other.receive_as(Client::wish("g", "t", Duration::from_secs(3))).await;
    assert_eq!(waited.status.code(), Code::MessageNotFound, "nobody else gets it meanwhile");
    assert_eq!(slow.ack("g", "t", &[&handle]).await.status.unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn a_message_given_back_under_renewal_comes_back_when_it_was_asked_for() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let mut wish = Client::wish("g", "t", Duration::from_secs(5));
    wish.auto_renew = true;
    let handle = client.receive_as(wish.clone()).await.handle(0);
    let changed = client.change_invisible("g", "t", &handle, 1).await;
    assert_eq!(changed.status.unwrap().code(), Code::Ok);
    let again = client.receive_as(wish).await;
    assert_eq!(system(&again.messages[0]).delivery_attempt, Some(2));
}
