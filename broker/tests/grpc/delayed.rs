//! Delayed messages over gRPC: not before their time, and not at all once recalled.

use std::time::{Duration, SystemTime};

use rq_proto::rocketmq::{self as pb, Code, MessageType};

use crate::harness::{Broker, Client, message, resource, system};

pub(crate) fn delayed(id: &str, at: SystemTime) -> pb::Message {
    let mut delayed = message("orders", id, id);
    delayed.system_properties.as_mut().unwrap().delivery_timestamp = Some(at.into());
    delayed
}

impl Client {
    async fn recall(&self, topic: &str, handle: &str) -> pb::RecallMessageResponse {
        let (topic, recall_handle) = (Some(resource(topic)), handle.to_owned());
        let recall = pb::RecallMessageRequest { topic, recall_handle };
        self.rpc.clone().recall_message(self.request(recall)).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn a_message_comes_at_its_time_and_a_past_time_is_now() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let at = SystemTime::now() + Duration::from_millis(1_500);
    let sent = client.send(vec![delayed("later", at)]).await;
    assert!(!sent.entries[0].recall_handle.is_empty());
    let past = client.send(vec![delayed("now", at - Duration::from_hours(1))]).await;
    assert_eq!(past.entries[0].recall_handle, "", "what is out cannot be recalled");
    assert_eq!(client.receive("g", "orders").await.bodies(), ["now"]);
    let received = client.receive("g", "orders").await;
    assert!(SystemTime::now() >= at, "before its time");
    assert_eq!(received.bodies(), ["later"]);
    let delivered = system(&received.messages[0]);
    assert_eq!(delivered.message_type(), MessageType::Delay);
    assert!(delivered.delivery_timestamp.is_some());
}

#[tokio::test]
async fn a_recalled_message_does_not_come_and_what_cannot_be_recalled_is_said() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let at = SystemTime::now() + Duration::from_millis(700);
    let sent = client.send(vec![delayed("gone", at), delayed("kept", at)]).await;
    let handles: Vec<_> = sent.entries.iter().map(|entry| entry.recall_handle.clone()).collect();
    for _ in 0..2 {
        let recalled = client.recall("orders", &handles[0]).await;
        assert_eq!((recalled.status.unwrap().code(), recalled.message_id.as_str()), (Code::Ok, "gone"));
    }
    assert_eq!(client.receive("g", "orders").await.bodies(), ["kept"]);
    let code = |recalled: pb::RecallMessageResponse| recalled.status.unwrap().code();
    assert_eq!(code(client.recall("orders", &handles[1]).await), Code::BadRequest, "it is out");
    assert_eq!(code(client.recall("orders", "nonsense").await), Code::BadRequest);
    assert_eq!(code(client.recall("nothing", &handles[0]).await), Code::TopicNotFound);
    client.send_ok(vec![message("normal", "1", "x")]).await;
    assert_eq!(code(client.recall("normal", &handles[0]).await), Code::MessagePropertyConflictWithType);
}

#[tokio::test]
async fn a_delay_beyond_the_limit_is_refused() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let at = SystemTime::now() + Duration::from_hours(41 * 24);
    let refused = client.send(vec![delayed("1", at)]).await;
    assert_eq!(refused.status.unwrap().code(), Code::IllegalDeliveryTime);
}

#[tokio::test]
async fn the_handle_of_a_repeated_send_recalls_the_message_whatever_time_it_asks_for() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let at = SystemTime::now() + Duration::from_hours(1);
    let first = client.send(vec![delayed("1", at), delayed("2", at), delayed("2", at)]).await;
    let handles = |sent: &pb::SendMessageResponse| -> Vec<String> {
        sent.entries.iter().map(|entry| entry.recall_handle.clone()).collect()
    };
    assert_eq!(handles(&first)[1], handles(&first)[2], "twice in one send");
    // Later, at once, and at a time that the clock says of nothing.
    for at in [at + Duration::from_mins(1), SystemTime::now(), SystemTime::UNIX_EPOCH] {
        let again = client.send(vec![delayed("1", at), delayed("2", at)]).await;
        assert_eq!(handles(&again), handles(&first)[..2]);
        assert_eq!(again.entries[0].transaction_id, "");
    }
    let again = client.send(vec![delayed("1", at + Duration::from_mins(1))]).await;
    let recalled = client.recall("orders", &again.entries[0].recall_handle).await;
    assert_eq!(recalled.status.unwrap().code(), Code::Ok);
}
