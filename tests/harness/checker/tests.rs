//! Bad histories, one for each way to be wrong, and the good ones that look almost like them.

use super::*;
use crate::history::{Send, Span};

mod held;

const GROUP: &str = "group";
const TOPIC: &str = "topic";

fn unknown() -> Outcome {
    Outcome::Unknown { reason: "connection reset".into() }
}

fn fail(code: i32) -> Outcome {
    Outcome::Fail { code, reason: "refused".into() }
}

fn ms(begin: u64, end: u64) -> Span {
    Span { begin: Duration::from_millis(begin), end: Duration::from_millis(end) }
}

/// Builds a history of one topic and one group, whose leases last 3 s.
#[derive(Default)]
struct Story(History);

impl Story {
    fn ordered() -> Self {
        Self(History { ordered_groups: [GROUP.to_string()].into(), ..History::default() })
    }

    fn send(mut self, id: &str, begin: u64, end: u64, outcome: Outcome) -> Self {
        let message_group = Some("lane".to_string());
        let (id, topic) = (id.to_string(), TOPIC.to_string());
        let hold = Hold::None;
        self.0.sends.push(Send { span: ms(begin, end), id, topic, message_group, hold, outcome });
        self
    }

    fn receive(mut self, begin: u64, end: u64, outcome: Outcome, ids: &[(&str, u32)]) -> Self {
        let deliveries = ids.iter().map(|&(id, attempt)| Delivery {
            id: id.into(),
            handle: format!("{id}/{attempt}"),
            attempt,
            place: (0, id.bytes().map(i64::from).sum()),
            intact: true,
        });
        self.0.receives.push(Receive {
            span: ms(begin, end),
            topic: TOPIC.into(),
            group: GROUP.into(),
            invisible: Duration::from_secs(3),
            attempt_id: None,
            outcome,
            deliveries: deliveries.collect(),
        });
        self
    }

    /// The newest two receives were one, repeated.
    fn repeated(mut self) -> Self {
        for receive in self.0.receives.iter_mut().rev().take(2) {
            receive.attempt_id = Some("attempt-1".into());
        }
        self
    }

    fn got(self, id: &str, attempt: u32, begin: u64, end: u64) -> Self {
        self.receive(begin, end, Outcome::Ok, &[(id, attempt)])
    }

    fn ack(mut self, id: &str, attempt: u32, begin: u64, end: u64, outcome: Outcome) -> Self {
        let handle = format!("{id}/{attempt}");
        self.0.acks.push(Ack { span: ms(begin, end), group: GROUP.into(), id: id.into(), handle, outcome });
        self
    }

    fn verdict(&self) -> Vec<Violation> {
        check(&self.0)
    }
}

fn sent(id: &str) -> Story {
    Story::default().send(id, 0, 10, Outcome::Ok)
}

#[test]
fn a_repeated_receive_may_give_the_same_delivery_and_no_other_may() {
    let twice = || sent("a").got("a", 1, 20, 30).got("a", 1, 40, 50);
    let acked = |story: Story| story.ack("a", 1, 60, 70, Outcome::Ok).verdict();
    assert_eq!(acked(twice().repeated()), []);
    assert_eq!(acked(twice()).len(), 2, "one message leased twice, with one attempt");
    let another = sent("a").got("a", 1, 20, 30).got("a", 2, 40, 50).repeated();
    assert!(matches!(acked(another)[..], [Violation::TwoLeases { .. }]));
}

#[test]
fn the_lease_of_a_repeated_receive_lasts_from_the_repeat() {
    let story = sent("a").got("a", 1, 20, 30).got("a", 1, 2_500, 2_510).repeated();
    let early = story.got("a", 2, 4_000, 4_010).ack("a", 2, 4_020, 4_030, Outcome::Ok);
    assert!(matches!(early.verdict()[..], [Violation::TwoLeases { .. }]));
}

#[test]
fn a_plain_life_is_right() {
    let story =
        sent("a").got("a", 1, 20, 30).ack("a", 1, 40, 50, Outcome::Ok).receive(60, 70, Outcome::Ok, &[]);
    assert_eq!(story.verdict(), []);
}

#[test]
fn an_acknowledged_message_that_never_came_is_lost() {
    let story = sent("a").receive(20, 30, Outcome::Ok, &[]);
    assert_eq!(story.verdict(), [Violation::Lost { id: "a".into(), group: GROUP.into(), deliveries: 0 }]);
}

#[test]
fn a_message_delivered_once_and_forgotten_is_lost() {
    let story = sent("a").got("a", 1, 20, 30).ack("a", 1, 9_000, 9_010, fail(INVALID_RECEIPT_HANDLE));
    assert_eq!(story.verdict(), [Violation::Lost { id: "a".into(), group: GROUP.into(), deliveries: 1 }]);
}

#[test]
fn an_unknown_send_may_come_or_not() {
    let gone = Story::default().send("a", 0, 10, unknown()).receive(20, 30, Outcome::Ok, &[]);
    assert_eq!(gone.verdict(), []);
    let came =
        Story::default().send("a", 0, 10, unknown()).got("a", 1, 20, 30).ack("a", 1, 31, 32, Outcome::Ok);
    assert_eq!(came.verdict(), []);
}

#[test]
fn a_message_that_comes_after_its_confirmed_ack_is_wrong() {
    let story = sent("a").got("a", 1, 20, 30).ack("a", 1, 40, 50, Outcome::Ok).got("a", 2, 9_000, 9_010);
    let (acked, received) = (Duration::from_millis(50), ms(9_000, 9_010));
    assert_eq!(story.verdict(), [Violation::ReturnedAfterAck { id: "a".into(), acked, received }]);
}

#[test]
fn a_receive_in_flight_while_the_ack_is_confirmed_may_still_carry_the_message() {
    let story = sent("a")
        .got("a", 1, 20, 30)
        .ack("a", 1, 4_000, 4_900, unknown())
        .got("a", 2, 4_100, 5_000)
        .ack("a", 2, 5_010, 5_020, Outcome::Ok);
    assert_eq!(story.verdict(), []);
}

#[test]
fn a_message_that_overtakes_its_message_group_is_wrong() {
    let story =
        || Story::ordered().send("a", 0, 10, Outcome::Ok).send("b", 11, 20, Outcome::Ok).got("a", 1, 30, 40);
    let wrong = [Violation::OutOfOrder { id: "b".into(), before: "a".into() }];
    let together =
        story().got("b", 1, 41, 50).ack("a", 1, 60, 70, Outcome::Ok).ack("b", 1, 60, 70, Outcome::Ok);
    assert_eq!(together.verdict(), wrong);
    let in_order =
        story().ack("a", 1, 41, 50, Outcome::Ok).got("b", 1, 45, 60).ack("b", 1, 60, 70, Outcome::Ok);
    assert_eq!(in_order.verdict(), []);
}

#[test]
fn order_is_asked_of_ordered_groups_only() {
    let mut story = Story::ordered()
        .send("a", 0, 10, Outcome::Ok)
        .send("b", 11, 20, Outcome::Ok)
        .receive(30, 40, Outcome::Ok, &[("a", 1), ("b", 1)])
        .ack("a", 1, 60, 70, Outcome::Ok)
        .ack("b", 1, 60, 70, Outcome::Ok);
    assert_eq!(story.verdict().len(), 1);
    story.0.ordered_groups.clear();
    assert_eq!(story.verdict(), []);
}

#[test]
fn a_second_delivery_inside_the_lease_is_wrong() {
    let story =
        sent("a").got("a", 1, 100, 110).got("a", 2, 200, 2_000).ack("a", 2, 2_100, 2_110, Outcome::Ok);
    let leased_until = Duration::from_millis(100 + 2_700 - 200);
    assert_eq!(
        story.verdict(),
        [Violation::TwoLeases { id: "a".into(), leased_until, received: ms(200, 2_000) }]
    );
}

#[test]
fn a_second_delivery_after_the_lease_is_right() {
    let story =
        sent("a").got("a", 1, 100, 110).got("a", 2, 200, 3_150).ack("a", 2, 3_200, 3_210, Outcome::Ok);
    assert_eq!(story.verdict(), []);
}

#[test]
fn a_changed_lease_ends_when_it_was_changed() {
    let mut story =
        sent("a").got("a", 1, 100, 110).got("a", 2, 200, 1_300).ack("a", 2, 1_400, 1_410, Outcome::Ok);
    let (handle, invisible) = ("a/1".to_string(), Duration::from_millis(500));
    story.0.changes.push(Change { span: ms(500, 510), handle, invisible, outcome: Outcome::Ok });
    assert_eq!(story.verdict(), []);
}

#[test]
fn what_nobody_sent_and_what_was_refused_must_not_come() {
    let story =
        Story::default().send("r", 0, 10, fail(42_900)).receive(20, 30, Outcome::Ok, &[("p", 1), ("r", 1)]);
    let story = story.ack("p", 1, 31, 32, Outcome::Ok).ack("r", 1, 31, 32, Outcome::Ok);
    let wrong = [Violation::Phantom { id: "p".into() }, Violation::RefusedYetStored { id: "r".into() }];
    assert_eq!(story.verdict(), wrong);
}

#[test]
fn a_changed_body_is_wrong() {
    let mut story = sent("a").got("a", 1, 20, 30).ack("a", 1, 40, 50, Outcome::Ok);
    story.0.receives[0].deliveries[0].intact = false;
    assert_eq!(story.verdict(), [Violation::Damaged { id: "a".into() }]);
}

#[test]
fn a_retry_stored_twice_is_wrong() {
    let mut story = Story::default()
        .send("a", 0, 10, unknown())
        .send("a", 11, 20, Outcome::Ok)
        .got("a", 1, 30, 40)
        .got("a", 2, 5_000, 5_010)
        .ack("a", 2, 5_020, 5_030, Outcome::Ok);
    assert_eq!(story.verdict(), []);
    story.0.receives[1].deliveries[0].place = (0, 8);
    assert_eq!(story.verdict(), [Violation::StoredTwice { id: "a".into(), places: vec![(0, 8), (0, 97)] }]);
}

#[test]
fn attempts_that_repeat_are_wrong() {
    let story =
        sent("a").got("a", 1, 20, 30).got("a", 1, 5_000, 5_010).ack("a", 1, 5_020, 5_030, Outcome::Ok);
    assert_eq!(story.verdict(), [Violation::AttemptNotGrown { id: "a".into(), attempts: (1, 1) }]);
}

#[test]
fn attempts_that_run_backwards_are_wrong() {
    let story =
        sent("a").got("a", 2, 20, 30).got("a", 1, 5_000, 5_010).ack("a", 1, 5_020, 5_030, Outcome::Ok);
    assert_eq!(story.verdict(), [Violation::AttemptNotGrown { id: "a".into(), attempts: (1, 2) }]);
}

#[test]
fn a_skipped_attempt_needs_a_receive_of_unknown_outcome() {
    let story = || sent("a").got("a", 1, 20, 30);
    let end = |story: Story| story.got("a", 3, 9_000, 9_010).ack("a", 3, 9_020, 9_030, Outcome::Ok);
    let skipped = [Violation::AttemptSkipped { id: "a".into(), attempts: (1, 3) }];
    assert_eq!(end(story()).verdict(), skipped);
    assert_eq!(end(story().receive(4_000, 4_100, unknown(), &[])).verdict(), []);
    assert_eq!(end(story().receive(9_010, 9_020, unknown(), &[])).verdict(), skipped);
}

#[test]
fn a_receive_may_take_effect_after_its_caller_gave_up() {
    let story = sent("a").receive(11, 12, unknown(), &[]).got("a", 1, 20, 30).got("a", 3, 9_000, 9_010);
    assert_eq!(story.ack("a", 3, 9_020, 9_030, Outcome::Ok).verdict(), []);
}

#[test]
fn one_receive_of_unknown_outcome_explains_what_was_skipped_at_one_moment() {
    let story = |second: u64| {
        let first = sent("a").receive(11, 12, unknown(), &[]).got("a", 2, 5_000, 5_010);
        let story = first.ack("a", 2, 5_020, 5_030, Outcome::Ok).send("b", second, second + 5, Outcome::Ok);
        let story = story.got("b", 1, second + 10, second + 15).got("b", 3, 19_000, 19_010);
        story.ack("b", 3, 19_020, 19_030, Outcome::Ok)
    };
    assert_eq!(story(4_000).verdict(), []);
    let skipped = Violation::AttemptSkipped { id: "b".into(), attempts: (1, 3) };
    assert_eq!(story(6_000).verdict(), [skipped]);
    assert_eq!(story(6_000).receive(4_000, 4_100, unknown(), &[]).verdict(), []);
}

#[test]
fn a_first_delivery_is_attempt_one_unless_an_unknown_receive_took_it() {
    let late = |story: Story| story.got("a", 2, 9_000, 9_010).ack("a", 2, 9_020, 9_030, Outcome::Ok);
    assert_eq!(late(sent("a")).verdict(), [Violation::AttemptSkipped { id: "a".into(), attempts: (0, 2) }]);
    assert_eq!(late(sent("a").receive(20, 30, unknown(), &[])).verdict(), []);
}

#[test]
fn the_ack_of_a_live_lease_must_not_be_called_stale() {
    let story = |first: Outcome| {
        let story = sent("a").got("a", 1, 20, 30).ack("a", 1, 31, 32, first);
        story.ack("a", 1, 40, 50, fail(INVALID_RECEIPT_HANDLE)).ack("a", 1, 60, 70, Outcome::Ok)
    };
    assert_eq!(
        story(fail(42_900)).verdict(),
        [Violation::LiveHandleRefused { id: "a".into(), acked: ms(40, 50) }]
    );
    assert_eq!(story(unknown()).verdict(), [], "the unknown ack may have settled it");
}
