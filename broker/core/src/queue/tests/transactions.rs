//! Half messages: seen by nobody before their commit, ended once, asked about by the rules, and never silently away.

use super::*;
use crate::ids::HeldId;
use crate::queue::request::{
    Check, Checked, EndTransaction, EndTransactionError, NoSuchTransaction, TakeChecks, TransactionEnded,
};
use crate::queue::{TransactionLimits, UNRESOLVED_TOPIC};
use crate::record::{Hold, MessageRecord};

const IMMUNITY_MS: u64 = 6_000;
const INTERVAL_MS: u64 = 30_000;

fn broker() -> Broker {
    let transactions =
        TransactionLimits { immunity_ms: IMMUNITY_MS, interval_ms: INTERVAL_MS, checks_max: 2 };
    let mut broker = Broker::with(Limits { transactions, halves_max: 10, ..Limits::default() });
    broker.topic("t", TopicKind::Transaction, 1);
    broker
}

impl Broker {
    fn half_message(&mut self, text: &str) -> NewMessage {
        NewMessage { kind: TopicKind::Transaction, ..self.message(text) }
    }

    /// Sends a half message.
    fn half(&mut self, text: &str) -> HeldId {
        let message = self.half_message(text);
        self.try_send("t", vec![message]).unwrap()[0].held.unwrap()
    }

    pub(super) fn end(&mut self, half: HeldId, commit: bool) -> Result<(), EndTransactionError> {
        let topic: Arc<str> = Arc::from("t");
        let incarnation = self.shard.state().topic("t").map_or_else(Default::default, |(id, _)| id);
        match self.ask(Request::EndTransaction(EndTransaction { topic, incarnation, half, commit })) {
            Some(Answer::EndTransaction(ended)) => ended,
            other => panic!("{other:?}"),
        }
    }

    /// Takes up to two checks of topic `t`, without waiting.
    pub(super) fn take_checks(&mut self) -> Vec<HeldId> {
        match self.ask(Request::TakeChecks(taking(0))) {
            Some(Answer::TakeChecks(checks)) => halves(&checks),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn checked(&mut self, asked: &[HeldId], unasked: &[HeldId]) {
        let (asked, unasked) = (asked.to_vec(), unasked.to_vec());
        assert_eq!(self.ask(Request::Checked(Checked { asked, unasked })), Some(Answer::Checked));
    }

    /// Asks about a half message as often as may be.
    fn ask_in_vain(&mut self, half: HeldId) {
        self.pass(IMMUNITY_MS);
        for _ in 0..2 {
            assert_eq!(self.take_checks(), [half]);
            self.checked(&[half], &[]);
            self.pass(INTERVAL_MS);
        }
    }
}

fn taking(wait_ms: u64) -> TakeChecks {
    TakeChecks { topics: vec![Arc::from("t"), Arc::from("gone")], most: 2, wait_ms }
}

fn halves(checks: &[Check]) -> Vec<HeldId> {
    checks.iter().map(|check| check.half).collect()
}

#[test]
fn a_half_message_comes_after_its_commit_and_never_after_its_rollback() {
    let mut broker = broker();
    let (kept, dropped) = (broker.half("kept"), broker.half("dropped"));
    broker.pass(1_000);
    assert!(broker.receive("g", "t").is_empty());
    assert_eq!(broker.end(dropped, false), Ok(()));
    broker.fail_over();
    assert!(broker.receive("g", "t").is_empty());
    assert_eq!(broker.end(kept, true), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["kept"]);
    assert_eq!(broker.shard.state().held().halves, 0);
}

#[test]
fn a_receive_that_waits_gets_a_message_with_its_commit() {
    let mut broker = broker();
    let half = broker.half("a");
    let receive = Receive { wait_ms: 5_000, ..broker.receiving("g", "t") };
    let ticket = broker.begin(Request::Receive(receive));
    assert_eq!(broker.waited(ticket), None);
    broker.end(half, true).unwrap();
    assert_eq!(broker.waited(ticket).unwrap(), ["a"]);
}

#[test]
fn an_end_may_be_repeated_and_the_opposite_is_refused() {
    let mut broker = broker();
    let (kept, dropped) = (broker.half("kept"), broker.half("dropped"));
    for _ in 0..2 {
        assert_eq!(broker.end(kept, true), Ok(()));
        assert_eq!(broker.end(dropped, false), Ok(()));
        broker.fail_over();
    }
    assert_eq!(broker.end(kept, false), Err(TransactionEnded::Committed.into()));
    assert_eq!(broker.end(dropped, true), Err(TransactionEnded::RolledBack.into()));
    assert_eq!(broker.receive_texts("g", "t"), ["kept"]);
    broker.pass(3_600_000);
    let late = broker.half("late");
    broker.pass(1);
    broker.end(late, true).unwrap();
    assert_eq!(broker.end(kept, true), Err(NoSuchTransaction.into()), "an hour ago");
}

#[test]
fn what_is_no_transaction_of_the_topic_is_refused() {
    let mut broker = broker();
    let half = broker.half("a");
    assert_eq!(broker.end(HeldId(half.0 + 1), true), Err(NoSuchTransaction.into()));
    let (topic, incarnation) = (Arc::from("t"), crate::ids::TopicId(77));
    let foreign = Request::EndTransaction(EndTransaction { topic, incarnation, half, commit: true });
    assert_eq!(broker.ask(foreign), Some(Answer::EndTransaction(Err(NoSuchTransaction.into()))));
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    assert!(matches!(broker.end(half, true), Err(EndTransactionError::TopicNotFound(_))));
    assert_eq!(broker.shard.state().held().halves, 0, "half messages go with their topic");
    broker.topic("t", TopicKind::Transaction, 1);
    assert_eq!(broker.end(half, true), Err(NoSuchTransaction.into()));
    broker.pass(IMMUNITY_MS);
    assert_eq!(broker.take_checks(), []);
}

#[test]
fn a_retried_send_is_the_same_transaction_also_when_that_has_ended() {
    let mut broker = broker();
    let message = broker.half_message("a");
    let first = broker.try_send("t", vec![message.clone()]).unwrap()[0];
    broker.end(first.held.unwrap(), true).unwrap();
    broker.fail_over();
    let again = broker.try_send("t", vec![message]).unwrap()[0];
    assert_eq!(again, Sent { duplicate: true, ..first });
    assert_eq!(broker.end(again.held.unwrap(), true), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
}

#[test]
fn the_messages_of_a_batch_are_transactions_of_their_own() {
    let mut broker = broker();
    let (a, b) = (broker.half_message("a"), broker.half_message("b"));
    let sent = broker.try_send("t", vec![a.clone(), b, a]).unwrap();
    let held: Vec<HeldId> = sent.iter().map(|sent| sent.held.unwrap()).collect();
    assert_eq!((held[0], sent[2].duplicate), (held[2], true));
    broker.end(held[1], true).unwrap();
    broker.end(held[0], false).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["b"]);
}

#[test]
fn nobody_is_asked_before_the_immunity_time_and_a_message_may_have_its_own() {
    let mut broker = broker();
    let usual = broker.half("usual");
    let mut soon = broker.half_message("soon");
    soon.recover_after_ms = Some(1_000);
    let soon = broker.try_send("t", vec![soon]).unwrap()[0].held.unwrap();
    let ticket = broker.begin(Request::TakeChecks(taking(60_000)));
    broker.pass(999);
    assert!(!broker.answers.contains_key(&ticket));
    broker.pass(1);
    assert_eq!(broker.answers.remove(&ticket).map(|answer| asked_of(&answer)), Some(vec![soon]));
    broker.pass(IMMUNITY_MS - 1_001);
    assert_eq!(broker.take_checks(), []);
    broker.pass(1);
    assert_eq!(broker.take_checks(), [usual]);
}

fn asked_of(answer: &Answer) -> Vec<HeldId> {
    let Answer::TakeChecks(checks) = answer else { panic!("{answer:?}") };
    halves(checks)
}

#[test]
fn a_check_counts_when_it_was_made_and_after_the_last_the_message_is_a_dead_letter() {
    let mut broker = broker();
    let half = broker.half("a");
    broker.ask_in_vain(half);
    assert_eq!(broker.take_checks(), []);
    assert_eq!(broker.end(half, true), Err(TransactionEnded::GivenUp.into()));
    assert!(broker.receive("g", "t").is_empty());
    assert_eq!(broker.shard.count_dead_letters(UNRESOLVED_TOPIC), Some(1));
    assert_eq!(broker.receive_texts("people", UNRESOLVED_TOPIC), ["a"]);
    assert_eq!(broker.shard.state().given_up_transactions(), 1);
    let told = |broker: &mut Broker| -> Vec<HeldId> {
        broker.shard.take_given_up().iter().map(|open| open.half).collect()
    };
    assert_eq!(told(&mut broker), [half]);
    assert_eq!(told(&mut broker), []);
    broker.fail_over();
    assert_eq!(broker.shard.state().given_up_transactions(), 1);
}

#[test]
fn a_check_that_nobody_could_make_does_not_count_however_often() {
    let mut broker = broker();
    let half = broker.half("a");
    broker.pass(IMMUNITY_MS);
    for _ in 0..5 {
        assert_eq!(broker.take_checks(), [half]);
        assert_eq!(broker.take_checks(), [], "one gateway asks at a time");
        broker.checked(&[], &[half]);
        broker.pass(1_000);
    }
    // A gateway that is never heard of again.
    assert_eq!(broker.take_checks(), [half]);
    broker.pass(20_000);
    assert_eq!(broker.take_checks(), [half]);
    broker.pass(3_600_000);
    assert_eq!(broker.end(half, true), Ok(()), "it waits for as long as no producer lives");
    broker.checked(&[half], &[half]);
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
}

#[test]
fn a_rollback_after_a_check_stops_the_checks() {
    let mut broker = broker();
    let half = broker.half("a");
    broker.pass(IMMUNITY_MS);
    assert_eq!(broker.take_checks(), [half]);
    broker.checked(&[half], &[]);
    assert_eq!(broker.end(half, false), Ok(()));
    broker.pass(10 * INTERVAL_MS);
    assert_eq!(broker.take_checks(), []);
    assert!(broker.shard.state().topic(UNRESOLVED_TOPIC).is_none());
}

#[test]
fn a_new_master_goes_on_counting_where_the_old_one_was() {
    let mut broker = broker();
    let half = broker.half("a");
    broker.pass(IMMUNITY_MS);
    assert_eq!(broker.take_checks(), [half]);
    broker.checked(&[half], &[]);
    broker.fail_over();
    broker.pass(INTERVAL_MS - 1);
    assert_eq!(broker.take_checks(), []);
    broker.pass(1);
    assert_eq!(broker.take_checks(), [half]);
    broker.fail_over();
    assert_eq!(broker.take_checks(), [half], "who took it is not known any more");
    broker.checked(&[half], &[]);
    broker.pass(INTERVAL_MS);
    assert_eq!(broker.receive_texts("people", UNRESOLVED_TOPIC), ["a"]);
}

#[test]
fn a_gateway_that_waits_in_vain_is_answered_with_nothing_and_one_that_left_with_nothing_at_all() {
    let mut broker = broker();
    let (stays, leaves) =
        (broker.begin(Request::TakeChecks(taking(1_000))), broker.begin(Request::TakeChecks(taking(9_000))));
    broker.shard.cancel(leaves);
    broker.pass(1_000);
    assert_eq!(broker.answers.remove(&stays).map(|answer| asked_of(&answer)), Some(Vec::new()));
    broker.half("a");
    broker.pass(IMMUNITY_MS);
    assert!(!broker.answers.contains_key(&leaves));
    assert_eq!(broker.take_checks().len(), 1);
}

#[test]
fn open_transactions_are_listed_and_bounded() {
    let mut broker = broker();
    let all: Vec<HeldId> = (0..10).map(|number| broker.half(&number.to_string())).collect();
    let message = broker.half_message("one more");
    assert!(matches!(broker.try_send("t", vec![message]), Err(SendError::TooMany(_))));
    let listed = |broker: &Broker, topic, from, limit| -> Vec<HeldId> {
        let open = broker.shard.open_transactions(topic, from, limit);
        open.iter().map(|open| open.half).collect()
    };
    assert_eq!(listed(&broker, None, HeldId(0), 100), all);
    assert_eq!(listed(&broker, Some("t"), HeldId(all[2].0 + 1), 3), all[3..6]);
    assert_eq!(listed(&broker, Some("other"), HeldId(0), 100), []);
    assert_eq!(broker.shard.topic_status("t").unwrap().held.halves, 10);
}

#[test]
fn records_that_end_what_does_not_wait_do_not_apply() {
    let mut broker = broker();
    let half = broker.half("a");
    broker.end(half, true).unwrap();
    let end = |half| Record::TransactionEnd { half, commit: true };
    let check = |half| Record::TransactionCheck { half, next_check: TIME_START };
    for record in [end(half), end(HeldId(1)), check(half), check(HeldId(1))] {
        let mut state = broker.shard.state().clone();
        assert!(state.apply(broker.log.end(), broker.now, &record).is_err(), "{record:?}");
    }
    let elsewhere = MessageRecord {
        topic: crate::ids::TopicId(1),
        queue: crate::ids::QueueId(9),
        offset: crate::ids::Offset(0),
        kind: TopicKind::Transaction,
        hold: Hold::Transaction(TIME_START),
        key: SendKey(1),
        tag: TagHash(0),
        lane: Lane(0),
        stored_at: TIME_START,
        content: b"",
    };
    let mut state = broker.shard.state().clone();
    assert!(state.apply(broker.log.end(), broker.now, &Record::Message(elsewhere)).is_err());
}
