//! What people do about what a group is to get: dead letters given back and taken away, positions reset.

use super::*;
use crate::ids::{Offset, QueueId, TopicId};
use crate::queue::request::{
    DeadLetterError, PurgeDeadLetters, ReplayDeadLetters, ResetOffset, ResetOffsetError,
};
use crate::queue::retention::Policy;

impl Broker {
    /// Gives back the dead letters of group `g` at these offsets, all sent to queue 0 of topic 1.
    fn replay(&mut self, offsets: &[u64]) -> Result<u64, DeadLetterError> {
        let letters = offsets.iter().map(|offset| (Offset(*offset), TopicId(1), QueueId(0))).collect();
        match self.ask(Request::ReplayDeadLetters(ReplayDeadLetters { topic: Arc::from("%DLQ%g"), letters }))
        {
            Some(Answer::ReplayDeadLetters(replayed)) => replayed,
            other => panic!("{other:?}"),
        }
    }

    fn purge(&mut self, offsets: &[u64]) -> Result<u64, DeadLetterError> {
        let (topic, offsets) = (Arc::from("%DLQ%g"), offsets.iter().map(|offset| Offset(*offset)).collect());
        match self.ask(Request::PurgeDeadLetters(PurgeDeadLetters { topic, offsets })) {
            Some(Answer::PurgeDeadLetters(purged)) => purged,
            other => panic!("{other:?}"),
        }
    }

    fn reset(&mut self, group: &str, positions: &[u64]) -> Result<(), ResetOffsetError> {
        let positions = positions.iter().map(|position| Offset(*position)).collect();
        let reset = ResetOffset { group: Arc::from(group), topic: Arc::from("t"), positions };
        match self.ask(Request::ResetOffset(reset)) {
            Some(Answer::ResetOffset(reset)) => reset,
            other => panic!("{other:?}"),
        }
    }
}

/// A broker with dead letters of group `g` in topic `t`.
fn with_dead_letters(texts: &[&str]) -> Broker {
    let mut broker = Broker::new();
    broker.send("t", texts);
    for delivery in broker.receive("g", "t") {
        broker.forward("g", &delivery);
    }
    assert_eq!(broker.dead_letters("g"), texts);
    broker
}

#[test]
fn a_dead_letter_given_back_comes_to_its_group_alone_and_begins_anew() {
    let mut broker = with_dead_letters(&["a", "b"]);
    assert_eq!(broker.receive_texts("other", "t"), ["a", "b"]);
    let receive = Receive { wait_ms: 5_000, ..broker.receiving("g", "t") };
    let ticket = broker.begin(Request::Receive(receive));
    assert_eq!(broker.replay(&[1]), Ok(1));
    assert_eq!(broker.waited(ticket).unwrap(), ["b"]);
    broker.fail_over();
    assert_eq!(broker.dead_letters("g"), ["a"]);
    assert!(broker.receive("other", "t").is_empty());
    assert!(broker.receive("late", "t").len() == 2, "a later group gets what was sent, once");
    broker.pass(2 * INVISIBLE_MS);
    let again = broker.receive_one("g", "t");
    assert_eq!(again.attempt, 2);
    broker.forward("g", &again);
    assert_eq!(broker.dead_letters("g"), ["a", "b"], "it may fail again");
}

#[test]
fn what_was_given_back_or_taken_away_is_no_dead_letter_any_more() {
    let mut broker = with_dead_letters(&["a", "b", "c"]);
    assert_eq!(broker.replay(&[0]), Ok(1));
    assert_eq!(broker.replay(&[0, 7]), Ok(0));
    assert_eq!(broker.purge(&[0, 1, 1, 7]), Ok(1));
    assert_eq!(broker.purge(&[1]), Ok(0));
    assert_eq!(broker.shard.count_dead_letters("g"), Some(1));
    assert_eq!(broker.shard.topic_status("%DLQ%g").unwrap().messages, 1);
    assert_eq!(broker.shard.topics("%DLQ%g")[0].messages, 1);
    let offsets = [0, 1, 2, 3].map(Offset);
    assert_eq!(broker.shard.dead_letters_at("g", &offsets).unwrap().len(), 1);
    assert_eq!(broker.shard.dead_letters_at("nobody", &offsets), None);
    assert_eq!(broker.dead_letters("g"), ["c"]);
    assert_eq!(broker.receive_texts("people", "%DLQ%g"), ["c"]);
}

#[test]
fn a_dead_letter_whose_topic_or_group_is_gone_stays() {
    let mut broker = with_dead_letters(&["a"]);
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    assert_eq!(broker.replay(&[0]), Ok(0));
    assert_eq!(broker.dead_letters("g"), ["a"]);
    broker.ask(Request::DeleteGroup(Arc::from("g")));
    assert_eq!(broker.replay(&[0]), Ok(0));
    assert_eq!(broker.receive_texts("people", "%DLQ%g"), ["a"]);
    let topic: Arc<str> = Arc::from("nothing");
    let unknown = PurgeDeadLetters { topic: Arc::clone(&topic), offsets: vec![Offset(0)] };
    let answer = broker.ask(Request::PurgeDeadLetters(unknown.clone()));
    assert!(matches!(answer, Some(Answer::PurgeDeadLetters(Err(DeadLetterError::TopicNotFound(_))))));
    broker.topic("nothing", TopicKind::Normal, 1);
    let answer = broker.ask(Request::PurgeDeadLetters(unknown));
    let refused = DeadLetterError::NoDeadLetterTopic { topic };
    assert_eq!(answer, Some(Answer::PurgeDeadLetters(Err(refused))), "only dead letters are taken away");
}

#[test]
fn a_group_goes_on_where_it_is_set_to_and_its_old_handles_are_dead() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b", "c"]);
    let before = broker.receive("g", "t");
    assert_eq!(broker.ack("g", &before[0]), Ok(()));
    assert_eq!(broker.reset("g", &[1]), Ok(()));
    assert_eq!(broker.ack("g", &before[1]), Err(StaleHandle));
    broker.fail_over();
    assert_eq!(broker.receive_texts("g", "t"), ["b", "c"]);
    assert_eq!(broker.reset("g", &[77]), Ok(()), "held to what is there");
    assert!(broker.receive("g", "t").is_empty());
    broker.send("t", &["d"]);
    assert_eq!(broker.receive_texts("g", "t"), ["d"]);
    assert_eq!(broker.reset("g", &[0, 0]), Err(ResetOffsetError::OtherQueues { queues: 1 }));
    assert!(matches!(broker.reset("nobody", &[0]), Err(ResetOffsetError::GroupNotFound(_))));
}

#[test]
fn what_was_given_back_to_one_group_is_owed_by_that_group_alone() {
    let mut broker = with_dead_letters(&["a"]);
    let other = broker.receive_one("other", "t");
    assert_eq!(broker.ack("other", &other), Ok(()));
    assert_eq!(broker.replay(&[0]), Ok(1));
    let again = broker.receive_one("g", "t");
    assert_eq!(broker.ack("g", &again), Ok(()));
    let below = broker.log.end();
    assert_eq!(broker.retain_by(below, Policy::default()).log_start, below);
    assert_eq!(broker.shard.topic_status("t").unwrap().queues[0].0, Offset(2), "nobody needs it");
}

#[test]
fn a_consumer_that_wants_a_message_back_at_once_again_and_again_is_slowed_down() {
    let mut broker = Broker::with(Limits { auto_create_topics: true, ..Limits::default() });
    broker.send("t", &["a"]);
    let first = broker.receive_one("g", "t");
    broker.nack("g", &first, 0);
    let second = broker.receive_one("g", "t");
    assert_eq!(second.attempt, 2, "the first time it comes back at once");
    broker.nack("g", &second, 0);
    broker.pass(999);
    assert!(broker.receive("g", "t").is_empty());
    broker.pass(1);
    assert_eq!(broker.receive_one("g", "t").attempt, 3);
}
