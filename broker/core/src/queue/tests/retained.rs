//! Retention: what a group still owes stays readable, wherever it is copied to; the rest goes.

use super::*;
use crate::queue::request::{Relocation, Retain, Retained};
use crate::queue::retention::{Owed, Policy, Run, SealedSegment};

impl Broker {
    /// Copies what is owed below a position, as the retention run does, and drops the rest.
    fn retain(&mut self, below: Lsn) -> Lsn {
        self.retain_by(below, Policy::default()).log_start
    }

    pub(super) fn retain_by(&mut self, below: Lsn, policy: Policy) -> Retained {
        let owed = self.owed(below, &policy);
        let relocate = owed
            .iter()
            .map(|owed| Relocation { owed: *owed, record: Bytes::copy_from_slice(self.log.record(owed.lsn)) })
            .collect();
        self.drop_below(Retain { relocate, ..self.run(below, policy) })
    }

    fn owed(&self, below: Lsn, policy: &Policy) -> Vec<Owed> {
        let last = SealedSegment { end: below, newest: self.newest_below(below) };
        let run = Run { state: self.shard.state(), last, now: self.now, policy };
        run.owed(1000).unwrap_or_default()
    }

    /// A run that copies nothing.
    fn run(&self, below: Lsn, policy: Policy) -> Retain {
        Retain { below, newest: self.newest_below(below), relocate: Vec::new(), policy }
    }

    pub(super) fn newest_below(&self, below: Lsn) -> LogTime {
        let records = self.log.records.iter().filter(|(lsn, _)| *lsn < below);
        records.map(|(_, time)| *time).max().unwrap_or(TIME_START)
    }

    fn drop_below(&mut self, retain: Retain) -> Retained {
        match self.ask(Request::Retain(retain)) {
            Some(Answer::Retain(retained)) => retained,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_acked_goes_and_what_is_owed_is_found_at_its_new_place() {
    let mut broker = Broker::new();
    broker.send("t", &["acked", "pending", "nacked", "new"]);
    let mut receive = broker.receiving("g", "t");
    receive.batch = 3;
    let deliveries = broker.receive_as(receive);
    assert_eq!(broker.ack("g", &deliveries[0]), Ok(()));
    broker.nack("g", &deliveries[2], 60_000);
    let below = broker.log.end();
    assert_eq!(broker.retain(below), below);
    assert_eq!(broker.shard.topic_status("t").unwrap().queues[0].0.0, 1, "the acked one is gone");
    broker.fail_over();
    broker.pass(60_000);
    let again = broker.receive("g", "t");
    let mut texts = broker.texts(&again);
    texts.sort_unstable();
    assert_eq!(texts, ["nacked", "new", "pending"]);
    assert!(again.iter().all(|delivery| delivery.lsn >= below));
    assert!(broker.receive("late", "t").len() == 3, "a later group gets what is left");
}

#[test]
fn nothing_is_dropped_that_a_group_has_come_to_owe_since_the_run_began() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let below = broker.log.end();
    let start = broker.shard.state().log_start();
    let run = broker.run(below, Policy::default());
    assert!(broker.receive("g", "nothing").is_empty());
    broker.receive_one("g", "t");
    assert_eq!(broker.drop_below(run.clone()).log_start, start);
    assert_eq!(
        broker.text(
            broker
                .shard
                .state()
                .entry(crate::ids::TopicId(1), crate::ids::QueueId(0), crate::ids::Offset(0))
                .unwrap()
                .lsn
        ),
        "a"
    );
    broker.ask(Request::DeleteGroup(Arc::from("g")));
    assert_eq!(broker.drop_below(run).log_start, below, "nobody owes it any more");
    assert!(broker.receive("h", "t").is_empty());
}

#[test]
fn dead_letters_stay_for_their_time_and_then_go() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let delivery = broker.receive_one("g", "t");
    broker.forward("g", &delivery);
    let below = broker.log.end();
    assert_eq!(broker.retain(below), below);
    assert_eq!(broker.dead_letters("g"), ["a"]);
    broker.pass(Policy::default().keep_dead_letters_ms + 1);
    broker.send("t", &["b"]);
    let below = broker.log.end();
    assert_eq!(broker.retain(below), below);
    assert_eq!(broker.dead_letters("g"), Vec::<String>::new());
}

#[test]
fn a_fifo_message_that_waits_behind_its_message_group_is_owed() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    broker.send_fifo("t", "x", &["1", "2"]);
    let first = broker.receive_one("g", "t");
    let below = broker.log.end();
    assert_eq!(broker.retain(below), below);
    assert_eq!(broker.ack("g", &first), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["2"]);
}

#[test]
fn what_no_group_has_read_goes_by_age_but_not_for_want_of_room() {
    let mut broker = Broker::new();
    broker.send("t", &["unread"]);
    let below = broker.log.end();
    let for_room = Policy { keep_unclaimed: true, ..Policy::default() };
    assert_eq!(broker.owed(below, &for_room).len(), 1);
    let start = broker.shard.state().log_start();
    assert_eq!(broker.drop_below(broker.run(below, for_room)).log_start, start);
    assert_eq!(broker.retain(below), below, "old enough");
}
