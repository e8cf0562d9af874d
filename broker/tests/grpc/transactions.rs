//! Transactional messages over gRPC: what a producer hears, and what consumers see when.

use rq_proto::rocketmq::{self as pb, Code, MessageType, TransactionResolution};

use crate::harness::{Broker, Client, message, resource, system};

pub(crate) fn half(id: &str, body: &str) -> pb::Message {
    let mut half = message("orders", id, body);
    half.system_properties.as_mut().unwrap().message_type = MessageType::Transaction.into();
    half
}

impl Client {
    pub(crate) async fn end(&self, transaction_id: &str, resolution: TransactionResolution) -> pb::Status {
        let end = pb::EndTransactionRequest {
            topic: Some(resource("orders")),
            transaction_id: transaction_id.to_owned(),
            resolution: resolution.into(),
            ..Default::default()
        };
        let ended = self.rpc.clone().end_transaction(self.request(end)).await.unwrap();
        ended.into_inner().status.unwrap()
    }
}

#[tokio::test]
async fn a_message_is_seen_once_its_transaction_is_committed_and_not_if_it_is_rolled_back() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let sent = client.send(vec![half("1", "kept"), half("2", "dropped")]).await;
    let ids: Vec<String> = sent.entries.iter().map(|entry| entry.transaction_id.clone()).collect();
    assert!(ids.iter().all(|id| !id.is_empty()) && ids[0] != ids[1], "{ids:?}");
    assert_eq!(client.receive_now("g", "orders").await.status.code(), Code::MessageNotFound);
    assert_eq!(client.end(&ids[0], TransactionResolution::Unspecified).await.code(), Code::Ok);
    assert_eq!(client.receive_now("g", "orders").await.status.code(), Code::MessageNotFound);
    assert_eq!(client.end(&ids[0], TransactionResolution::Commit).await.code(), Code::Ok);
    assert_eq!(client.end(&ids[1], TransactionResolution::Rollback).await.code(), Code::Ok);
    let received = client.receive("g", "orders").await;
    assert_eq!(received.bodies(), ["kept"]);
    assert_eq!(system(&received.messages[0]).message_type(), MessageType::Transaction);
    assert_eq!(client.receive_now("g", "orders").await.status.code(), Code::MessageNotFound);
}

#[tokio::test]
async fn a_transaction_ends_once_and_an_unknown_one_not_at_all() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let again = half("1", "a");
    let id = client.send(vec![again.clone()]).await.entries[0].transaction_id.clone();
    let retried = client.send(vec![again]).await.entries[0].transaction_id.clone();
    assert_eq!(id, retried, "a repeated send is the same transaction");
    for _ in 0..2 {
        assert_eq!(client.end(&id, TransactionResolution::Commit).await.code(), Code::Ok);
    }
    let refused = client.end(&id, TransactionResolution::Rollback).await;
    assert_eq!(refused.code(), Code::InvalidTransactionId);
    assert!(refused.message.contains("committed already"), "{}", refused.message);
    for foreign in ["", "01AB", &id.replace('0', "1")] {
        let refused = client.end(foreign, TransactionResolution::Commit).await;
        assert_eq!(refused.code(), Code::InvalidTransactionId, "{foreign}: {}", refused.message);
    }
}
