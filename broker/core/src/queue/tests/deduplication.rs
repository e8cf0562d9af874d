//! A retried send is stored once; what only looks like a retry is stored too.

use super::*;
use crate::queue::duplicates::WINDOW_MS;

/// A message as the gateway makes it from an official client's.
fn sent_by(client: &str, message_id: &str, body: &'static str) -> NewMessage {
    NewMessage {
        kind: TopicKind::Normal,
        key: hash::send_key(client, message_id, hash::crc32c(body.as_bytes())),
        tag: TagHash(0),
        lane: Lane(0),
        deliver_at: LogTime(0),
        recover_after_ms: None,
        content: Bytes::from_static(body.as_bytes()),
    }
}

#[test]
fn a_retry_is_stored_once_and_answered_like_the_first() {
    let mut broker = Broker::new();
    let first = broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap();
    let retry = broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap();
    assert_eq!(retry, [Sent { duplicate: true, ..first[0] }]);
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
}

#[test]
fn two_clients_with_equal_message_ids_have_both_messages_delivered() {
    let mut broker = Broker::new();
    broker.try_send("t", vec![sent_by("one", "id", "a")]).unwrap();
    broker.try_send("t", vec![sent_by("two", "id", "a")]).unwrap();
    broker.try_send("t", vec![sent_by("two", "id", "b")]).unwrap();
    broker.try_send("t", vec![sent_by("one", "id", "b"), sent_by("three", "id", "a")]).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["a", "a", "b", "b", "a"]);
}

#[test]
fn a_retry_is_recognised_inside_a_batch() {
    let mut broker = Broker::new();
    let first = broker.try_send("t", vec![sent_by("c", "1", "a")]).unwrap()[0];
    let batch = ["1", "2", "2", "3"].map(|id| sent_by("c", id, "a")).to_vec();
    let sent = broker.try_send("t", batch.clone()).unwrap();
    assert_eq!(sent.iter().map(|sent| sent.duplicate).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!((sent[0].offset, sent[2].offset), (first.offset, sent[1].offset));
    let again = broker.try_send("t", batch).unwrap();
    assert!(again.iter().all(|sent| sent.duplicate));
    assert_eq!(broker.receive("g", "t").len(), 3);
}

#[test]
fn a_retry_is_recognised_by_the_next_master() {
    let mut broker = Broker::new();
    let first = broker.try_send("t", vec![sent_by("c", "1", "a"), sent_by("c", "2", "b")]).unwrap();
    broker.fail_over();
    for (id, body, first) in [("1", "a", first[0]), ("2", "b", first[1])] {
        let retry = broker.try_send("t", vec![sent_by("c", id, body)]).unwrap();
        assert_eq!(retry, [Sent { duplicate: true, ..first }]);
    }
    assert_eq!(broker.receive("g", "t").len(), 2);
}

#[test]
fn a_retry_is_recognised_for_five_minutes() {
    let mut broker = Broker::new();
    broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap();
    broker.pass(WINDOW_MS);
    assert!(broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap()[0].duplicate);
    broker.pass(1);
    assert!(!broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap()[0].duplicate);
}

#[test]
fn a_topic_made_anew_knows_nothing_of_the_sends_to_the_former_one() {
    let mut broker = Broker::new();
    broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap();
    broker.try_send("u", vec![sent_by("c", "id", "a")]).unwrap();
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    assert!(!broker.try_send("t", vec![sent_by("c", "id", "a")]).unwrap()[0].duplicate);
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
    assert_eq!(broker.receive_texts("g", "u"), ["a"]);
}

#[test]
fn a_batch_with_a_message_of_another_kind_stores_nothing() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Normal, 1);
    let delayed = NewMessage { kind: TopicKind::Delay, ..sent_by("c", "2", "b") };
    let refused = broker.try_send("t", vec![sent_by("c", "1", "a"), delayed]);
    assert!(matches!(refused, Err(SendError::KindMismatch(_))), "{refused:?}");
    assert!(broker.receive("g", "t").is_empty());
    assert!(!broker.try_send("t", vec![sent_by("c", "1", "a")]).unwrap()[0].duplicate);
}
