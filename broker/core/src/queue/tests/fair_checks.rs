//! Checks of transactions when there are very many: no topic waits for another one, no step takes long, and a report that is
//! made twice counts once.

use super::*;
use crate::ids::HeldId;
use crate::queue::request::{Checked, TakeChecks};
use crate::queue::{TransactionLimits, UNRESOLVED_TOPIC};

const IMMUNITY_MS: u64 = 6_000;
const INTERVAL_MS: u64 = 30_000;

fn broker(topics: &[&str], checks_max: u32) -> Broker {
    let transactions = TransactionLimits { immunity_ms: IMMUNITY_MS, interval_ms: INTERVAL_MS, checks_max };
    let mut broker = Broker::with(Limits { transactions, ..Limits::default() });
    for topic in topics {
        broker.topic(topic, TopicKind::Transaction, 1);
    }
    broker
}

impl Broker {
    fn halves_of(&mut self, topic: &str, count: usize) -> Vec<HeldId> {
        let half = |_| {
            let message = NewMessage { kind: TopicKind::Transaction, ..self.message("half") };
            self.try_send(topic, vec![message]).unwrap()[0].held.unwrap()
        };
        (0..count).map(half).collect()
    }

    fn take_of(&mut self, topics: &[&str], most: u32) -> Vec<HeldId> {
        let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        match self.ask(Request::TakeChecks(TakeChecks { topics, most, wait_ms: 0 })) {
            Some(Answer::TakeChecks(checks)) => checks.iter().map(|check| check.half).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn were_asked(&mut self, asked: &[HeldId]) {
        let checked = Checked { asked: asked.to_vec(), unasked: Vec::new() };
        assert_eq!(self.ask(Request::Checked(checked)), Some(Answer::Checked));
    }
}

#[test]
fn a_topic_with_very_many_halves_due_leaves_others_their_turns() {
    let mut broker = broker(&["a", "b", "c"], 15);
    let many = broker.halves_of("a", 1_000);
    let (b, c) = (broker.halves_of("b", 2), broker.halves_of("c", 1));
    broker.pass(IMMUNITY_MS);
    let all = ["a", "b", "c"];
    assert_eq!(broker.take_of(&all, 4), [many[0], b[0], c[0], many[1]]);
    assert_eq!(broker.take_of(&all, 4), [many[2], b[1], many[3], many[4]]);
    assert_eq!(broker.take_of(&all, 1_000), many[5..], "all that is left");
}

#[test]
fn turns_go_on_where_they_stopped_however_few_are_taken_and_whoever_takes() {
    let mut broker = broker(&["a", "b", "c"], 15);
    let [a, b, c] = ["a", "b", "c"].map(|topic| broker.halves_of(topic, 10));
    broker.pass(IMMUNITY_MS);
    let mut got = Vec::new();
    for _ in 0..3 {
        got.extend(broker.take_of(&["a", "b", "c"], 1));
        // Another gateway, which has producers of one topic only, makes nobody lose a turn.
        broker.take_of(&["a"], 1);
    }
    assert!(got.contains(&b[0]) && got.contains(&c[0]), "{got:?} of {a:?}, {b:?} and {c:?}");
}

#[test]
fn a_report_that_is_made_again_counts_once() {
    let mut broker = broker(&["t"], 2);
    let half = broker.halves_of("t", 1);
    broker.pass(IMMUNITY_MS);
    assert_eq!(broker.take_of(&["t"], 1), half);
    for _ in 0..3 {
        broker.were_asked(&half);
    }
    broker.pass(INTERVAL_MS);
    assert_eq!(broker.take_of(&["t"], 1), half, "one of two checks was made");
    // A report to a new master, which does not know who asks, counts as well.
    broker.fail_over();
    broker.were_asked(&half);
    broker.pass(INTERVAL_MS);
    assert_eq!(broker.shard.state().given_up_transactions(), 1);
}

#[test]
fn one_step_gives_up_so_many_and_the_next_one_comes_at_once() {
    const HALVES: usize = 600;
    let mut broker = broker(&["t"], 1);
    let halves = broker.halves_of("t", HALVES);
    broker.pass(IMMUNITY_MS);
    assert_eq!(broker.take_of(&["t"], HALVES as u32).len(), HALVES);
    broker.were_asked(&halves);
    broker.set_now(broker.now.plus(INTERVAL_MS));
    let mut steps = Vec::new();
    while broker.shard.next_wakeup().is_some_and(|wakeup| wakeup <= broker.now) {
        broker.tick();
        steps.push(broker.shard.take_given_up().len());
    }
    assert_eq!(steps, [256, 256, 88]);
    assert_eq!(broker.shard.count_dead_letters(UNRESOLVED_TOPIC), Some(HALVES as u64));
}
