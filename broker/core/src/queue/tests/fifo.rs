//! FIFO groups: of a message group one message at a time, the next when the one before is done.

use super::*;

/// A FIFO topic of one queue with two message groups, interleaved, and a FIFO group.
fn two_message_groups() -> Broker {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    for (x, y) in [("x1", "y1"), ("x2", "y2"), ("x3", "y3")] {
        broker.send_fifo("t", "x", &[x]);
        broker.send_fifo("t", "y", &[y]);
    }
    broker
}

#[test]
fn a_receive_gets_one_message_of_each_message_group_and_the_next_after_its_ack() {
    let mut broker = two_message_groups();
    let first = broker.receive("g", "t");
    assert_eq!(broker.texts(&first), ["x1", "y1"]);
    assert!(broker.receive("g", "t").is_empty());
    assert_eq!(broker.ack("g", &first[1]), Ok(()));
    let second = broker.receive("g", "t");
    assert_eq!(broker.texts(&second), ["y2"]);
    assert_eq!(second[0].attempt, 1);
    assert_eq!(broker.ack("g", &first[0]), Ok(()));
    assert_eq!(broker.ack("g", &second[0]), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["x2", "y3"]);
}

#[test]
fn a_message_that_comes_again_comes_before_the_later_ones_of_its_message_group() {
    type End = fn(&mut Broker, &Delivery);
    let endings: [(&str, End); 5] = [
        ("nack", |broker, delivery| broker.nack("g", delivery, 0)),
        ("undo", |broker, delivery| broker.undo("g", &[*delivery])),
        ("expiry", |broker, _| broker.pass(INVISIBLE_MS)),
        ("failover", |broker, _| {
            broker.fail_over();
            broker.pass(INVISIBLE_MS);
        }),
        ("suspend", |broker, delivery| assert!(broker.change("g", delivery, 0, true))),
    ];
    for (name, end) in endings {
        let mut broker = Broker::new();
        broker.topic("t", TopicKind::Fifo, 3);
        broker.fifo_group("g");
        broker.send_fifo("t", "x", &["1", "2", "3"]);
        for _ in 0..2 {
            let delivery = broker.receive_one("g", "t");
            assert_eq!(broker.text(delivery.lsn), "1", "after {name}");
            end(&mut broker, &delivery);
        }
        let delivery = broker.receive_one("g", "t");
        assert_eq!(broker.ack("g", &delivery), Ok(()));
        assert_eq!(broker.receive_texts("g", "t"), ["2"], "after {name}");
    }
}

#[test]
fn a_back_off_holds_its_message_group_back_and_no_other() {
    let mut broker = two_message_groups();
    let first = broker.receive("g", "t");
    broker.nack("g", &first[0], 60_000);
    assert_eq!(broker.ack("g", &first[1]), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["y2"]);
    broker.pass(60_000);
    assert!(broker.receive_texts("g", "t").contains(&"x1".to_owned()));
}

#[test]
fn a_repeated_attempt_keeps_its_message_groups_closed() {
    let mut broker = two_message_groups();
    let first = broker.attempt("g", "t", 7);
    assert_eq!(broker.attempt("g", "t", 7), first);
    assert!(broker.attempt("g", "t", 8).is_empty());
    assert_eq!(broker.ack("g", &first[0]), Ok(()));
    let repeated = broker.attempt("g", "t", 7);
    assert_eq!(broker.texts(&repeated), ["y1"]);
}

#[test]
fn a_message_group_keeps_to_one_queue() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 8);
    broker.fifo_group("g");
    broker.send_fifo("t", "x", &["1", "2", "3", "4"]);
    for expected in ["1", "2", "3", "4"] {
        let delivery = broker.receive_one("g", "t");
        assert_eq!(broker.text(delivery.lsn), expected);
        assert_eq!(broker.ack("g", &delivery), Ok(()));
    }
}

#[test]
fn a_group_without_order_gets_all_at_once() {
    let mut broker = two_message_groups();
    assert_eq!(broker.receive("plain", "t").len(), 6);
}

#[test]
fn messages_without_a_message_group_do_not_wait_for_each_other() {
    let mut broker = Broker::new();
    broker.fifo_group("g");
    broker.send("t", &["a", "b"]);
    assert_eq!(broker.receive_texts("g", "t"), ["a", "b"]);
}

#[test]
fn those_that_wait_behind_their_message_group_are_bounded() {
    let limits = Limits { parked_max: 2, ..Limits::default() };
    let mut broker = Broker::with(limits);
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    broker.send_fifo("t", "x", &["x1", "x2", "x3", "x4"]);
    broker.send_fifo("t", "y", &["y1"]);
    let x1 = broker.receive_one("g", "t");
    assert!(broker.receive("g", "t").is_empty(), "y1 lies behind the bound");
    assert_eq!(broker.ack("g", &x1), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["x2", "y1"]);
}

#[test]
fn a_pending_message_that_nobody_wants_any_more_is_passed_over_and_frees_the_next() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    for (text, tag) in [("1", "old"), ("2", "new")] {
        let mut message = broker.message(text);
        (message.kind, message.lane, message.tag) = (TopicKind::Fifo, hash::lane("x"), hash::tag(tag));
        broker.try_send("t", vec![message]).unwrap();
    }
    assert_eq!(broker.receive_texts("g", "t"), ["1"]);
    let mut receive = broker.receiving("g", "t");
    receive.filter = Filter::Tags(vec![hash::tag("new")]);
    receive.wait_ms = INVISIBLE_MS * 2;
    let waiting = broker.begin(Request::Receive(receive));
    broker.pass(INVISIBLE_MS - 1);
    assert_eq!(broker.waited(waiting), None);
    broker.pass(1);
    broker.pass(1);
    assert_eq!(broker.waited(waiting), Some(vec!["2".to_owned()]));
}

#[test]
fn another_filter_passes_over_what_is_due_and_goes_on_with_its_message_group() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    let tagged = |broker: &mut Broker, text: &str, tag: &str| {
        let mut message = broker.message(text);
        message.kind = TopicKind::Fifo;
        message.lane = hash::lane("x");
        message.tag = hash::tag(tag);
        assert!(broker.try_send("t", vec![message]).is_ok());
    };
    tagged(&mut broker, "first", "A");
    let mut wants_a = broker.receiving("g", "t");
    wants_a.filter = Filter::Tags(vec![hash::tag("A")]);
    assert_eq!(broker.receive_as(wants_a).len(), 1);
    broker.pass(INVISIBLE_MS);
    tagged(&mut broker, "second", "B");
    let mut found = Vec::new();
    for _ in 0..2 {
        let mut wants_b = broker.receiving("g", "t");
        wants_b.filter = Filter::Tags(vec![hash::tag("B")]);
        found.extend(broker.receive_as(wants_b));
    }
    assert_eq!(broker.texts(&found), ["second"]);
}
