//! Topics and groups: made, found, refused, removed.

use super::*;
use crate::ids::{QueueId, TopicId};
use crate::queue::request::{CreateTopicError, ReceiveError, Subscribe};
use crate::queue::retention::Policy;
use crate::queue::settings::StartFrom;

#[test]
fn a_topic_is_made_on_first_use_only_where_that_is_allowed() {
    let mut broker = Broker::with(Limits { auto_create_topics: false, ..Limits::default() });
    let message = broker.message("a");
    assert!(matches!(broker.try_send("t", vec![message.clone()]), Err(SendError::TopicNotFound(_))));
    let mut broker =
        Broker::with(Limits { auto_create_topics: true, default_queues: 3, ..Limits::default() });
    broker.try_send("t", vec![message.clone()]).unwrap();
    assert_eq!(broker.shard.topic_status("t").unwrap().queues.len(), 3);
    assert!(matches!(broker.try_send("%DLQ%g", vec![message]), Err(SendError::TopicNotFound(_))));
}

#[test]
fn a_topic_that_was_only_asked_for_becomes_what_its_first_message_is() {
    let mut broker = Broker::with(Limits { auto_create_topics: true, ..Limits::default() });
    let kind = |broker: &mut Broker| match broker.ask(Request::ResolveTopic(Arc::from("t"))) {
        Some(Answer::ResolveTopic(Ok(topic))) => topic.settings.kind,
        other => panic!("{other:?}"),
    };
    assert!(broker.receive("g", "t").is_empty());
    assert_eq!(kind(&mut broker), TopicKind::Undecided);
    broker.fail_over();
    let mut message = broker.message("a");
    message.kind = TopicKind::Fifo;
    broker.try_send("t", vec![message.clone()]).unwrap();
    assert_eq!(kind(&mut broker), TopicKind::Fifo);
    broker.fail_over();
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
    message.kind = TopicKind::Normal;
    assert!(matches!(broker.try_send("t", vec![message]), Err(SendError::KindMismatch(_))));
}

#[test]
fn who_makes_an_undecided_topic_decides_it() {
    let mut broker =
        Broker::with(Limits { auto_create_topics: true, default_queues: 2, ..Limits::default() });
    assert!(broker.receive("g", "t").is_empty());
    let mut make = |queues| {
        let settings = TopicSettings { kind: TopicKind::Fifo, queues };
        broker.ask(Request::CreateTopic(CreateTopic { name: Arc::from("t"), settings }))
    };
    let other = make(3);
    assert!(matches!(other, Some(Answer::CreateTopic(Err(CreateTopicError::ExistsDifferently(_))))));
    for _ in 0..2 {
        let made = make(2);
        assert!(
            matches!(made, Some(Answer::CreateTopic(Ok(topic))) if topic.settings.kind == TopicKind::Fifo)
        );
    }
}

#[test]
fn making_what_is_there_is_ok_with_the_same_settings_and_refused_with_others() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 2);
    broker.topic("t", TopicKind::Fifo, 2);
    let settings = TopicSettings { kind: TopicKind::Normal, queues: 2 };
    let other = broker.ask(Request::CreateTopic(CreateTopic { name: Arc::from("t"), settings }));
    assert!(matches!(other, Some(Answer::CreateTopic(Err(CreateTopicError::ExistsDifferently(_))))));
}

#[test]
fn a_refused_batch_of_several_kinds_neither_makes_a_topic_nor_decides_its_kind() {
    let mut broker = Broker::new();
    let mixed = |broker: &mut Broker| {
        let (normal, mut fifo) = (broker.message("a"), broker.message("b"));
        (fifo.kind, fifo.lane) = (TopicKind::Fifo, hash::lane("x"));
        broker.try_send("t", vec![normal, fifo])
    };
    assert!(matches!(mixed(&mut broker), Err(SendError::KindMismatch(_))));
    assert_eq!(broker.shard.topic_status("t"), None);
    broker.ask(Request::ResolveTopic(Arc::from("t")));
    assert!(matches!(mixed(&mut broker), Err(SendError::KindMismatch(_))));
    assert_eq!(broker.shard.topic_status("t").unwrap().topic.settings.kind, TopicKind::Undecided);
    broker.send_fifo("t", "x", &["first"]);
    assert_eq!(broker.receive_texts("g", "t"), ["first"]);
}

#[test]
fn a_missing_dead_letter_topic_is_not_said_to_be_for_the_user_to_make() {
    let mut broker = Broker::new();
    let receive = broker.receiving("g", "%DLQ%orders");
    let Some(Answer::Receive(Err(refused))) = broker.ask(Request::Receive(receive)) else { panic!("served") };
    let said = refused.to_string();
    assert!(said.ends_with("it comes with the first dead letter of consumer group orders"), "{said}");
}

#[test]
fn a_topic_made_anew_is_empty_and_has_another_number() {
    let mut broker = Broker::new();
    broker.send("t", &["old"]);
    broker.receive_one("g", "t");
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    broker.fail_over();
    broker.send("t", &["new"]);
    let delivery = broker.receive_one("g", "t");
    assert_eq!((delivery.topic, broker.text(delivery.lsn).as_str()), (TopicId(2), "new"));
}

#[test]
fn a_group_made_anew_begins_anew() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    assert_eq!(broker.ack("g", &delivery), Ok(()));
    broker.ask(Request::DeleteGroup(Arc::from("g")));
    let receive = broker.receiving("g", "t");
    assert_eq!(broker.receive_as(receive).len(), 1);
}

#[test]
fn a_group_begins_where_it_is_told_to() {
    let mut broker = Broker::new();
    broker.group("latest", GroupSettings { start: StartFrom::Latest, ..GroupSettings::default() });
    broker.send("t", &["before"]);
    let subscribe = Subscribe { group: Arc::from("latest"), topics: vec![Arc::from("t"), Arc::from("t")] };
    broker.ask(Request::Subscribe(subscribe.clone()));
    broker.send("t", &["after"]);
    broker.ask(Request::Subscribe(subscribe));
    assert_eq!(broker.receive_texts("latest", "t"), ["after"]);
    assert_eq!(broker.receive_texts("earliest", "t"), ["before", "after"]);
}

#[test]
fn a_full_disk_refuses_messages_and_serves_consumers() {
    let mut broker =
        Broker::with(Limits { auto_create_topics: true, free_bytes_min: 1_000, ..Limits::default() });
    broker.send("t", &["a", "b"]);
    let deliveries = broker.receive("g", "t");
    broker.shard.set_free_bytes(999);
    let message = broker.message("c");
    assert!(matches!(broker.try_send("t", vec![message.clone()]), Err(SendError::DiskFull(_))));
    assert_eq!(broker.ack("g", &deliveries[0]), Ok(()));
    broker.forward("g", &deliveries[1]);
    assert_eq!(broker.dead_letters("g"), ["b"]);
    broker.shard.set_free_bytes(1_000);
    broker.try_send("t", vec![message]).unwrap();
}

#[test]
fn topics_and_groups_are_bounded() {
    let limits = Limits { topics_max: 1, groups_max: 1, auto_create_topics: true, ..Limits::default() };
    let mut broker = Broker::with(limits);
    broker.send("t", &["a"]);
    let message = broker.message("b");
    assert!(matches!(broker.try_send("u", vec![message]), Err(SendError::TooMany(_))));
    let receive = broker.receiving("g", "u");
    let refused = broker.ask(Request::Receive(receive));
    assert!(matches!(refused, Some(Answer::Receive(Err(ReceiveError::TooMany(_))))), "{refused:?}");
    let delivery = broker.receive_one("g", "t");
    let receive = broker.receiving("h", "t");
    let refused = broker.ask(Request::Receive(receive));
    assert!(matches!(refused, Some(Answer::Receive(Err(ReceiveError::TooMany(_))))), "{refused:?}");
    broker.forward("g", &delivery);
    assert_eq!(broker.dead_letters("g"), ["a"], "a dead letter finds a place beyond the limit");
}

#[test]
fn messages_are_spread_over_the_queues_and_all_are_received() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Normal, 4);
    broker.send("t", &["a", "b", "c", "d", "e", "f", "g", "h"]);
    let deliveries = broker.receive("g", "t");
    for queue in 0..4 {
        assert_eq!(deliveries.iter().filter(|delivery| delivery.queue == QueueId(queue)).count(), 2);
    }
}

#[test]
fn sends_are_spread_also_when_receives_come_between() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Normal, 2);
    for _ in 0..4 {
        broker.send("t", &["a"]);
        broker.receive_one("g", "t");
    }
    let lengths =
        broker.shard.topic_status("t").unwrap().queues.iter().map(|queue| queue.1.0).collect::<Vec<_>>();
    assert_eq!(lengths, [2, 2]);
}

#[test]
#[allow(clippy::disallowed_types, reason = "measures how long the log thread is held up")]
fn a_list_of_many_topics_and_groups_names_the_groups_of_each_as_a_look_at_one_does() {
    const MANY: usize = 20_000;
    let mut broker = Broker::new();
    let (mut last_topic, mut last_group) = (String::new(), String::new());
    for number in 0..MANY {
        (last_topic, last_group) = (format!("t{number:05}"), format!("g{number:05}"));
        let mut answers = Vec::new();
        let topics = vec![Arc::from(last_topic.as_str()), Arc::from("all")];
        let request = Request::Subscribe(Subscribe { group: Arc::from(last_group.as_str()), topics });
        broker.shard.step(broker.now, Ticket(0), request, &mut broker.log, &mut answers);
    }
    let begin = std::time::Instant::now();
    let topics = broker.shard.topics("");
    let took = begin.elapsed();
    assert_eq!(topics.len(), MANY + 1);
    assert_eq!(topics[0].groups.len(), MANY, "of `all`");
    assert_eq!(topics.last(), broker.shard.topic_status(&last_topic).as_ref());
    assert_eq!(topics[MANY].groups, [Arc::from(last_group.as_str())]);
    // Looking at each group for each topic takes minutes.
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");

    let policy = Policy { keep_ms: 0, ..Policy::default() };
    let begin = std::time::Instant::now();
    let below = broker.log.end();
    assert_eq!(broker.retain_by(below, policy).log_start, below);
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}
