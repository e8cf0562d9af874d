//! Dead letters: exactly so many deliveries as the group allows, then one place in the dead-letter topic.

use super::*;

fn two_attempts(ordered: bool) -> Broker {
    let mut broker = Broker::new();
    broker.group("g", GroupSettings { max_attempts: 2, ordered, ..GroupSettings::default() });
    broker
}

#[test]
fn a_message_becomes_a_dead_letter_when_its_last_delivery_runs_out() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a"]);
    assert_eq!(broker.receive_one("g", "t").attempt, 1);
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
    broker.pass(INVISIBLE_MS - 1);
    assert!(broker.dead_letters("g").is_empty());
    broker.pass(1);
    assert_eq!(broker.dead_letters("g"), ["a"]);
    assert!(broker.receive("g", "t").is_empty());
    let letter = broker.receive_one("reader", "%DLQ%g");
    assert_eq!((broker.text(letter.lsn).as_str(), letter.attempt), ("a", 1));
    assert_eq!(broker.shard.group_status("g").unwrap().dead_letters, 1);
}

#[test]
fn a_last_delivery_is_watched_by_the_next_master_too() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a"]);
    for _ in 0..2 {
        broker.receive_one("g", "t");
        broker.pass(INVISIBLE_MS - 1);
        broker.fail_over();
        broker.pass(INVISIBLE_MS);
    }
    assert_eq!(broker.dead_letters("g"), ["a"]);
}

#[test]
fn a_last_delivery_that_failed_is_dead_after_its_back_off_unless_it_is_acked() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a", "b"]);
    for delivery in broker.receive("g", "t") {
        broker.nack("g", &delivery, 0);
    }
    let last = broker.receive("g", "t");
    for delivery in &last {
        broker.nack("g", delivery, 500);
    }
    broker.pass(499);
    assert_eq!(broker.ack("g", &last[0]), Ok(()));
    assert!(broker.dead_letters("g").is_empty());
    broker.pass(1);
    assert_eq!(broker.dead_letters("g"), ["b"]);
}

#[test]
fn a_last_delivery_that_is_undone_or_suspended_comes_again() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a", "b"]);
    for delivery in broker.receive("g", "t") {
        broker.nack("g", &delivery, 0);
    }
    let last = broker.receive("g", "t");
    broker.undo("g", &last[..1]);
    assert!(broker.change("g", &last[1], 0, true));
    broker.pass(INVISIBLE_MS * 2);
    let again = broker.receive("g", "t");
    assert_eq!(broker.texts(&again), ["a", "b"]);
    assert_eq!((again[0].attempt, again[1].attempt), (2, 2));
}

#[test]
fn a_group_that_allows_fewer_attempts_buries_what_had_them_and_one_that_allows_more_gets_it_again() {
    let mut broker = two_attempts(false);
    let allow = |broker: &mut Broker, attempts| {
        let answer = broker.ask(allowing(attempts));
        assert!(matches!(answer, Some(Answer::UpdateGroup(Ok(_)))), "{answer:?}");
    };
    broker.send("t", &["a"]);
    broker.receive_one("g", "t");
    allow(&mut broker, 1);
    assert!(broker.dead_letters("g").is_empty(), "its consumer may still ack it");
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.dead_letters("g"), ["a"]);
    broker.send("t", &["b"]);
    broker.receive_one("g", "t");
    allow(&mut broker, 3);
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
    broker.fail_over();
    broker.pass(INVISIBLE_MS);
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.receive_one("g", "t").attempt, 3, "the new master knows it too");
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.dead_letters("g"), ["a", "b"]);
    let records = broker.log.records.len();
    allow(&mut broker, 3);
    assert_eq!(broker.log.records.len(), records, "what changes nothing is not written");
}

#[test]
fn one_that_waits_gets_what_a_change_of_its_group_has_just_saved_from_becoming_a_dead_letter() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a"]);
    for _ in 0..2 {
        broker.receive_one("g", "t");
        broker.set_now(broker.now.plus(INVISIBLE_MS));
    }
    let waits = Request::Receive(Receive { wait_ms: 60_000, ..broker.receiving("g", "t") });
    let [ticket, _] = broker.begin_together([waits, allowing(3)]);
    let Some(Answer::Receive(Ok(got))) = broker.answers.remove(&ticket) else { panic!("it waits in vain") };
    assert_eq!(broker.texts(&got), ["a"]);
}

#[test]
fn very_many_become_dead_letters_in_steps_between_which_others_are_served() {
    let mut broker = two_attempts(false);
    let many = 2_500;
    let texts: Vec<String> = (0..many).map(|number| number.to_string()).collect();
    broker.send("t", &texts.iter().map(String::as_str).collect::<Vec<_>>());
    while !broker.receive("g", "t").is_empty() {}
    broker.set_now(broker.now.plus(INVISIBLE_MS));
    broker.begin(allowing(1));
    let count = |broker: &Broker| broker.shard.count_dead_letters("g").unwrap();
    assert_eq!(count(&broker), 1_000);
    assert!(broker.receive("g", "t").is_empty(), "what had all its deliveries does not come");
    broker.pass(0);
    assert_eq!(count(&broker), many);
}

fn allowing(attempts: u32) -> Request {
    Request::UpdateGroup(UpdateGroup { name: Arc::from("g"), max_attempts: Some(attempts), backoff: None })
}

#[test]
fn a_forward_is_carried_out_once_and_always_ok() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a", "b"]);
    let deliveries = broker.receive("g", "t");
    for _ in 0..3 {
        broker.forward("g", &deliveries[0]);
    }
    assert_eq!(broker.ack("g", &deliveries[1]), Ok(()));
    broker.forward("g", &deliveries[1]);
    assert_eq!(broker.dead_letters("g"), ["a"]);
    assert_eq!(broker.ack("g", &deliveries[0]), Ok(()), "it will not come back");
}

#[test]
fn a_dead_letter_frees_the_next_of_its_message_group() {
    let mut broker = two_attempts(true);
    broker.topic("t", TopicKind::Fifo, 4);
    broker.send_fifo("t", "x", &["1", "2", "3"]);
    let first = broker.receive_one("g", "t");
    broker.forward("g", &first);
    for _ in 0..2 {
        assert_eq!(broker.receive_texts("g", "t"), ["2"]);
        broker.pass(INVISIBLE_MS);
    }
    assert_eq!(broker.receive_texts("g", "t"), ["3"]);
    assert_eq!(broker.dead_letters("g"), ["1", "2"]);
}

#[test]
fn dead_letters_outlive_the_topic_and_the_group_they_came_from() {
    let mut broker = two_attempts(false);
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    broker.forward("g", &delivery);
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    broker.ask(Request::DeleteGroup(Arc::from("g")));
    assert_eq!(broker.receive_texts("reader", "%DLQ%g"), ["a"]);
}

#[test]
fn a_group_that_begins_at_the_latest_message_reads_dead_letters_from_the_first() {
    let mut broker = two_attempts(false);
    broker.group(
        "late",
        GroupSettings { start: crate::queue::settings::StartFrom::Latest, ..GroupSettings::default() },
    );
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    broker.forward("g", &delivery);
    assert_eq!(broker.receive_texts("late", "%DLQ%g"), ["a"]);
    assert!(broker.receive("late", "t").is_empty());
}
