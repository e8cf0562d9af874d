//! Receives and what becomes of a delivery.

use std::time::{Duration, Instant};

use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::Code;
use rq_proto::rocketmq::receive_message_response::Content;

use crate::harness::{Broker, Client, SOON, collect, message, system};

#[tokio::test]
async fn an_acked_message_does_not_come_back_and_a_second_ack_is_fine() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let handle = client.receive("g", "t").await.handle(0);
    let acked = client.ack("g", "t", &[&handle]).await;
    assert_eq!(acked.status.unwrap().code(), Code::Ok);
    assert_eq!(acked.entries[0].status.as_ref().unwrap().code(), Code::Ok);
    assert_eq!(client.receive_now("g", "t").await.status.code(), Code::MessageNotFound);
    // The answer to the first one may have been lost: clients repeat it.
    assert_eq!(client.ack("g", "t", &[&handle]).await.status.unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn each_entry_of_an_ack_has_its_own_result() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let handle = client.receive("g", "t").await.handle(0);
    assert_eq!(client.ack("g", "t", &[]).await.status.unwrap().code(), Code::BadRequest);
    let nonsense = client.ack("g", "t", &["nonsense"]).await;
    assert_eq!(nonsense.status.unwrap().code(), Code::InvalidReceiptHandle);
    let mixed = client.ack("g", "t", &["nonsense", &handle]).await;
    assert_eq!(mixed.status.unwrap().code(), Code::MultipleResults);
    let codes: Vec<_> = mixed.entries.iter().map(|entry| entry.status.as_ref().unwrap().code()).collect();
    assert_eq!(codes, [Code::InvalidReceiptHandle, Code::Ok]);
}

#[tokio::test]
async fn a_waiting_receive_gets_a_message_as_soon_as_it_is_sent() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "0", "makes the topic")]).await;
    let handle = client.receive("g", "t").await.handle(0);
    client.ack("g", "t", &[&handle]).await;
    let frames = client.open(Client::wish("g", "t", Duration::from_secs(15))).await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let started = Instant::now();
    assert_eq!(collect(frames).await.bodies(), ["x"]);
    assert!(started.elapsed() < Duration::from_secs(10), "it did not wait for the end of the poll");
}

#[tokio::test]
async fn an_empty_poll_ends_well_before_the_deadline_of_its_call() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("other", "0", "x")]).await;
    let mut request = client.request(Client::wish("g", "t", Duration::from_secs(3)));
    request.set_timeout(Duration::from_secs(3));
    let started = Instant::now();
    let frames = client.rpc.clone().receive_message(request).await.unwrap().into_inner();
    assert_eq!(collect(frames).await.status.code(), Code::MessageNotFound);
    assert!(started.elapsed() < Duration::from_millis(2_900), "{:?}", started.elapsed());
    assert!(started.elapsed() > Duration::from_millis(1_500), "it waited: {:?}", started.elapsed());
}

#[tokio::test]
async fn a_tag_filter_passes_only_its_tags() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    for (id, tag) in [("1", Some("a")), ("2", Some("b")), ("3", None), ("4", Some("c"))] {
        let mut message = message("t", id, id);
        message.system_properties.as_mut().unwrap().tag = tag.map(str::to_owned);
        client.send_ok(vec![message]).await;
    }
    let mut wish = Client::wish("g", "t", Duration::from_secs(1));
    wish.filter_expression = Some(pb::FilterExpression { r#type: 1, expression: "a || c".into() });
    let mut bodies = client.receive_as(wish.clone()).await.bodies();
    bodies.extend(client.receive_as(wish).await.bodies());
    bodies.sort();
    assert_eq!(bodies, ["1", "4"]);
}

#[tokio::test]
async fn a_nacked_message_comes_back_with_the_next_attempt_and_its_old_handle_is_dead() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let old = client.receive("g", "t").await.handle(0);
    let changed = client.change_invisible("g", "t", &old, 0).await;
    assert_eq!(changed.status.unwrap().code(), Code::Ok);
    let again = client.receive("g", "t").await;
    assert_eq!(system(&again.messages[0]).delivery_attempt, Some(2));
    assert_eq!(client.ack("g", "t", &[&old]).await.status.unwrap().code(), Code::InvalidReceiptHandle);
    assert_eq!(client.ack("g", "t", &[&again.handle(0)]).await.status.unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn a_changed_delivery_is_acked_by_the_handle_that_came_back() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let handle = client.receive("g", "t").await.handle(0);
    let refused = client.change_invisible("g", "t", &handle, 43_201).await;
    assert_eq!(refused.status.unwrap().code(), Code::IllegalInvisibleTime);
    assert_eq!(refused.receipt_handle, handle, "a failed change must not lose the handle");
    let changed = client.change_invisible("g", "t", &handle, 43_200).await;
    assert_eq!(changed.status.unwrap().code(), Code::Ok);
    let acked = client.ack("g", "t", &[&changed.receipt_handle]).await;
    assert_eq!(acked.status.unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn a_forwarded_message_is_a_dead_letter_that_names_its_origin() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "id-1", "x")]).await;
    let handle = client.receive("g", "t").await.handle(0);
    assert_eq!(client.dead_letter("g", "t", &handle).await, Code::Ok);
    assert_eq!(client.dead_letter("g", "t", &handle).await, Code::Ok, "clients repeat it until it is OK");
    assert_eq!(client.receive_now("g", "t").await.status.code(), Code::MessageNotFound);
    let letters = client.receive("rescue", "%DLQ%g").await;
    assert_eq!(letters.bodies(), ["x"]);
    let system = system(&letters.messages[0]);
    let origin = pb::DeadLetterQueue { topic: "t".into(), message_id: "id-1".into() };
    assert_eq!((system.message_id.as_str(), &system.dead_letter_queue), ("id-1", &Some(origin)));
}

#[tokio::test]
async fn messages_that_were_not_written_are_taken_back_at_once() {
    const MESSAGES: usize = 8;
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    for n in 0..MESSAGES {
        client.send_ok(vec![message("t", &n.to_string(), vec![b'x'; 1 << 20])]).await;
    }
    // This one's window holds a fraction of the first message: the rest waits in the broker.
    let slow = broker.client_with_window("slow", 65_535).await;
    let mut frames = slow.open(Client::wish("g", "t", Duration::ZERO)).await;
    let first = frames.message().await.unwrap().unwrap();
    assert!(matches!(first.content, Some(Content::Status(status)) if status.code() == Code::Ok));
    drop(frames);

    let mut attempts = Vec::new();
    let until = Instant::now() + SOON;
    while attempts.len() < MESSAGES - 2 && Instant::now() < until {
        let received = client.receive_as(Client::wish("g", "t", Duration::from_secs(1))).await;
        attempts.extend(received.messages.iter().map(|message| system(message).delivery_attempt));
    }
    assert!(attempts.len() >= MESSAGES - 2, "only {} came back", attempts.len());
    assert!(attempts.iter().all(|attempt| *attempt == Some(1)), "not counted as delivered: {attempts:?}");
}

#[tokio::test]
async fn a_receive_that_its_client_gave_up_takes_no_message() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "0", "first")]).await;
    let handle = client.receive("g", "t").await.handle(0);
    client.ack("g", "t", &[&handle]).await;
    let given_up = client.open(Client::wish("g", "t", Duration::from_secs(15))).await;
    drop(given_up);
    drop(broker.client("other").await.receive_now("g", "t").await);
    client.send_ok(vec![message("t", "1", "x")]).await;
    let mut bodies = Vec::new();
    let until = Instant::now() + SOON;
    while bodies.is_empty() && Instant::now() < until {
        bodies = client.receive_as(Client::wish("g", "t", Duration::from_secs(1))).await.bodies();
    }
    assert_eq!(bodies, ["x"]);
}

#[tokio::test]
async fn a_repeated_attempt_gets_the_same_batch() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let mut wish = Client::wish("g", "t", Duration::from_secs(5));
    wish.attempt_id = Some("attempt-1".into());
    let first = client.receive_as(wish.clone()).await;
    let again = client.receive_as(wish).await;
    assert_eq!(first.bodies(), again.bodies());
    assert_eq!(first.handle(0), again.handle(0));
    assert_eq!(system(&again.messages[0]).delivery_attempt, Some(1));
}

#[tokio::test]
async fn illegal_receives_are_answered_in_the_body() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let good = || Client::wish("g", "t", Duration::ZERO);
    let rows = [
        (Code::IllegalTopic, pb::ReceiveMessageRequest { message_queue: None, ..good() }),
        (Code::IllegalConsumerGroup, pb::ReceiveMessageRequest { group: None, ..good() }),
        (
            Code::IllegalFilterExpression,
            pb::ReceiveMessageRequest {
                filter_expression: Some(pb::FilterExpression { r#type: 1, expression: "a|b".into() }),
                ..good()
            },
        ),
        (
            Code::IllegalInvisibleTime,
            pb::ReceiveMessageRequest {
                invisible_duration: Some(prost_types::Duration::default()),
                ..good()
            },
        ),
    ];
    for (code, wish) in rows {
        let received = client.receive_as(wish).await;
        assert_eq!(received.status.code(), code, "{}", received.status.message);
    }
}

#[tokio::test]
async fn only_a_send_may_be_large() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", vec![b'x'; 3 << 20])]).await;
    let mut wish = Client::wish("g", "t", Duration::from_secs(5));
    let host = "h".repeat(3 << 20);
    let endpoints = pb::Endpoints { addresses: vec![pb::Address { host, port: 1 }], ..Default::default() };
    let queue = wish.message_queue.as_mut().unwrap();
    queue.broker = Some(pb::Broker { endpoints: Some(endpoints), ..Default::default() });
    let refused = client.rpc.clone().receive_message(client.request(wish)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    assert_eq!(client.receive("g", "t").await.messages.len(), 1, "nothing was received for it");
}
