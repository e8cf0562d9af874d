//! Routes and sends.

use rq_broker::config::units::Size;
use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::Code;

use crate::harness::{Broker, message, resource, system};

fn access_point() -> pb::Endpoints {
    let addresses = vec![pb::Address { host: "queue.example".into(), port: 8081 }];
    pb::Endpoints { scheme: pb::AddressScheme::DomainName.into(), addresses }
}

#[tokio::test]
async fn a_route_names_every_queue_at_the_access_point_of_the_client() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let request = pb::QueryRouteRequest { topic: Some(resource("orders")), endpoints: Some(access_point()) };
    let route = client.rpc.clone().query_route(client.request(request)).await.unwrap().into_inner();
    assert_eq!(route.status.unwrap().code(), Code::Ok);
    assert_eq!(route.message_queues.iter().map(|queue| queue.id).collect::<Vec<_>>(), [0, 1]);
    for queue in &route.message_queues {
        let broker = queue.broker.as_ref().unwrap();
        assert_eq!((broker.id, broker.name.as_str()), (0, "reliablequeue"));
        assert_eq!(broker.endpoints, Some(access_point()));
        assert_eq!(queue.permission(), pb::Permission::ReadWrite);
        let undecided = [pb::MessageType::Normal as i32, pb::MessageType::Fifo as i32];
        assert_eq!(queue.accept_message_types, undecided, "nothing was sent yet");
    }
}

#[tokio::test]
async fn a_topic_made_by_a_route_or_a_consumer_takes_what_is_first_sent() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let types = async || {
        let request = pb::QueryRouteRequest { topic: Some(resource("t")), endpoints: Some(access_point()) };
        let route = client.rpc.clone().query_route(client.request(request)).await.unwrap().into_inner();
        route.message_queues[0].accept_message_types.clone()
    };
    assert_eq!(types().await.len(), 2);
    assert_eq!(client.receive_now("g", "t").await.status.code(), Code::MessageNotFound);
    let mut ordered = message("t", "1", "x");
    ordered.system_properties.as_mut().unwrap().message_group = Some("customer-7".into());
    client.send_ok(vec![ordered]).await;
    assert_eq!(types().await, [pb::MessageType::Fifo as i32]);
    assert_eq!(client.receive("g", "t").await.bodies(), ["x"]);
    let refused = client.send(vec![message("t", "2", "y")]).await.status.unwrap();
    assert_eq!(refused.code(), Code::MessagePropertyConflictWithType);
}

#[tokio::test]
async fn a_topic_beyond_the_limit_is_refused_for_that_reason() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.max_topics = 1;
    })
    .await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let request = pb::QueryRouteRequest { topic: Some(resource("u")), endpoints: Some(access_point()) };
    let route = client.rpc.clone().query_route(client.request(request)).await.unwrap().into_inner();
    for status in [route.status.unwrap(), client.send(vec![message("u", "1", "x")]).await.status.unwrap()] {
        assert_eq!(status.code(), Code::TooManyRequests);
        assert!(status.message.contains("limit of 1 topics is reached"), "{}", status.message);
    }
}

#[tokio::test]
async fn sends_beyond_what_the_process_takes_are_refused_and_accepted_again_later() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.max_body = Size::kib(512);
        config.limits.max_request = Size::mib(1);
        config.limits.max_sends = Size::mib(1);
    })
    .await;
    let mut sends = tokio::task::JoinSet::new();
    for sender in 0..24 {
        let client = broker.client(&format!("c{sender}")).await;
        sends.spawn(async move {
            let sent = client.send(vec![message("t", &sender.to_string(), vec![b'x'; 400 << 10])]).await;
            sent.status.unwrap().code()
        });
    }
    let codes = sends.join_all().await;
    assert!(codes.contains(&Code::Ok) && codes.contains(&Code::TooManyRequests), "{codes:?}");
    let client = broker.client("later").await;
    client.send_ok(vec![message("t", "later", vec![b'x'; 400 << 10])]).await;
}

#[tokio::test]
async fn an_assignment_is_one_queue_that_stands_for_all() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let request = pb::QueryAssignmentRequest {
        topic: Some(resource("orders")),
        group: Some(resource("g")),
        endpoints: Some(access_point()),
    };
    let answer = client.rpc.clone().query_assignment(client.request(request)).await.unwrap().into_inner();
    let queue = answer.assignments[0].message_queue.as_ref().unwrap();
    assert_eq!((answer.assignments.len(), queue.id), (1, -1));
    assert_eq!(queue.broker.as_ref().unwrap().endpoints, Some(access_point()));
}

#[tokio::test]
async fn an_unknown_topic_is_said_so_where_topics_are_not_made_on_first_use() {
    let broker = Broker::start_with(|_| ()).await;
    let client = broker.client("c").await;
    let request = pb::QueryRouteRequest { topic: Some(resource("orders")), endpoints: None };
    let route = client.rpc.clone().query_route(client.request(request)).await.unwrap().into_inner();
    assert_eq!(route.status.unwrap().code(), Code::TopicNotFound);
    let sent = client.send(vec![message("orders", "1", "x")]).await;
    let status = sent.status.unwrap();
    assert_eq!(status.code(), Code::TopicNotFound);
    assert!(status.message.contains("rq topic create orders"), "{}", status.message);
    assert_eq!(client.receive_now("g", "orders").await.status.code(), Code::TopicNotFound);
}

#[tokio::test]
async fn a_sent_message_arrives_as_it_was() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let mut sent = message("orders", "01AB", vec![0, 255, 7]);
    sent.user_properties.insert("key".into(), "wert ü".into());
    let properties = sent.system_properties.as_mut().unwrap();
    properties.tag = Some("TagA".into());
    properties.keys = vec!["k1".into(), "k2".into()];
    let response = client.send(vec![sent.clone()]).await;
    assert_eq!(response.status.unwrap().code(), Code::Ok);
    assert_eq!(response.entries[0].message_id, "01AB");

    let received = client.receive("g", "orders").await;
    assert_eq!(received.status.code(), Code::Ok);
    let got = &received.messages[0];
    assert_eq!((&got.body, &got.user_properties), (&sent.body, &sent.user_properties));
    let (got, sent) = (system(got), system(&sent));
    assert_eq!((&got.message_id, &got.tag, &got.keys), (&sent.message_id, &sent.tag, &sent.keys));
    assert_eq!(got.delivery_attempt, Some(1));
    assert_eq!(got.born_host, "127.0.0.1");
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let refused = client.send(vec![message("orders", "1", "a"), message("orders", "2", "")]).await;
    assert_eq!(refused.status.unwrap().code(), Code::MessageBodyEmpty);
    assert_eq!(refused.entries, []);
    let rust = crate::harness::Client { language: "RUST", ..client.clone() };
    let refused = rust.send(vec![message("orders", "2", "")]).await;
    assert_eq!(refused.status.unwrap().code(), Code::BadRequest, "Rust panics on newer codes");
    assert_eq!(client.receive_now("g", "orders").await.status.code(), Code::MessageNotFound);

    let stored = client.send(vec![message("orders", "3", "c"), message("orders", "4", "d")]).await;
    let ids: Vec<_> = stored.entries.iter().map(|entry| entry.message_id.as_str()).collect();
    assert_eq!(ids, ["3", "4"]);
}

#[tokio::test]
async fn a_repeated_send_is_stored_once_but_two_clients_with_one_id_twice() {
    let broker = Broker::start().await;
    let (client, other) = (broker.client("c").await, broker.client("d").await);
    let first = client.send(vec![message("orders", "same", "x")]).await;
    let again = client.send(vec![message("orders", "same", "x")]).await;
    assert_eq!(first.entries[0].offset, again.entries[0].offset);
    other.send_ok(vec![message("orders", "same", "x")]).await;
    let mut bodies = client.receive("g", "orders").await.bodies();
    bodies.extend(client.receive_now("g", "orders").await.bodies());
    assert_eq!(bodies, ["x", "x"]);
}

#[tokio::test]
async fn a_message_of_another_type_than_the_topics_is_refused() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("orders", "1", "normal")]).await;
    let mut fifo = message("orders", "2", "fifo");
    fifo.system_properties.as_mut().unwrap().message_group = Some("g".into());
    let refused = client.send(vec![fifo]).await;
    assert_eq!(refused.status.unwrap().code(), Code::MessagePropertyConflictWithType);
}

#[tokio::test]
async fn what_this_version_does_not_have_is_said_in_the_body() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let mut rpc = client.rpc.clone();
    let lite =
        rpc.sync_lite_subscription(client.request(pb::SyncLiteSubscriptionRequest::default())).await.unwrap();
    let offset = rpc.get_offset(client.request(pb::GetOffsetRequest::default())).await.unwrap();
    let statuses = [lite.into_inner().status, offset.into_inner().status];
    for status in statuses.map(Option::unwrap) {
        assert_eq!(status.code(), Code::NotImplemented, "{}", status.message);
    }
}

#[tokio::test]
async fn every_call_needs_a_client_id() {
    let broker = Broker::start().await;
    let mut rpc = broker.client("c").await.rpc;
    let topic = Some(resource("orders"));
    let send = pb::SendMessageRequest { messages: vec![message("orders", "1", "x")] };
    let route = pb::QueryRouteRequest { topic, ..Default::default() };
    let statuses = [
        rpc.send_message(send).await.unwrap().into_inner().status,
        rpc.query_route(route).await.unwrap().into_inner().status,
        rpc.query_assignment(pb::QueryAssignmentRequest::default()).await.unwrap().into_inner().status,
        rpc.heartbeat(pb::HeartbeatRequest::default()).await.unwrap().into_inner().status,
        rpc.ack_message(pb::AckMessageRequest::default()).await.unwrap().into_inner().status,
        rpc.change_invisible_duration(pb::ChangeInvisibleDurationRequest::default())
            .await
            .unwrap()
            .into_inner()
            .status,
        rpc.forward_message_to_dead_letter_queue(pb::ForwardMessageToDeadLetterQueueRequest::default())
            .await
            .unwrap()
            .into_inner()
            .status,
        rpc.notify_client_termination(pb::NotifyClientTerminationRequest::default())
            .await
            .unwrap()
            .into_inner()
            .status,
    ];
    for (at, status) in statuses.into_iter().enumerate() {
        assert_eq!(status.unwrap().code(), Code::ClientIdRequired, "call {at}");
    }
    let frames = rpc.receive_message(pb::ReceiveMessageRequest::default()).await.unwrap().into_inner();
    assert_eq!(crate::harness::collect(frames).await.status.code(), Code::ClientIdRequired);
}
