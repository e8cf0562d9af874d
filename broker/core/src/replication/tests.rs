//! What one replica does, by example; what a cluster can come to is the model's and the simulator's.

use std::collections::BTreeMap;

use super::*;
use crate::config::{self, Change, FlushPolicy, Member};

pub(super) const A: StoreId = StoreId(1);
pub(super) const B: StoreId = StoreId(2);
const C: StoreId = StoreId(3);
const S: Session = Session(0);
const LINK: Link = Link(1);

/// A replica, and what it said last.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) replica: Replica,
    said: Vec<Effect>,
}

impl Subject {
    fn new(store: StoreId, found: Durable) -> Self {
        Self { replica: Replica::new(store, S, found), said: Vec::new() }
    }

    pub(super) fn hears(&mut self, input: Input) -> &[Effect] {
        self.said.clear();
        self.replica.step(input, &mut self.said);
        &self.said
    }

    pub(super) fn proposal(&self) -> (ProposalId, Config) {
        let proposal = self.said.iter().find_map(|effect| match effect {
            Effect::Propose(id, config) => Some((*id, config.clone())),
            _ => None,
        });
        proposal.unwrap_or_else(|| panic!("nothing was proposed: {:?}", self.said))
    }
}

fn formed() -> Config {
    Config::form(A, S, [A, B].map(|store| (store, Member::default())).into(), 1)
}

fn begin(epoch: u32, start: u64) -> EpochStart {
    EpochStart { epoch: Epoch(epoch), start: Lsn(start) }
}

/// A as master of epoch 1, with 10 bytes of log and nobody else.
fn master() -> Subject {
    let mut a = Subject::new(A, Durable::default());
    a.hears(Input::Config(formed()));
    a.hears(Input::Promised(Epoch(1)));
    a.hears(Input::Appended { end: Lsn(10), begins: vec![begin(1, 0)] });
    a.hears(Input::Flushed(Lsn(10)));
    a
}

fn hello(history: &[EpochStart], end: u64) -> Hello {
    let history = EpochHistory::new(history.to_vec());
    Hello { store: B, session: S, promised: Epoch(1), history, end: Lsn(end) }
}

pub(super) fn ack(received: u64, durable: u64) -> Input {
    let (received, durable) = (Lsn(received), Lsn(durable));
    Input::Message(LINK, Message::Ack { epoch: Epoch(1), received, durable })
}

/// The same with B in the in-sync set.
pub(super) fn master_with_slave() -> Subject {
    let mut a = master();
    a.hears(Input::Greeted(LINK, hello(&[], 0)));
    a.hears(ack(10, 10));
    let (id, _) = a.proposal();
    a.hears(Input::Answered(id, Answer::Done));
    a
}

#[test]
fn an_epoch_is_promised_before_it_begins_and_begun_before_it_serves() {
    let mut a = Subject::new(A, Durable::default());
    assert_eq!(a.hears(Input::Config(formed())), [Effect::Promise(Epoch(1))]);
    assert_eq!(a.hears(Input::Promised(Epoch(1))), [Effect::Begin(Epoch(1))]);
    assert_eq!(a.hears(Input::Appended { end: Lsn(10), begins: vec![begin(1, 0)] }), []);
    assert_eq!(a.replica.serving(), None);
    assert_eq!(a.hears(Input::Flushed(Lsn(10))), [Effect::Committed(Lsn(10))]);
    assert_eq!(a.replica.serving(), Some(Epoch(1)));
}

#[test]
fn a_restarted_master_asks_for_an_epoch_of_its_own() {
    let found = Durable { promised: Epoch(1), end: Lsn(10), flushed: Lsn(10), ..Durable::default() };
    let mut a = Subject::new(A, found);
    a.hears(Input::Config(formed()));
    let (id, config) = a.proposal();
    assert_eq!((config.epoch, config.master), (Epoch(2), A));
    a.hears(Input::Answered(id, Answer::Done));
    assert_eq!(a.said, [Effect::Promise(Epoch(2))]);
    assert_eq!(a.hears(Input::Promised(Epoch(2))), [Effect::Begin(Epoch(2))]);
}

#[test]
fn a_slave_counts_from_the_moment_it_is_proposed() {
    let mut a = master();
    let said = a.hears(Input::Greeted(LINK, hello(&[], 0))).to_vec();
    let welcome = Message::Welcome { epoch: Epoch(1), catchup: Catchup::Resume };
    assert_eq!(said, [Effect::Send(LINK, welcome), Effect::Ship(LINK, Lsn(0))]);
    a.hears(ack(10, 10));
    let (id, config) = a.proposal();
    assert!(config.in_sync.contains_key(&B));

    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert_eq!(a.hears(Input::Flushed(Lsn(20))), [], "not confirmed, and counted already");
    assert_eq!(a.hears(Input::Answered(id, Answer::Unknown)), [Effect::ReadConfig]);
    assert_eq!(a.hears(Input::Config(formed())), [], "the old version settles nothing");
    assert_eq!(a.hears(ack(20, 10)), [], "written is not flushed");
    assert_eq!(a.hears(ack(20, 20)), [Effect::Committed(Lsn(20))]);
}

#[test]
fn a_slave_that_lags_more_than_it_may_is_not_proposed() {
    let mut a = master();
    a.replica = a.replica.with_rejoin_lag(5);
    a.hears(Input::Greeted(LINK, hello(&[], 0)));
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert_eq!(a.hears(ack(14, 14)), []);
    a.hears(ack(15, 15));
    assert!(a.proposal().1.in_sync.contains_key(&B));
}

#[test]
fn a_slave_that_lacks_what_is_committed_is_not_proposed_however_little_it_lags() {
    let mut a = master();
    a.hears(Input::Greeted(LINK, hello(&[], 0)));
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    a.hears(Input::Flushed(Lsn(20)));
    assert_eq!(a.hears(ack(19, 19)), [], "it could be promoted without what was acknowledged");
    a.hears(ack(20, 20));
    assert!(a.proposal().1.in_sync.contains_key(&B));
}

#[test]
fn a_silent_slave_counts_until_it_is_out_of_the_set_for_certain() {
    let mut a = master_with_slave();
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    a.hears(Input::Flushed(Lsn(20)));
    a.hears(Input::Silent(B));
    let (id, config) = a.proposal();
    assert!(!config.in_sync.contains_key(&B));
    assert_eq!(a.replica.commit(), Lsn(10));
    assert_eq!(a.hears(Input::Answered(id, Answer::Done)), [Effect::Committed(Lsn(20))]);
}

#[test]
fn a_master_that_sees_another_one_steps_down_and_says_nothing_more() {
    let mut a = master_with_slave();
    let config = a.replica.config().unwrap().clone();
    let promoted = config::next(&config, &Change::Promote { to: B, session: S, keep: vec![] }).unwrap();
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert_eq!(a.hears(Input::Config(promoted)), [Effect::StepDown]);
    assert_eq!(a.hears(Input::Flushed(Lsn(20))), []);
}

#[test]
fn a_master_whose_log_is_all_committed_follows_its_successor_with_the_state_it_has() {
    let mut a = master_with_slave();
    let config = a.replica.config().unwrap().clone();
    let promoted = config::next(&config, &Change::Promote { to: B, session: S, keep: vec![] }).unwrap();
    let epoch = promoted.epoch;
    assert_eq!(a.hears(Input::Config(promoted)), [Effect::HandedOver, Effect::Promise(epoch)]);
    assert_eq!(a.hears(Input::Promised(epoch)), [Effect::Follow(B)]);
    assert_eq!(a.replica.end(), Lsn(10));
}

#[test]
fn data_loss_is_accepted_of_the_newest_epoch_alone_and_makes_a_master_of_what_there_is() {
    let mut b = Subject::new(B, Durable::default());
    b.hears(Input::Config(formed()));
    b.hears(Input::Promised(Epoch(1)));
    assert_eq!(b.hears(Input::AcceptDataLoss { seen: Epoch(2) }), []);
    b.hears(Input::AcceptDataLoss { seen: Epoch(1) });
    let (id, config) = b.proposal();
    assert_eq!((config.epoch, config.master, config.unclean), (Epoch(2), B, Some(Epoch(2))));
    assert_eq!(b.hears(Input::Answered(id, Answer::Done)), [Effect::Promise(Epoch(2))]);
    assert_eq!(b.hears(Input::Promised(Epoch(2))), [Effect::Begin(Epoch(2))]);
}

#[test]
fn a_master_whose_successor_left_the_set_serves_again() {
    let mut a = master_with_slave();
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    a.hears(Input::Flushed(Lsn(20)));
    a.hears(Input::HandOver { to: B, leaves: false });
    a.hears(ack(20, 20));
    a.hears(Input::Silent(B));
    let config = a.replica.config().unwrap().clone();
    let by = (A, config.epoch);
    let shrunk = config::next(&config, &Change::Shrink { by, remove: B }).unwrap();
    a.hears(Input::Config(shrunk));
    assert_eq!(a.replica.serving(), Some(Epoch(1)));
}

#[test]
fn a_switch_that_cannot_be_stored_ends_and_is_never_made_again() {
    let mut a = master_with_slave();
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    a.hears(Input::Flushed(Lsn(20)));
    a.hears(Input::HandOver { to: B, leaves: false });
    a.hears(ack(20, 20));
    let (id, switched) = a.proposal();
    assert_eq!(a.hears(Input::Answered(id, Answer::Unknown)), [Effect::ReadConfig]);
    assert_eq!(a.replica.serving(), Some(Epoch(1)), "it serves on");
    a.hears(Input::HandOver { to: B, leaves: false });
    assert_eq!(a.replica.serving(), Some(Epoch(1)), "no other switch before the first one's fate is known");

    a.hears(Input::Retry);
    let (id, touched) = a.proposal();
    assert_eq!((touched.version, touched.master), (switched.version, A), "a write in its place");
    let mut deposed = a.clone();
    a.hears(Input::Answered(id, Answer::Done));
    assert!(a.replica.is_settled());
    assert_eq!(a.replica.serving(), Some(Epoch(1)));
    deposed.hears(Input::Answered(id, Answer::Conflict(switched)));
    assert_eq!(deposed.replica.leading(), None, "it was stored after all");
}

#[test]
fn on_the_way_to_async_a_slave_of_an_earlier_session_leaves_the_set_first() {
    let policy = FlushPolicy { mode: FlushMode::Async, interval_ms: 500 };
    let mut a = master_with_slave();
    let mut config = a.replica.config().unwrap().clone();
    config.version += 1;
    config.in_sync.insert(B, Session(9));
    a.hears(Input::Config(config));
    a.hears(Input::SetFlushPolicy(policy));
    let (id, _) = a.proposal();
    a.hears(Input::Answered(id, Answer::Done));
    let (_, config) = a.proposal();
    assert!(!config.in_sync.contains_key(&B), "{config:?}");
    assert_eq!(a.replica.flush_mode(), None, "the log does not say so before");
}

#[test]
fn a_hand_over_ends_service_and_waits_for_the_whole_log() {
    let mut a = master_with_slave();
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    a.hears(Input::Flushed(Lsn(20)));
    assert_eq!(a.hears(Input::HandOver { to: B, leaves: false }), []);
    assert_eq!(a.replica.serving(), None);
    a.hears(ack(20, 20));
    let (_, config) = a.proposal();
    assert_eq!((config.master, config.in_sync.len()), (B, 2), "never a moment with one copy");
}

#[test]
fn a_master_that_leaves_is_out_of_the_set_of_its_successor() {
    let mut a = master_with_slave();
    a.hears(Input::HandOver { to: B, leaves: true });
    let (id, config) = a.proposal();
    assert_eq!((config.master, config.in_sync), (B, BTreeMap::from([(B, S)])));
    assert_eq!(a.hears(Input::Answered(id, Answer::Done)), [Effect::HandedOver, Effect::Promise(Epoch(2))]);
}

#[test]
fn a_master_that_could_not_leave_for_certain_commits_nothing_that_its_successor_lacks() {
    let mut a = master_with_slave();
    a.hears(Input::HandOver { to: B, leaves: true });
    let (id, _) = a.proposal();
    a.hears(Input::Answered(id, Answer::Unknown));
    assert_eq!(a.replica.serving(), Some(Epoch(1)), "it serves on");
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert_eq!(a.hears(Input::Flushed(Lsn(20))), []);
    assert_eq!(a.hears(ack(20, 20)), [Effect::Committed(Lsn(20))]);
}

#[test]
fn a_master_that_leaves_keeps_every_other_slave_in_the_set() {
    let mut a = master_with_slave();
    let mut config = a.replica.config().unwrap().clone();
    config.version += 1;
    config.in_sync.insert(C, S);
    config.members.insert(C, Member::default());
    a.hears(Input::Config(config));
    let link = Link(2);
    a.hears(Input::Greeted(link, Hello { store: C, ..hello(&[begin(1, 0)], 10) }));
    let (received, durable) = (Lsn(10), Lsn(10));
    a.hears(Input::Message(link, Message::Ack { epoch: Epoch(1), received, durable }));
    a.hears(Input::HandOver { to: B, leaves: true });
    assert_eq!(a.proposal().1.in_sync, BTreeMap::from([(B, S), (C, S)]));
}

/// B with a log of 30 bytes of which 15 are committed, told to follow A.
pub(super) fn slave() -> Subject {
    let history = EpochHistory::new(vec![begin(1, 0)]);
    let found = Durable {
        promised: Epoch(1),
        history,
        end: Lsn(30),
        flushed: Lsn(30),
        commit: Lsn(15),
        ..Durable::default()
    };
    let mut b = Subject::new(B, found);
    assert_eq!(b.hears(Input::Config(formed())), [Effect::Follow(A)]);
    b.hears(Input::Connected(LINK));
    b
}

fn welcome(epoch: u32, catchup: Catchup) -> Input {
    Input::Message(LINK, Message::Welcome { epoch: Epoch(epoch), catchup })
}

#[test]
fn a_slave_cuts_off_what_the_master_lacks_but_nothing_committed() {
    let mut b = slave();
    assert_eq!(b.hears(welcome(1, Catchup::Truncate(Lsn(15)))), [Effect::Truncate(Lsn(15))]);
    assert_eq!(b.hears(Input::Truncated(Lsn(15))), [Effect::Follow(A)]);
    assert_eq!((b.replica.end(), b.replica.hello().end), (Lsn(15), Lsn(15)));

    let mut b = slave();
    let said = b.hears(welcome(1, Catchup::Truncate(Lsn(14)))).to_vec();
    assert!(matches!(said[..], [Effect::Halt(Halt::CommittedLost { .. })]), "{said:?}");
    assert_eq!(b.hears(welcome(1, Catchup::Resume)), [], "halted for good");
}

#[test]
fn a_slave_whose_state_differs_takes_no_part_and_a_master_goes_on() {
    let mut b = slave();
    let halt = Halt::StateDiffers { at: Lsn(10) };
    assert_eq!(b.hears(Input::StateDiffers(Lsn(10))), [Effect::Halt(halt)]);
    assert_eq!(b.hears(Input::TakeOver { keep: vec![B] }), [], "never master");
    assert_eq!(b.hears(welcome(1, Catchup::Resume)), []);
    let mut a = master_with_slave();
    assert_eq!(a.hears(Input::StateDiffers(Lsn(10))), []);
    assert!(a.replica.leading().is_some());
}

#[test]
fn a_slave_that_copies_anew_takes_the_masters_checkpoint_though_its_log_would_do() {
    let found = Durable { promised: Epoch(1), end: Lsn(30), flushed: Lsn(30), ..Durable::default() };
    let mut b = Subject::new(B, found.clone());
    b.replica = Replica::that_copies_anew(B, S, found);
    b.hears(Input::Config(formed()));
    b.hears(Input::Connected(LINK));
    assert_eq!(b.hears(welcome(1, Catchup::Resume)), [Effect::Install], "and it acknowledges nothing");
    b.hears(Input::Installed(Durable { promised: Epoch(1), commit: Lsn(20), ..Durable::default() }));
    b.hears(Input::Connected(LINK));
    assert!(matches!(b.hears(welcome(1, Catchup::Resume))[..], [Effect::Send(..)]), "once");
}

/// A as master of epoch 5 with a log of 90 bytes that starts at `start`, and B greeting it.
fn greets_a_log_that_starts_at(start: u64, greeting: Hello) -> Vec<Effect> {
    let history = EpochHistory::new(vec![begin(1, 0), begin(2, 20), begin(4, 40)]);
    let (promised, end, flushed) = (Epoch(4), Lsn(80), Lsn(80));
    let mut a = Subject::new(A, Durable { promised, history, end, flushed, ..Durable::default() });
    a.hears(Input::Config(Config { epoch: Epoch(5), ..formed() }));
    a.hears(Input::Promised(Epoch(5)));
    a.hears(Input::Appended { end: Lsn(90), begins: vec![begin(5, 80)] });
    a.hears(Input::Flushed(Lsn(90)));
    a.hears(Input::Dropped(Lsn(start)));
    a.hears(Input::Greeted(LINK, greeting)).to_vec()
}

fn welcomed(catchup: Catchup) -> Effect {
    Effect::Send(LINK, Message::Welcome { epoch: Epoch(5), catchup })
}

#[test]
fn a_slave_that_ends_before_the_masters_log_starts_begins_anew_and_then_gets_frames() {
    let far_behind = [hello(&[], 0), hello(&[begin(1, 0)], 10), hello(&[begin(1, 0), begin(2, 20)], 29)];
    for greeting in far_behind {
        assert_eq!(greets_a_log_that_starts_at(30, greeting), [welcomed(Catchup::Install(Lsn(30)))]);
    }
    // An empty log at 30 or the first frames of it, and the history of a checkpoint at 85, at 50, or right at 30.
    let checkpoints = [&[begin(2, 20), begin(4, 40), begin(5, 80)][..], &[begin(4, 40)], &[begin(2, 20)]];
    for (history, end) in checkpoints.into_iter().flat_map(|history| [(history, 30), (history, 35)]) {
        let resumed = [welcomed(Catchup::Resume), Effect::Ship(LINK, Lsn(end))];
        assert_eq!(greets_a_log_that_starts_at(30, hello(history, end)), resumed, "{history:?}");
        let again = [welcomed(Catchup::Install(Lsn(36)))];
        assert_eq!(greets_a_log_that_starts_at(36, hello(history, end)), again, "dropped meanwhile");
    }
    // The log starts with the first frame of an epoch, and the checkpoint knows the one before.
    let resumed = [welcomed(Catchup::Resume), Effect::Ship(LINK, Lsn(40))];
    assert_eq!(greets_a_log_that_starts_at(40, hello(&[begin(2, 20)], 40)), resumed);
}

/// B when it was told to begin anew at 60, and has done so with a checkpoint at 75.
fn installed() -> Subject {
    let mut b = slave();
    assert_eq!(b.hears(welcome(1, Catchup::Install(Lsn(60)))), [Effect::Install]);
    let copy = Durable {
        promised: Epoch(1),
        history: EpochHistory::new(vec![begin(1, 0)]),
        start: Lsn(60),
        end: Lsn(60),
        flushed: Lsn(60),
        commit: Lsn(75),
        ..Durable::default()
    };
    assert_eq!(b.hears(Input::Installed(copy)), [Effect::Committed(Lsn(75)), Effect::Follow(A)]);
    b.hears(Input::Connected(LINK));
    b
}

#[test]
fn a_slave_that_begins_anew_says_that_it_lives_and_nothing_of_what_it_had() {
    let mut b = slave();
    b.hears(welcome(1, Catchup::Install(Lsn(60))));
    let heartbeat = Message::Heartbeat { epoch: Epoch(1), commit: Lsn(80) };
    let nothing = Message::Ack { epoch: Epoch(1), received: Lsn(0), durable: Lsn(0) };
    assert_eq!(b.hears(Input::Message(LINK, heartbeat)), [Effect::Send(LINK, nothing)]);
}

#[test]
fn a_slave_gives_up_nothing_committed_that_the_masters_log_should_have() {
    let mut b = slave();
    let said = b.hears(welcome(1, Catchup::Install(Lsn(14)))).to_vec();
    assert!(matches!(said[..], [Effect::Halt(Halt::CommittedLost { .. })]), "{said:?}");
    let mut b = slave();
    assert_eq!(b.hears(welcome(1, Catchup::Install(Lsn(15)))), [Effect::Install]);
    let mut b = installed();
    assert_eq!(b.hears(welcome(1, Catchup::Install(Lsn(70)))), [Effect::Install], "dropped meanwhile");
}

#[test]
fn the_beginning_of_a_copy_is_no_master_even_if_somebody_accepts_data_loss() {
    let to_b = |b: &Subject| {
        let accepted = Change::AcceptDataLoss { seen: Epoch(1), to: B, session: S };
        Input::Config(config::next(b.replica.config().unwrap(), &accepted).unwrap())
    };
    let mut b = installed();
    b.hears(to_b(&b));
    let (end, commit) = (Lsn(60), Lsn(75));
    assert_eq!(b.hears(Input::Promised(Epoch(2))), [Effect::Halt(Halt::Incomplete { end, commit })]);

    let mut b = installed();
    b.hears(welcome(1, Catchup::Resume));
    b.hears(Input::Appended { end: Lsn(75), begins: vec![] });
    b.hears(to_b(&b));
    assert_eq!(b.hears(Input::Promised(Epoch(2))), [Effect::Begin(Epoch(2))], "a whole log");
}

#[test]
fn a_slave_acknowledges_what_is_flushed() {
    let mut b = slave();
    b.hears(welcome(1, Catchup::Resume));
    let frames = Message::Frames { epoch: Epoch(1), from: Lsn(30), end: Lsn(50), commit: Lsn(40) };
    let said = b.hears(Input::Message(LINK, frames)).to_vec();
    assert_eq!(said, [Effect::Store, Effect::Committed(Lsn(30))]);
    assert_eq!(b.hears(Input::Appended { end: Lsn(50), begins: vec![] }), [], "not flushed");
    let (received, durable) = (Lsn(50), Lsn(50));
    let ack = Message::Ack { epoch: Epoch(1), received, durable };
    assert_eq!(b.hears(Input::Flushed(Lsn(50))), [Effect::Send(LINK, ack)]);
}

#[test]
fn frames_out_of_place_are_not_stored() {
    let mut b = slave();
    b.hears(welcome(1, Catchup::Resume));
    let frames = |epoch, from, end| {
        let commit = Lsn(0);
        Input::Message(LINK, Message::Frames { epoch: Epoch(epoch), from: Lsn(from), end: Lsn(end), commit })
    };
    assert_eq!(b.hears(frames(1, 20, 40)), [], "stored already, in part");
    assert_eq!(b.hears(frames(1, 40, 50)), [Effect::Follow(A)], "something is missing: it greets again");
}

#[test]
fn a_slave_that_promised_a_newer_epoch_refuses_the_old_master() {
    let mut b = slave();
    b.hears(welcome(1, Catchup::Resume));
    assert_eq!(b.hears(Input::TakeOver { keep: vec![] }), [], "B is not in sync");
    assert_eq!(
        b.hears(welcome(3, Catchup::Resume)),
        [Effect::Promise(Epoch(3))],
        "heard from another master"
    );
    b.hears(Input::Promised(Epoch(3)));
    b.hears(Input::Connected(LINK));
    let old = Message::Heartbeat { epoch: Epoch(1), commit: Lsn(0) };
    let refused = Effect::Send(LINK, Message::Refused { promised: Epoch(3) });
    assert_eq!(b.hears(Input::Message(LINK, old)), [refused]);
}

#[test]
fn with_too_few_copies_producers_are_refused_and_the_rest_goes_on() {
    let mut config = formed();
    config.min_in_sync = 2;
    let mut a = Subject::new(A, Durable::default());
    a.hears(Input::Config(config));
    a.hears(Input::Promised(Epoch(1)));
    a.hears(Input::Appended { end: Lsn(10), begins: vec![begin(1, 0)] });
    assert_eq!(a.hears(Input::Flushed(Lsn(10))), [Effect::Committed(Lsn(10))]);
    assert!(a.replica.serving().is_some() && !a.replica.accepts_producers());
}

#[test]
fn on_the_way_to_async_a_changed_session_matters_before_anything_counts_unflushed() {
    let policy = FlushPolicy { mode: FlushMode::Async, interval_ms: 500 };
    let mut a = master_with_slave();
    a.hears(Input::SetFlushPolicy(policy));
    let (id, config) = a.proposal();
    assert_eq!(config.flush_mode, FlushMode::Async);
    assert!(!a.replica.may_defer_flush());
    assert_eq!(a.hears(Input::Answered(id, Answer::Done)), [Effect::SetFlushPolicy(policy)]);
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert!(!a.replica.may_defer_flush(), "the log does not say so yet");
    a.hears(Input::FlushMode(FlushMode::Async));
    assert!(a.replica.may_defer_flush());
    assert_eq!(a.hears(ack(20, 10)), [Effect::Committed(Lsn(20))]);
    assert_eq!(a.replica.flush_mode(), Some(FlushMode::Async));
}

#[test]
fn on_the_way_to_sync_all_is_flushed_everywhere_before_sessions_matter_no_more() {
    let mut a = master_with_slave();
    let config = Config { version: 9, flush_mode: FlushMode::Async, ..a.replica.config().unwrap().clone() };
    a.hears(Input::Config(config));
    a.hears(Input::FlushMode(FlushMode::Async));
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    a.hears(ack(20, 10));
    let policy = FlushPolicy::default();
    assert_eq!(a.hears(Input::SetFlushPolicy(policy)), [Effect::SetFlushPolicy(policy)]);
    a.hears(Input::Appended { end: Lsn(30), begins: vec![] });
    a.hears(Input::FlushMode(FlushMode::Sync));
    assert_eq!(a.hears(ack(30, 10)), [], "written is not flushed");
    assert_eq!(a.hears(Input::Flushed(Lsn(30))), []);
    assert_eq!(a.hears(ack(30, 30)).first(), Some(&Effect::Committed(Lsn(30))));
    let (_, config) = a.proposal();
    assert_eq!(config.flush_mode, FlushMode::Sync);
}

#[test]
fn in_async_mode_two_copies_count_when_written_and_one_when_flushed() {
    let mut a = master_with_slave();
    let config = Config { version: 9, flush_mode: FlushMode::Async, ..a.replica.config().unwrap().clone() };
    a.hears(Input::Config(config.clone()));
    a.hears(Input::FlushMode(FlushMode::Async));
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert_eq!(a.hears(ack(20, 10)), [Effect::Committed(Lsn(20))]);

    a.hears(Input::Disconnected(LINK));
    let alone = Config { version: 10, in_sync: BTreeMap::from([(A, S)]), ..config };
    a.hears(Input::Config(alone));
    assert_eq!(a.hears(Input::Appended { end: Lsn(30), begins: vec![] }), []);
    assert_eq!(a.hears(Input::Flushed(Lsn(30))).first(), Some(&Effect::Committed(Lsn(30))));
}

#[test]
fn a_master_that_leaves_in_async_waits_until_its_successor_has_flushed() {
    let mut a = master_with_slave();
    let config = Config { version: 9, flush_mode: FlushMode::Async, ..a.replica.config().unwrap().clone() };
    a.hears(Input::Config(config));
    a.hears(Input::FlushMode(FlushMode::Async));
    a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
    assert_eq!(a.hears(ack(20, 10)), [Effect::Committed(Lsn(20))]);
    assert_eq!(a.hears(Input::HandOver { to: B, leaves: true }), [], "its machine may lose power");
    a.hears(ack(20, 20));
    assert_eq!(a.proposal().1.in_sync, BTreeMap::from([(B, S)]));
}
