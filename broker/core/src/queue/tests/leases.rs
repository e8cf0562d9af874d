//! Leases: a delivery ends by ack, by redelivery or as a dead letter, never by time alone.

use super::*;

#[test]
fn an_acked_message_never_comes_back() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    assert_eq!(broker.ack("g", &delivery), Ok(()));
    broker.pass(INVISIBLE_MS * 10);
    broker.fail_over();
    assert!(broker.receive("g", "t").is_empty());
}

#[test]
fn a_message_that_is_not_acked_comes_back_with_the_next_attempt_and_another_handle() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let first = broker.receive_one("g", "t");
    broker.pass(INVISIBLE_MS - 1);
    assert!(broker.receive("g", "t").is_empty(), "it is still hidden");
    broker.pass(1);
    let second = broker.receive_one("g", "t");
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!((first.queue, first.offset, first.lsn), (second.queue, second.offset, second.lsn));
    assert_eq!(broker.ack("g", &first), Err(StaleHandle), "the first delivery is superseded");
    assert_eq!(broker.ack("g", &second), Ok(()));
}

#[test]
fn every_group_gets_every_message() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let of_one = broker.receive("one", "t");
    assert_eq!(broker.ack("one", &of_one[0]), Ok(()));
    assert_eq!(broker.receive_texts("two", "t"), ["a", "b"]);
    assert_eq!(broker.ack("two", &of_one[1]), Err(StaleHandle), "a handle is of one group");
}

#[test]
fn an_ack_past_the_deadline_is_ok_while_nobody_else_has_the_message() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    broker.pass(INVISIBLE_MS * 3);
    assert_eq!(broker.ack("g", &delivery), Ok(()));
    assert!(broker.receive("g", "t").is_empty());
}

#[test]
fn an_ack_that_is_repeated_is_ok_also_after_a_failover() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    assert_eq!(broker.ack("g", &delivery), Ok(()));
    broker.fail_over();
    assert_eq!(broker.ack("g", &delivery), Ok(()));
}

#[test]
fn a_handle_of_what_was_never_delivered_or_of_a_deleted_topic_is_stale() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let mut receive = broker.receiving("g", "t");
    receive.batch = 1;
    let delivery = broker.receive_as(receive)[0];
    assert_eq!(broker.ack("g", &Delivery { offset: delivery.offset.next(), ..delivery }), Err(StaleHandle));
    assert_eq!(broker.ack("g", &Delivery { nonce: Nonce(9999), ..delivery }), Err(StaleHandle));
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    broker.send("t", &["c"]);
    assert_eq!(broker.receive_texts("g", "t"), ["c"]);
    assert_eq!(broker.ack("g", &delivery), Err(StaleHandle), "a topic made anew is another one");
}

#[test]
fn a_nacked_message_comes_back_at_its_time_and_can_be_acked_until_then() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let deliveries = broker.receive("g", "t");
    broker.nack("g", &deliveries[0], 500);
    broker.nack("g", &deliveries[1], 500);
    assert_eq!(broker.ack("g", &deliveries[0]), Ok(()));
    broker.pass(499);
    assert!(broker.receive("g", "t").is_empty());
    broker.pass(1);
    let again = broker.receive_one("g", "t");
    assert_eq!((broker.text(again.lsn).as_str(), again.attempt), ("b", 2));
    assert!(!broker.change("g", &deliveries[1], 500, false), "the nacked delivery is superseded");
}

#[test]
fn a_change_of_the_invisible_duration_counts_from_now_and_may_be_repeated() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    broker.pass(INVISIBLE_MS - 1);
    broker.nack("g", &delivery, 60_000);
    broker.pass(59_999);
    assert!(broker.receive("g", "t").is_empty());
    broker.nack("g", &delivery, 0);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
}

#[test]
fn a_suspended_delivery_does_not_count_however_often_it_is_suspended() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let first = broker.receive_one("g", "t");
    broker.nack("g", &first, 0);
    let second = broker.receive_one("g", "t");
    for _ in 0..3 {
        assert!(broker.change("g", &second, 1_000, true));
    }
    broker.pass(1_000);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
}

#[test]
fn an_undone_delivery_is_visible_at_once_and_was_none() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let deliveries = broker.receive("g", "t");
    broker.undo("g", &deliveries);
    assert_eq!(broker.ack("g", &deliveries[0]), Err(StaleHandle));
    let again = broker.receive("g", "t");
    assert_eq!(broker.texts(&again), ["a", "b"]);
    assert_eq!(again[0].attempt, 1);
    broker.undo("g", &deliveries);
    assert!(broker.receive("g", "t").is_empty(), "an undo of what was delivered anew changes nothing");
}

#[test]
fn a_delivery_that_its_consumer_has_answered_is_not_undone() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let deliveries = broker.receive("g", "t");
    broker.nack("g", &deliveries[0], 60_000);
    assert_eq!(broker.ack("g", &deliveries[1]), Ok(()));
    broker.undo("g", &deliveries);
    assert!(broker.receive("g", "t").is_empty());
}

#[test]
fn a_repeated_attempt_gets_what_is_left_of_its_batch_with_the_same_handles_also_after_a_failover() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b", "c"]);
    let first = broker.attempt("g", "t", 7);
    assert_eq!(broker.ack("g", &first[1]), Ok(()));
    broker.pass(INVISIBLE_MS - 1);
    broker.fail_over();
    let second = broker.attempt("g", "t", 7);
    assert_eq!(second, [first[0], first[2]]);
    broker.pass(INVISIBLE_MS - 1);
    assert!(broker.receive("g", "t").is_empty(), "the repeat began a new lease");
    broker.pass(1);
    let others = broker.receive("g", "t");
    assert_eq!((broker.texts(&others), others[0].attempt), (vec!["a".to_owned(), "c".to_owned()], 2));
    assert!(
        broker.attempt("g", "t", 7).is_empty(),
        "what was delivered to others is no longer of the attempt"
    );
}

#[test]
fn a_nacked_message_is_not_handed_to_a_repeat_of_its_attempt() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let first = broker.attempt("g", "t", 7);
    broker.nack("g", &first[0], 60_000);
    assert_eq!(broker.attempt("g", "t", 7), [first[1]]);
}

/// The undo of the first, lost answer comes when its repeat has been answered already.
#[test]
fn a_delivery_that_was_repeated_is_not_undone() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let first = broker.attempt("g", "t", 7);
    assert_eq!(broker.attempt("g", "t", 7), first);
    broker.undo("g", &first);
    assert!(broker.receive("g", "t").is_empty(), "two consumers would hold it");
    assert_eq!(broker.ack("g", &first[0]), Ok(()));
}

#[test]
fn in_flight_messages_are_bounded_and_those_in_a_back_off_do_not_count() {
    let mut broker = Broker::with(Limits {
        in_flight_max: 2,
        auto_create_topics: true,
        default_queues: 1,
        ..Limits::default()
    });
    broker.send("t", &["a", "b", "c", "d", "e"]);
    let held = broker.receive("g", "t");
    assert_eq!(broker.texts(&held), ["a", "b"]);
    assert!(broker.receive("g", "t").is_empty());
    broker.nack("g", &held[0], 60_000);
    assert_eq!(broker.receive_texts("g", "t"), ["c"]);
    assert_eq!(broker.ack("g", &held[1]), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["d"]);
    assert!(broker.receive("g", "t").is_empty());
    let status = broker.shard.group_status("g").unwrap().progress[0].clone();
    assert_eq!((status.in_flight, status.waiting, status.ready), (2, 1, 1));
}

#[test]
fn messages_in_a_back_off_are_bounded_too_and_only_new_ones_wait_for_it() {
    let mut broker = Broker::with(Limits {
        pending_max: 3,
        auto_create_topics: true,
        default_queues: 1,
        ..Limits::default()
    });
    broker.send("t", &["a", "b", "c", "d", "e"]);
    let held = broker.receive("g", "t");
    assert_eq!(broker.texts(&held), ["a", "b", "c"]);
    for delivery in &held {
        broker.nack("g", delivery, 60_000);
    }
    let mut waiting = broker.receiving("g", "t");
    (waiting.wait_ms, waiting.batch) = (30_000, 1);
    let waiting = broker.begin(Request::Receive(waiting));
    assert_eq!(broker.waited(waiting), None, "three are not done");
    assert_eq!(broker.receive_texts("other", "t"), ["a", "b", "c"], "each group has its own bound");
    assert_eq!(broker.ack("g", &held[1]), Ok(()));
    assert_eq!(broker.waited(waiting), Some(vec!["d".to_owned()]), "an ack lets the next one come");
    broker.pass(60_000);
    assert_eq!(broker.receive_texts("g", "t"), ["d", "a", "c"], "what is due again is not held back");
    broker.fail_over();
    assert!(broker.receive("g", "t").is_empty(), "the bound holds on the next master");
}

#[test]
fn a_new_master_gives_every_living_lease_time_and_the_others_none() {
    let mut broker = Broker::new();
    broker.send("t", &["long", "short", "over"]);
    let mut take = |invisible_ms| {
        let mut receive = broker.receiving("g", "t");
        (receive.batch, receive.invisible_ms) = (1, invisible_ms);
        broker.receive_as(receive)[0]
    };
    let (_long, short, _over) = (take(50_000), take(INVISIBLE_MS), take(1_000));
    broker.pass(9_999);
    // The newest record tells the next master until when there was one.
    broker.send("other", &["x"]);
    broker.set_now(broker.now.plus(100_000));
    broker.fail_over();
    assert_eq!(broker.receive_texts("g", "t"), ["over"], "it had ended before the failover");
    broker.pass(INVISIBLE_MS - 1);
    assert!(broker.receive("g", "t").is_empty());
    broker.pass(1);
    assert_eq!(broker.receive_texts("g", "t"), ["short", "over"]);
    assert_eq!(broker.ack("g", &short), Err(StaleHandle));
    broker.pass(30_000 - INVISIBLE_MS - 1);
    assert!(!broker.receive_texts("g", "t").contains(&"long".to_owned()));
    broker.pass(1);
    assert!(broker.receive_texts("g", "t").contains(&"long".to_owned()), "30 s at most");
}

/// A consumer that fails at once and wants the message back at once would do nothing else.
#[test]
fn from_the_second_failure_on_a_message_stays_away_for_the_floor_at_least() {
    const FLOOR_MS: u64 = 1_000;
    let mut broker = Broker::with(Limits {
        auto_create_topics: true,
        default_queues: 1,
        retry_floor_ms: FLOOR_MS,
        ..Limits::default()
    });
    broker.send("t", &["a"]);
    let first = broker.receive_one("g", "t");
    broker.nack("g", &first, 0);
    let second = broker.receive_one("g", "t");
    broker.nack("g", &second, 0);
    broker.pass(FLOOR_MS - 1);
    assert_eq!(broker.receive_texts("g", "t"), [""; 0]);
    broker.pass(1);
    let third = broker.receive_one("g", "t");
    assert_eq!(third.attempt, 3);
    broker.nack("g", &third, 2 * FLOOR_MS);
    broker.pass(2 * FLOOR_MS - 1);
    assert_eq!(broker.receive_texts("g", "t"), [""; 0], "what was asked for is longer than the floor");
}
