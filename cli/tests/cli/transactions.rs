//! `rq tx`: transactions that their producer does not end.

use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use rq_proto::rocketmq::{Code, Message, MessageType, Resource, SendMessageRequest, SystemProperties};
use serde_json::{Value, json};
use tonic::Request;

use crate::broker::Broker;
use crate::rq;

/// Sends half messages to the topic `orders`, and tells their transactions.
fn send_halves(broker: &Broker, bodies: &[&str]) -> Vec<String> {
    let half = |body: &&str| Message {
        topic: Some(Resource { resource_namespace: String::new(), name: "orders".to_owned() }),
        system_properties: Some(SystemProperties {
            message_id: format!("id-{body}"),
            tag: Some("invoice".to_owned()),
            message_type: MessageType::Transaction.into(),
            ..Default::default()
        }),
        user_properties: [("customer".to_owned(), "7".to_owned())].into(),
        body: body.as_bytes().to_vec().into(),
    };
    let mut request = Request::new(SendMessageRequest { messages: bodies.iter().map(half).collect() });
    request.metadata_mut().insert("x-mq-client-id", "producer".parse().unwrap());
    let address = format!("http://{}", broker.endpoint());
    let send = async {
        let mut client = MessagingServiceClient::connect(address).await.unwrap();
        client.send_message(request).await.unwrap().into_inner()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = runtime.block_on(send);
    assert_eq!(sent.status.unwrap().code(), Code::Ok);
    sent.entries.into_iter().map(|entry| entry.transaction_id).collect()
}

#[test]
fn open_transactions_are_listed_shown_and_ended_by_hand() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders", "--type", "transaction"]).succeeds();
    rq(&["group", "create", "g"]).succeeds();
    let table = rq(&["tx", "list"]).succeeds().out;
    assert!(table.starts_with("TRANSACTION ID") && table.lines().count() == 1, "{table}");
    let ids = send_halves(&broker, &["one", "two", "three"]);

    let listed = rq(&["tx", "list", "--topic", "orders", "-o", "json"]).succeeds().json();
    let told = |name: &str| -> Vec<Value> {
        listed.as_array().unwrap().iter().map(|transaction| transaction[name].clone()).collect()
    };
    assert_eq!(told("transactionId"), ids);
    assert_eq!(told("messageId"), ["id-one", "id-two", "id-three"]);
    assert_eq!(told("checks"), [0, 0, 0]);
    rq(&["tx", "list", "--topic", "other"]).ends_with(3);
    rq(&["tx", "list", "--topic", ""]).ends_with(2);
    assert_eq!(rq(&["tx", "list", "--limit", "0", "-o", "json"]).succeeds().json(), json!([]));
    let two = rq(&["tx", "list", "--limit", "2", "-o", "json"]).succeeds();
    assert_eq!(two.json().as_array().unwrap().len(), 2);
    assert!(two.err.contains("first 2 transactions; there are more: --limit"), "{}", two.err);
    let all = rq(&["tx", "list", "--limit", "3"]).succeeds();
    assert!(all.out.lines().count() == 4 && all.err.is_empty(), "{all:#?}");
    let table = rq(&["tx", "list"]).succeeds().out;
    assert!(table.contains(&ids[0]) && table.contains("NEXT CHECK"), "{table}");
    let described = rq(&["topic", "describe", "orders"]).succeeds().out;
    assert!(described.contains("3 for the end of their transaction"), "{described}");
    assert_eq!(rq(&["topic", "describe", "orders", "-o", "json"]).succeeds().json()["halfMessages"], 3);

    let shown = rq(&["tx", "show", &ids[1], "-o", "json"]).succeeds().json();
    assert_eq!((&shown["body"], &shown["tag"]), (&"two".into(), &"invoice".into()));
    assert_eq!(shown["properties"], json!({ "customer": "7" }));
    let shown = rq(&["tx", "show", &ids[1]]).succeeds().out;
    assert!(shown.contains("body") && shown.contains("two") && shown.contains("customer=7"), "{shown}");

    let committed = rq(&["tx", "commit", &ids[0], &ids[1]]).succeeds().out;
    assert!(committed.contains("is committed") && committed.lines().count() == 2, "{committed}");
    let rolled_back = rq(&["tx", "rollback", &ids[2], "-o", "json"]).succeeds().json();
    assert_eq!(rolled_back, json!({ "transactionId": ids[2], "topic": "orders", "committed": false }));
    rq(&["tx", "commit", &ids[0]]).succeeds();
    let ended = rq(&["tx", "commit", &ids[2]]).ends_with(1);
    assert!(ended.err.contains("rolled back already"), "{}", ended.err);
    let gone = rq(&["tx", "show", &ids[0]]).ends_with(3);
    assert!(
        gone.err.contains("rq tx list") && gone.err.contains("TRANS_CHECK_MAX_TIME_TOPIC"),
        "{}",
        gone.err
    );
    let foreign = rq(&["tx", "rollback", "0123"]).ends_with(1);
    assert!(foreign.err.contains("transaction 0123: not a transaction id"), "{}", foreign.err);
    assert!(foreign.err.contains("rq tx list") && !foreign.err.contains("SendMessage"), "{}", foreign.err);
    let foreign = rq(&["tx", "show", "0123"]).ends_with(1);
    assert!(foreign.err.contains("rq tx list") && !foreign.err.contains("SendMessage"), "{}", foreign.err);
    rq(&["tx", "commit"]).ends_with(2);

    let received = rq(&["consume", "orders", "--group", "g", "--count", "2", "-o", "json"]).succeeds();
    let mut bodies: Vec<Value> =
        received.json_lines().iter().map(|message| message["body"].clone()).collect();
    bodies.sort_by_key(ToString::to_string);
    assert_eq!(bodies, ["one", "two"]);
}

#[test]
fn a_transaction_that_is_refused_does_not_stop_the_others() {
    let broker = Broker::start();
    let rq = |args: &[&str]| rq(broker.endpoint(), args);
    rq(&["topic", "create", "orders", "--type", "transaction"]).succeeds();
    let ids = send_halves(&broker, &["one", "two", "three", "four"]);
    let some = rq(&["tx", "commit", &ids[0], "0123", &ids[1]]).ends_with(1);
    let committed: Vec<&str> = some.out.lines().collect();
    assert_eq!(committed.len(), 2, "{some:#?}");
    for (line, id) in committed.iter().zip(&ids) {
        assert_eq!(*line, format!("transaction {id} of topic orders is committed"));
    }
    assert!(some.err.contains("rq: transaction 0123: not a transaction id"), "{}", some.err);
    assert!(some.err.contains("rq: 1 of 3 transactions could not be committed"), "{}", some.err);

    // What is committed is not rolled back; the others are, and each has its line.
    let some = rq(&["tx", "rollback", &ids[0], &ids[2], "0123", &ids[3], "-o", "json"]).ends_with(1);
    let lines = some.json_lines();
    let told: Vec<&Value> = lines.iter().map(|line| &line["transactionId"]).collect();
    assert_eq!(told, [ids[0].as_str(), &ids[2], "0123", &ids[3]]);
    assert!(lines[0]["error"].as_str().unwrap().contains("committed already"), "{}", lines[0]);
    assert!(lines[2]["error"].as_str().unwrap().contains("not a transaction id"), "{}", lines[2]);
    for (line, id) in [(&lines[1], &ids[2]), (&lines[3], &ids[3])] {
        assert_eq!(*line, json!({ "transactionId": id, "topic": "orders", "committed": false }));
    }
    assert!(some.err.contains("2 of 4 transactions could not be rolled back"), "{}", some.err);
    assert_eq!(rq(&["tx", "list", "-o", "json"]).succeeds().json(), json!([]));
}
