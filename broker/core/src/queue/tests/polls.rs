//! Receives that wait: served in the order of their coming, as soon as there is something, and never beyond their
//! time.

use super::*;
use crate::queue::request::ReceiveError;

fn waiting(broker: &mut Broker, group: &str, topic: &str) -> Ticket {
    let mut receive = broker.receiving(group, topic);
    receive.wait_ms = 60_000;
    broker.begin(Request::Receive(receive))
}

#[test]
fn the_first_that_waits_is_the_first_served() {
    let mut broker = Broker::new();
    let (first, second) = (waiting(&mut broker, "g", "t"), waiting(&mut broker, "g", "t"));
    broker.send("t", &["a"]);
    assert_eq!(broker.waited(first), Some(vec!["a".to_owned()]));
    assert_eq!(broker.waited(second), None);
    broker.send("t", &["b"]);
    assert_eq!(broker.waited(second), Some(vec!["b".to_owned()]));
}

#[test]
fn every_group_that_waits_is_served() {
    let mut broker = Broker::new();
    let (one, two) = (waiting(&mut broker, "one", "t"), waiting(&mut broker, "two", "t"));
    broker.send("t", &["a"]);
    assert!(broker.waited(one).is_some() && broker.waited(two).is_some());
}

#[test]
fn one_that_waits_gets_a_message_the_moment_its_lease_ends() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    broker.receive_one("g", "t");
    let poll = waiting(&mut broker, "g", "t");
    let end = broker.now.plus(INVISIBLE_MS);
    assert_eq!(broker.shard.next_wakeup(), Some(end));
    broker.pass(INVISIBLE_MS - 1);
    assert_eq!(broker.waited(poll), None);
    broker.pass(1);
    assert_eq!(broker.waited(poll), Some(vec!["a".to_owned()]));
}

#[test]
fn one_that_waits_is_served_after_an_undo_a_nack_a_goodbye_and_the_end_of_a_back_off() {
    let mut broker = Broker::new();
    let ends: [fn(&mut Broker, &Delivery); 4] = [
        |broker, delivery| broker.undo("g", &[*delivery]),
        |broker, delivery| broker.nack("g", delivery, 0),
        |broker, _| drop(broker.ask(Request::Release(ClientHash(1)))),
        |broker, delivery| {
            broker.nack("g", delivery, 500);
            broker.pass(500);
        },
    ];
    broker.send("t", &["a"]);
    for end in ends {
        let mut receive = broker.receiving("g", "t");
        receive.auto_renew = true;
        let delivery = broker.receive_as(receive)[0];
        let poll = waiting(&mut broker, "g", "t");
        end(&mut broker, &delivery);
        let Some(Answer::Receive(Ok(served))) = broker.answers.remove(&poll) else { panic!("not served") };
        broker.nack("g", &served[0], 0);
    }
}

#[test]
fn one_that_waits_for_its_message_group_is_served_after_the_ack() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    broker.send_fifo("t", "x", &["1", "2"]);
    let first = broker.receive_one("g", "t");
    let poll = waiting(&mut broker, "g", "t");
    assert_eq!(broker.waited(poll), None);
    assert_eq!(broker.ack("g", &first), Ok(()));
    assert_eq!(broker.waited(poll), Some(vec!["2".to_owned()]));
}

#[test]
fn one_that_waits_on_dead_letters_gets_them() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let deliveries = broker.receive("g", "t");
    broker.forward("g", &deliveries[0]);
    assert_eq!(broker.receive_texts("reader", "%DLQ%g"), ["a"]);
    let poll = waiting(&mut broker, "reader", "%DLQ%g");
    broker.forward("g", &deliveries[1]);
    assert_eq!(broker.waited(poll), Some(vec!["b".to_owned()]));
}

#[test]
fn one_that_waits_in_vain_is_answered_at_its_time() {
    let mut broker = Broker::new();
    let poll = waiting(&mut broker, "g", "t");
    broker.pass(59_999);
    assert_eq!(broker.waited(poll), None);
    broker.pass(1);
    assert_eq!(broker.waited(poll), Some(Vec::new()));
    assert_eq!((broker.shard.waiting_polls(), broker.shard.next_wakeup()), (0, None));
}

#[test]
fn one_that_was_cancelled_takes_nothing() {
    let mut broker = Broker::new();
    let poll = waiting(&mut broker, "g", "t");
    broker.shard.cancel(poll);
    broker.send("t", &["a"]);
    assert_eq!(broker.waited(poll), None);
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
}

#[test]
fn a_repeat_of_a_receive_that_still_waits_takes_its_place() {
    let mut broker = Broker::new();
    let mut begin = |nonce| {
        let mut receive = broker.receiving("g", "t");
        (receive.wait_ms, receive.attempt, receive.nonce) = (60_000, Some(AttemptHash(7)), Nonce(nonce));
        broker.begin(Request::Receive(receive))
    };
    let (first, second) = (begin(1), begin(2));
    assert_eq!(broker.answers.remove(&first), Some(Answer::Receive(Err(ReceiveError::Repeated))));
    broker.send("t", &["a"]);
    assert_eq!(broker.waited(second), Some(vec!["a".to_owned()]));
}

#[test]
fn a_filter_gets_its_tags_and_passes_over_the_others_for_good() {
    let mut broker = Broker::new();
    let mut receive = broker.receiving("g", "t");
    let mut tags = vec![hash::tag("A"), hash::tag("B")];
    tags.sort_unstable();
    (receive.wait_ms, receive.filter) = (60_000, Filter::Tags(tags));
    let poll = broker.begin(Request::Receive(receive));
    for (text, tag) in [("c", Some("C")), ("none", None), ("b", Some("B"))] {
        assert_eq!(broker.answers.get(&poll), None);
        let mut message = broker.message(text);
        message.tag = tag.map_or(TagHash(0), hash::tag);
        broker.try_send("t", vec![message]).unwrap();
    }
    assert_eq!(broker.waited(poll), Some(vec!["b".to_owned()]));
    assert!(broker.receive("g", "t").is_empty());
    assert_eq!(broker.receive("other", "t").len(), 3);
}

/// More than one look goes through: it must neither stop there nor keep everybody else waiting.
#[test]
fn a_filter_finds_its_message_behind_any_number_of_others() {
    let mut broker = Broker::new();
    let texts: Vec<NewMessage> = (0..40_000).map(|_| broker.message("x")).collect();
    broker.try_send("t", texts).unwrap();
    let mut wanted = broker.message("wanted");
    wanted.tag = hash::tag("A");
    broker.try_send("t", vec![wanted]).unwrap();
    let mut receive = broker.receiving("g", "t");
    (receive.wait_ms, receive.filter) = (60_000, Filter::Tags(vec![hash::tag("A")]));
    let poll = broker.begin(Request::Receive(receive));
    broker.pass(1);
    assert_eq!(broker.waited(poll), Some(vec!["wanted".to_owned()]));
}

#[test]
fn those_that_wait_are_bounded() {
    let mut broker = Broker::with(Limits { polls_max: 1, auto_create_topics: true, ..Limits::default() });
    waiting(&mut broker, "g", "t");
    let mut receive = broker.receiving("g", "t");
    receive.wait_ms = 1;
    let refused = broker.ask(Request::Receive(receive));
    assert!(matches!(refused, Some(Answer::Receive(Err(ReceiveError::TooMany(_))))), "{refused:?}");
}

#[test]
fn those_that_wait_are_told_when_their_topic_or_group_goes() {
    let mut broker = Broker::new();
    let (one, two) = (waiting(&mut broker, "g", "t"), waiting(&mut broker, "h", "t"));
    broker.ask(Request::DeleteGroup(Arc::from("g")));
    assert!(matches!(broker.answers.remove(&one), Some(Answer::Receive(Err(_)))));
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    assert!(matches!(broker.answers.remove(&two), Some(Answer::Receive(Err(_)))));
    assert_eq!(broker.shard.next_wakeup(), None);
}
