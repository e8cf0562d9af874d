//! Receives by an expression over properties: the state machine has each message judged once, skips what is not wanted,
//! and holds up nobody.

use super::*;
use crate::ids::TopicId;
use crate::queue::request::{Candidate, Judged};

/// Wants messages whose text begins so.
struct Expression(&'static str);

impl Broker {
    fn by(&mut self, expression: &Expression, wait_ms: u64) -> Receive {
        let expression = hash::tag(expression.0).0;
        let judged = Judged { expression, topic: TopicId(0), most: u32::MAX, verdicts: BTreeMap::new() };
        Receive { filter: Filter::Properties(judged), wait_ms, ..self.receiving("g", "t") }
    }

    fn judge(&self, expression: &Expression, receive: &mut Receive, candidates: &[Candidate]) {
        assert!(!candidates.is_empty());
        let Filter::Properties(judged) = &mut receive.filter else { panic!() };
        for candidate in candidates {
            judged.topic = candidate.topic;
            let verdict = self.text(candidate.lsn).starts_with(expression.0);
            let before = judged.verdicts.insert((candidate.queue, candidate.offset), verdict);
            assert_eq!(before, None, "judged twice: {candidate:?}");
        }
    }

    /// Receives as a gateway does: judges what it is told to, until there is something or nothing.
    fn receive_by(&mut self, expression: &Expression) -> (Vec<String>, usize) {
        let mut receive = self.by(expression, 0);
        for rounds in 0.. {
            match self.ask(Request::Receive(receive.clone())) {
                Some(Answer::Receive(Ok(got))) => return (self.texts(&got), rounds),
                Some(Answer::Judge(candidates)) => self.judge(expression, &mut receive, &candidates),
                other => panic!("{other:?}"),
            }
        }
        unreachable!()
    }
}

/// So many messages in four queues, whose texts begin so.
fn with_backlog(begin: &str, count: u32) -> Broker {
    let mut broker =
        Broker::with(Limits { auto_create_topics: true, default_queues: 4, ..Limits::default() });
    for number in 0..count {
        broker.send("t", &[&format!("{begin}{number}")]);
    }
    broker
}

#[test]
fn what_is_wanted_is_delivered_and_the_rest_is_passed_over_for_good() {
    let mut broker = Broker::new();
    broker.send("t", &["a1", "b1", "a2", "b2", "a3"]);
    assert_eq!(broker.receive_by(&Expression("a")), (vec!["a1".into(), "a2".into(), "a3".into()], 1));
    assert_eq!(broker.receive_by(&Expression("b")), (vec![], 0), "nothing is left to judge");
    let status = broker.shard.group_status("g").unwrap();
    assert_eq!((status.progress[0].ready, status.progress[0].in_flight), (0, 3));
}

#[test]
fn a_redelivery_is_judged_too() {
    let mut broker = Broker::new();
    broker.send("t", &["a1"]);
    broker.receive_by(&Expression("a"));
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.receive_by(&Expression("a")).0, ["a1"]);
}

#[test]
fn a_selective_expression_goes_through_a_long_backlog_in_bounded_rounds() {
    let mut broker = with_backlog("b", 5_000);
    broker.send("t", &["a"]);
    let (texts, rounds) = broker.receive_by(&Expression("a"));
    assert_eq!(texts, ["a"]);
    assert!((5..=12).contains(&rounds), "{rounds} rounds");
    assert_eq!(
        broker.shard.group_status("g").unwrap().progress.iter().map(|queue| queue.in_flight).sum::<u64>(),
        1
    );
}

#[test]
fn a_receive_is_told_to_judge_no_more_than_it_asks_for_and_nothing_when_it_is_handed_something() {
    let mut broker = with_backlog("a", 400);
    let expression = Expression("a");
    let mut receive = broker.by(&expression, 0);
    for (most, told) in [(0, 1), (5, 5), (150, 150)] {
        let Filter::Properties(judged) = &mut receive.filter else { panic!() };
        judged.most = most;
        let Some(Answer::Judge(candidates)) = broker.ask(Request::Receive(receive.clone())) else { panic!() };
        assert_eq!(candidates.len(), told);
    }
    let Some(Answer::Judge(candidates)) = broker.ask(Request::Receive(receive.clone())) else { panic!() };
    broker.judge(&expression, &mut receive, &candidates[..1]);
    let Some(Answer::Receive(Ok(got))) = broker.ask(Request::Receive(receive)) else { panic!() };
    assert_eq!(got.len(), 1, "what is judged is handed out, wherever the rest begins");
}

#[test]
fn of_those_that_wait_one_judges_and_the_next_goes_on_when_it_is_back() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Normal, 1);
    let expression = Expression("a");
    let mut first = Receive { batch: 1, ..broker.by(&expression, 60_000) };
    let tickets = [0; 2].map(|_| broker.begin(Request::Receive(first.clone())));
    let messages = ["a1", "b1", "a2"].map(|text| broker.message(text));
    broker.try_send("t", messages.to_vec()).unwrap();
    let Some(Answer::Judge(candidates)) = broker.answers.remove(&tickets[0]) else { panic!() };
    assert!(!broker.answers.contains_key(&tickets[1]), "one judges at a time");
    broker.judge(&expression, &mut first, &candidates);
    let Some(Answer::Receive(Ok(got))) = broker.ask(Request::Receive(first)) else { panic!() };
    assert_eq!(broker.texts(&got), ["a1"]);
    let Some(Answer::Judge(candidates)) = broker.answers.remove(&tickets[1]) else { panic!() };
    assert_eq!(candidates.len(), 2, "b1 and a2");
}

#[test]
fn one_that_was_told_to_judge_and_does_not_come_back_holds_nobody_up_for_long() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Normal, 1);
    let receive = broker.by(&Expression("a"), 60_000);
    let tickets = [0; 2].map(|_| broker.begin(Request::Receive(receive.clone())));
    broker.send("t", &["a1"]);
    assert!(matches!(broker.answers.remove(&tickets[0]), Some(Answer::Judge(_))));
    broker.pass(1_000);
    assert!(matches!(broker.answers.remove(&tickets[1]), Some(Answer::Judge(_))));
}

#[test]
fn a_verdict_is_not_held_against_the_messages_of_a_topic_made_anew() {
    let mut broker = Broker::new();
    broker.send("t", &["b1"]);
    let expression = Expression("a");
    let mut receive = broker.by(&expression, 0);
    let Some(Answer::Judge(candidates)) = broker.ask(Request::Receive(receive.clone())) else { panic!() };
    broker.judge(&expression, &mut receive, &candidates);
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    broker.send("t", &["a1"]);
    let Some(Answer::Judge(again)) = broker.ask(Request::Receive(receive)) else { panic!("judged unseen") };
    assert_ne!(again[0].topic, candidates[0].topic);
    assert_eq!(broker.receive_by(&expression).0, ["a1"]);
}
