//! The same of messages that wait.

use super::{GROUP, Story, TOPIC, fail, ms, unknown};
use crate::checker::{BAD_REQUEST, INVALID_TRANSACTION_ID, Violation, owed};
use crate::history::{End, Hold, Outcome, Recall, Send};
use std::time::Duration;

impl Story {
    fn hold(mut self, id: &str, hold: Hold, outcome: Outcome) -> Self {
        let (id, topic) = (id.to_string(), TOPIC.to_string());
        self.0.sends.push(Send { span: ms(0, 10), id, topic, message_group: None, hold, outcome });
        self
    }

    fn end(mut self, id: &str, commit: bool, (begin, end): (u64, u64), outcome: Outcome) -> Self {
        self.0.ends.push(End { span: ms(begin, end), id: id.into(), commit, outcome });
        self
    }

    fn recall(mut self, id: &str, (begin, end): (u64, u64), outcome: Outcome) -> Self {
        self.0.recalls.push(Recall { span: ms(begin, end), id: id.into(), outcome });
        self
    }

    /// Somebody consumes the topic, and finds nothing.
    fn nothing_came(self) -> Self {
        self.receive(9_000, 9_010, Outcome::Ok, &[])
    }

    fn came(self, begin: u64, end: u64) -> Self {
        self.got("a", 1, begin, end).ack("a", 1, end + 10, end + 20, Outcome::Ok)
    }
}

fn half() -> Story {
    Story::default().hold("a", Hold::Transaction, Outcome::Ok)
}

/// A message that is due after a second.
fn delayed() -> Story {
    Story::default().hold("a", Hold::Until(Duration::from_secs(1)), Outcome::Ok)
}

fn lost() -> Vec<Violation> {
    vec![Violation::Lost { id: "a".into(), group: GROUP.into(), deliveries: 0 }]
}

#[test]
fn a_half_message_that_nobody_ends_is_not_to_come() {
    assert_eq!(half().nothing_came().verdict(), []);
    let received = ms(20, 30);
    let undecided = Violation::UndecidedYetDelivered { id: "a".into(), received };
    assert_eq!(half().came(20, 30).verdict(), [undecided]);
}

#[test]
fn a_message_whose_commit_was_confirmed_is_to_come() {
    let committed = || half().end("a", true, (20, 30), Outcome::Ok);
    assert_eq!(committed().came(40, 50).verdict(), []);
    assert_eq!(committed().nothing_came().verdict(), lost());
    assert_eq!(owed(&committed().0).len(), 1);
    assert_eq!(owed(&half().0).len(), 0);
}

#[test]
fn a_commit_is_enough_where_the_answer_to_the_send_got_lost() {
    let committed = Story::default().hold("a", Hold::Transaction, unknown());
    assert_eq!(committed.end("a", true, (20, 30), Outcome::Ok).nothing_came().verdict(), lost());
}

#[test]
fn a_message_may_come_while_its_commit_is_under_way_and_not_before_that() {
    let committed = || half().end("a", true, (100, 200), Outcome::Ok);
    assert_eq!(committed().came(20, 100).verdict(), []);
    assert!(matches!(committed().came(20, 99).verdict()[..], [Violation::UndecidedYetDelivered { .. }]));
}

#[test]
fn a_message_whose_rollback_was_confirmed_does_not_come() {
    let rolled_back = || half().end("a", false, (20, 30), Outcome::Ok);
    assert_eq!(rolled_back().nothing_came().verdict(), []);
    let tried = rolled_back().end("a", true, (15, 35), unknown()).came(40, 50);
    assert_eq!(tried.verdict(), [Violation::RolledBackYetDelivered { id: "a".into() }]);
}

#[test]
fn a_commit_that_was_refused_shows_nothing() {
    let refused = || half().end("a", true, (20, 30), fail(42_900));
    assert_eq!(refused().nothing_came().verdict(), []);
    assert!(matches!(refused().came(40, 50).verdict()[..], [Violation::UndecidedYetDelivered { .. }]));
}

#[test]
fn an_unknown_end_may_go_either_way() {
    for commit in [true, false] {
        let ended = half().end("a", commit, (20, 30), unknown());
        assert_eq!(ended.nothing_came().verdict(), []);
    }
    assert_eq!(half().end("a", true, (20, 30), unknown()).came(40, 50).verdict(), []);
    let fought = half().end("a", false, (20, 30), unknown()).end("a", true, (31, 40), Outcome::Ok);
    assert_eq!(fought.came(41, 50).verdict(), []);
}

#[test]
fn a_transaction_that_was_both_committed_and_rolled_back_is_wrong() {
    let ended = half().end("a", true, (20, 30), Outcome::Ok).end("a", false, (40, 50), Outcome::Ok);
    let both = Violation::EndedBothWays { id: "a".into() };
    let came = Violation::RolledBackYetDelivered { id: "a".into() };
    assert_eq!(ended.came(60, 70).verdict(), [came, both]);
}

#[test]
fn a_delayed_message_comes_at_its_time_and_not_before() {
    assert_eq!(delayed().came(200, 1_000).verdict(), []);
    assert_eq!(delayed().came(5_000, 5_010).verdict(), [], "late is not lost");
    let (due, received) = (Duration::from_secs(1), ms(200, 990));
    let early = Violation::TooEarly { id: "a".into(), due, received };
    assert_eq!(delayed().came(200, 990).verdict(), [early]);
}

#[test]
fn a_delayed_message_that_does_not_come_is_lost() {
    assert_eq!(delayed().nothing_came().verdict(), lost());
    let refused = delayed().recall("a", (1_020, 1_030), fail(BAD_REQUEST));
    assert_eq!(refused.nothing_came().verdict(), lost(), "a recall that was refused recalls nothing");
}

#[test]
fn a_recalled_message_does_not_come_and_one_perhaps_recalled_may() {
    let recalled = || delayed().recall("a", (20, 30), Outcome::Ok);
    assert_eq!(recalled().nothing_came().verdict(), []);
    assert_eq!(recalled().came(1_000, 1_010).verdict(), [Violation::RecalledYetDelivered { id: "a".into() }]);
    let perhaps = || delayed().recall("a", (20, 30), unknown());
    assert_eq!(perhaps().nothing_came().verdict(), []);
    assert_eq!(perhaps().came(1_000, 1_010).verdict(), []);
}

#[test]
fn a_transaction_that_is_open_can_be_ended() {
    let refused = |story: Story| story.end("a", true, (20, 30), fail(INVALID_TRANSACTION_ID)).nothing_came();
    let not_found = [Violation::HeldNotFound { id: "a".into(), asked: ms(20, 30) }];
    assert_eq!(refused(half()).verdict(), not_found);
    assert_eq!(refused(half().end("a", false, (15, 25), unknown())).verdict(), []);
    assert_eq!(refused(half().end("a", true, (15, 18), unknown())).verdict(), not_found);
    let unknown_send = Story::default().hold("a", Hold::Transaction, unknown());
    assert_eq!(refused(unknown_send).verdict(), []);
}

#[test]
fn a_message_that_waits_can_be_recalled() {
    let refused = |at: u64| delayed().recall("a", (at, at + 10), fail(BAD_REQUEST)).came(2_000, 2_010);
    assert_eq!(refused(20).verdict(), [Violation::HeldNotFound { id: "a".into(), asked: ms(20, 30) }]);
    assert_eq!(refused(995).verdict(), []);
}
