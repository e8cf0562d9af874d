//! Delayed messages: never before their time, all of them after it, and never once they were recalled.

use super::*;
use crate::ids::{HeldId, TopicId};
use crate::queue::request::{NoSuchDelayed, Recall, RecallError};
use crate::queue::retention::Policy;

fn broker() -> Broker {
    let mut broker = Broker::with(Limits { delayed_max: 3_000, ..Limits::default() });
    broker.topic("t", TopicKind::Delay, 1);
    broker
}

impl Broker {
    fn delayed_message(&mut self, text: &str, after_ms: u64) -> NewMessage {
        let deliver_at = self.now.plus(after_ms);
        NewMessage { kind: TopicKind::Delay, deliver_at, ..self.message(text) }
    }

    /// Sends a message that is due after so long.
    fn delay(&mut self, text: &str, after_ms: u64) -> Sent {
        let message = self.delayed_message(text, after_ms);
        self.try_send("t", vec![message]).unwrap()[0]
    }

    pub(super) fn recall(&mut self, topic: &str, deliver_at: LogTime, id: HeldId) -> Result<(), RecallError> {
        let incarnation = self.shard.state().topic(topic).map_or(TopicId(0), |(id, _)| id);
        let recall = Recall { topic: Arc::from(topic), incarnation, deliver_at, id };
        match self.ask(Request::Recall(recall)) {
            Some(Answer::Recall(recalled)) => recalled,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn messages_come_in_the_order_of_their_times_and_none_before() {
    let mut broker = broker();
    for (text, after_ms) in [("30", 30), ("10", 10), ("20", 20), ("10 too", 10), ("at once", 0)] {
        broker.delay(text, after_ms);
    }
    assert_eq!(broker.receive_texts("g", "t"), ["at once"]);
    broker.pass(9);
    assert!(broker.receive("g", "t").is_empty());
    broker.fail_over();
    broker.pass(11);
    assert_eq!(broker.receive_texts("g", "t"), ["10", "10 too", "20"]);
    broker.pass(10);
    assert_eq!(broker.receive_texts("g", "t"), ["30"]);
    assert_eq!(broker.shard.state().held(), crate::queue::HeldCounts::default());
}

#[test]
fn a_receive_that_waits_gets_a_message_when_its_time_has_come() {
    let mut broker = broker();
    broker.delay("a", 500);
    let receive = Receive { wait_ms: 5_000, ..broker.receiving("g", "t") };
    let ticket = broker.begin(Request::Receive(receive));
    broker.pass(499);
    assert_eq!(broker.waited(ticket), None);
    broker.pass(1);
    assert_eq!(broker.waited(ticket).unwrap(), ["a"]);
}

#[test]
fn what_came_due_while_nobody_served_comes_late_and_in_bounded_steps() {
    let mut broker = broker();
    for number in 0..2_500 {
        broker.delay(&number.to_string(), 1_000);
    }
    broker.fail_over();
    broker.set_now(broker.now.plus(3_600_000));
    let before = broker.log.records.len();
    for expected in [1_500, 500, 0] {
        assert!(broker.shard.next_wakeup().is_some_and(|at| at <= broker.now));
        broker.tick();
        assert_eq!(broker.shard.state().held().delayed, expected);
    }
    assert_eq!(broker.log.records.len() - before, 3, "a record for a thousand");
    assert_eq!(broker.shard.topic_status("t").unwrap().queues[0].1.0, 2_500);
}

#[test]
fn a_recalled_message_never_comes_and_a_recall_may_be_repeated() {
    let mut broker = broker();
    let (kept, gone) = (broker.delay("kept", 100), broker.delay("gone", 100));
    let at = broker.now.plus(100);
    for _ in 0..2 {
        assert_eq!(broker.recall("t", at, gone.held.unwrap()), Ok(()));
        broker.fail_over();
    }
    assert_eq!(broker.recall("t", at.plus(1), kept.held.unwrap()), Err(NoSuchDelayed.into()));
    broker.pass(100);
    assert_eq!(broker.receive_texts("g", "t"), ["kept"]);
    assert_eq!(broker.recall("t", at, kept.held.unwrap()), Err(NoSuchDelayed.into()), "it is out");
    broker.topic("normal", TopicKind::Normal, 1);
    assert!(matches!(broker.recall("normal", at, HeldId(1)), Err(RecallError::KindMismatch(_))));
    assert!(matches!(broker.recall("none", at, HeldId(1)), Err(RecallError::TopicNotFound(_))));
}

#[test]
fn a_retried_send_is_the_same_message() {
    let mut broker = broker();
    let message = broker.delayed_message("once", 100);
    let first = broker.try_send("t", vec![message.clone()]).unwrap()[0];
    broker.fail_over();
    assert_eq!(broker.try_send("t", vec![message.clone()]).unwrap(), [Sent { duplicate: true, ..first }]);
    broker.pass(100);
    assert_eq!(broker.receive_texts("g", "t"), ["once"]);
    assert!(broker.try_send("t", vec![message]).unwrap()[0].duplicate);
    assert!(broker.receive("g", "t").is_empty());
}

#[test]
fn delayed_messages_go_with_their_topic_and_do_not_come_into_a_new_one_of_its_name() {
    let mut broker = broker();
    let sent = broker.delay("a", 100);
    let at = broker.now.plus(100);
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    assert_eq!(broker.shard.state().held().delayed, 0);
    broker.topic("t", TopicKind::Delay, 1);
    assert_eq!(broker.recall("t", at, sent.held.unwrap()), Err(NoSuchDelayed.into()));
    broker.pass(1_000);
    assert!(broker.receive("g", "t").is_empty());
}

#[test]
fn more_than_may_wait_are_refused_and_nothing_is_stored() {
    let mut broker = broker();
    for number in 0..3_000 {
        broker.delay(&number.to_string(), 1_000 + number % 7);
    }
    let (a, b) = (broker.delayed_message("a", 5), broker.delayed_message("b", 5));
    let refused = broker.try_send("t", vec![a, b]);
    assert!(matches!(&refused, Err(SendError::TooMany(many)) if many.limit == 3_000), "{refused:?}");
    broker.pass(2_000);
    broker.delay("now there is room", 5);
}

#[test]
fn a_message_that_waits_is_copied_out_of_a_segment_that_goes_and_keeps_its_name() {
    let mut broker = broker();
    let (kept, gone) = (broker.delay("kept", 1_000), broker.delay("gone", 1_000));
    let at = broker.now.plus(1_000);
    let below = broker.log.end();
    assert_eq!(broker.retain_by(below, Policy::default()).log_start, below);
    broker.fail_over();
    assert_eq!(broker.recall("t", at, gone.held.unwrap()), Ok(()));
    broker.pass(1_000);
    let delivery = broker.receive_one("g", "t");
    assert!(delivery.lsn >= below, "it lies elsewhere than {kept:?}");
    assert_eq!(broker.text(delivery.lsn), "kept");
}

#[test]
fn timers_that_show_what_is_not_due_do_not_apply() {
    let mut broker = broker();
    broker.delay("a", 100);
    for (up_to, count) in [(TIME_START.plus(99), 1), (TIME_START.plus(100), 2)] {
        let mut state = broker.shard.state().clone();
        assert!(state.apply(broker.log.end(), broker.now, &Record::TimerFire { up_to, count }).is_err());
    }
}
