//! Decides what a request does, on the master: checks it against the state, appends records that carry the
//! decision, applies them, answers. An answer may leave only when all that was appended before it is committed:
//! it depends on nothing newer, so the driver needs to know no more than where the log ended when it was given.

mod admin;
mod checks;
mod consume;
mod delayed;
mod receive;
mod replay;
mod retain;
mod send;
mod transactions;
mod vouch;
mod watch;

use std::sync::Arc;

use self::checks::Checks;
pub use self::transactions::TransactionLimits;
pub use self::vouch::RENEWED_LEASE_MS;
use self::watch::Watch;
use super::duplicates::SendIndex;
use super::idle::IdleGroup;
use super::polls::Polls;
use super::request::{Answer, Request};
use super::state::{Compare, State};
use super::view::OpenTransaction;
use crate::config::FlushPolicy;
use crate::ids::{Epoch, GroupId, LogTime, Lsn, Offset, QueueId, Ticket, TopicId};
use crate::record::Record;

/// Where records go. The driver places each in the log and says where.
pub trait Append {
    /// Places a record in the log and returns the LSN of its length prefix.
    fn append(&mut self, record: &Record<'_>) -> Lsn;
}

/// Bounds of a shard.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Topics are made by the first send or receive that names them.
    pub auto_create_topics: bool,
    /// Consumer groups are made by the first use.
    pub auto_create_groups: bool,
    /// Queues of a topic made without a number.
    pub default_queues: u16,
    /// Most topics.
    pub topics_max: usize,
    /// Most consumer groups.
    pub groups_max: usize,
    /// Most receives that wait at once.
    pub polls_max: usize,
    /// Most messages of one queue that a group has in flight. Those waiting out a back-off do not count.
    pub in_flight_max: u32,
    /// Most messages of one queue that wait behind their message group for one consumer group.
    pub parked_max: u32,
    /// Most messages of one queue that were delivered to a group and are not done, those waiting out a back-off
    /// included. Beyond it the group gets nothing new of that queue: each takes memory, and only what is below a
    /// position without such exceptions takes none.
    pub pending_max: u32,
    /// Most delayed messages that wait at once. Each takes some 30 bytes of memory, with a tag 40.
    pub delayed_max: usize,
    /// Most half messages that wait at once.
    pub halves_max: usize,
    /// When producers are asked how their transactions ended.
    pub transactions: TransactionLimits,
    /// A message that its consumer wants back at once, delivery after delivery, comes back no sooner than this, in
    /// milliseconds; the first time it does.
    pub retry_floor_ms: u64,
    /// New messages are refused while less than this is free, in bytes.
    pub free_bytes_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            auto_create_topics: false,
            auto_create_groups: true,
            default_queues: 8,
            topics_max: 100_000,
            groups_max: 100_000,
            polls_max: 100_000,
            in_flight_max: 20_000,
            parked_max: 10_000,
            pending_max: 100_000,
            delayed_max: 20_000_000,
            halves_max: 1_000_000,
            transactions: TransactionLimits::default(),
            retry_floor_ms: 1_000,
            free_bytes_min: 0,
        }
    }
}

/// Names one message as a group sees it.
pub(crate) type Place = (GroupId, TopicId, QueueId, Offset);

/// One shard on its master.
#[derive(Debug)]
pub struct Shard {
    pub(crate) state: State,
    pub(crate) limits: Limits,
    polls: Polls,
    /// What the fullest in-sync replica has left for new messages.
    free_bytes: u64,
    /// Who is named where that is too little.
    pinned_by: Option<Arc<IdleGroup>>,
    /// Spreads sends without a message group over the queues.
    sends: u64,
    /// Spreads the first queue that a receive looks at. Not the same counter: whoever sends and receives in turn
    /// would leave out every other queue.
    looks: u64,
    /// Rebuilt from the state, not part of it.
    watch: Watch,
    /// Likewise.
    sent: SendIndex,
    /// Likewise.
    checks: Checks,
    /// What the driver is to tell people about.
    given_up: Vec<OpenTransaction>,
}

/// One call of [`Shard::step`]: its time, and where records and answers go.
pub(crate) struct Step<'a> {
    pub(crate) now: LogTime,
    pub(crate) log: &'a mut dyn Append,
    pub(crate) answers: &'a mut Vec<(Ticket, Answer)>,
}

impl Shard {
    /// A master over a recovered state.
    #[must_use]
    pub fn new(state: State, limits: Limits) -> Self {
        let mut shard = Self {
            state,
            limits,
            polls: Polls::default(),
            free_bytes: u64::MAX,
            pinned_by: None,
            sends: 0,
            looks: 0,
            watch: Watch::default(),
            sent: SendIndex::default(),
            checks: Checks::default(),
            given_up: Vec::new(),
        };
        shard.checks = Checks::of(&shard.state.held, shard.limits.transactions.checks_max);
        shard.sent.follow(&shard.state.duplicates);
        shard.watch_all();
        shard
    }

    /// The replicated state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The driver finished a frame: everything below its end is in the state.
    pub fn applied_up_to(&mut self, end: Lsn) {
        self.state.applied_up_to(end);
    }

    /// See [`State::take_compare`].
    pub fn take_compare(&mut self) -> Compare {
        self.state.take_compare()
    }

    /// Has every replica hash its state as of now, and tells the position that stands for that.
    pub fn mark(&mut self, now: LogTime, log: &mut dyn Append) -> Lsn {
        let mut answers = Vec::new();
        self.append(&mut Step { now, log, answers: &mut answers }, &Record::StateMark)
    }

    /// Tells every replica what the master's state was at a mark.
    pub fn tell_hash(&mut self, now: LogTime, of: Lsn, hash: u128, log: &mut dyn Append) {
        let mut answers = Vec::new();
        self.append(&mut Step { now, log, answers: &mut answers }, &Record::StateHash { of, hash });
    }

    /// Receives that wait for a message.
    pub fn waiting_polls(&self) -> usize {
        self.polls.len()
    }

    /// What the fullest in-sync replica has left.
    pub fn set_free_bytes(&mut self, free_bytes: u64) {
        self.free_bytes = free_bytes;
    }

    /// Of the groups that owe messages and do not consume, the one that keeps most of the log.
    pub fn set_pinned_by(&mut self, pinned_by: Option<Arc<IdleGroup>>) {
        self.pinned_by = pinned_by;
    }

    /// Whether there is room for new messages.
    pub fn accepts_messages(&self) -> bool {
        self.room_for_messages().is_ok()
    }

    /// See [`State::begin_frame`]. Said before [`Shard::start_epoch`]; the other frames of a master tell nothing new.
    pub fn begin_frame(&mut self, epoch: Epoch, first_record: Lsn) {
        self.state.begin_frame(epoch, first_record);
    }

    /// Begins a mastership: the first record of every epoch.
    pub fn start_epoch(&mut self, epoch: Epoch, now: LogTime, log: &mut dyn Append) {
        let mut answers = Vec::new();
        let mut step = Step { now, log, answers: &mut answers };
        self.append(&mut step, &Record::EpochStart { epoch });
        // The leases were extended.
        self.watch_all();
        if self.state.feature_level == 0 {
            self.append(&mut step, &Record::FeatureLevel(super::apply::FEATURE_LEVEL));
            self.append(
                &mut step,
                &Record::DuplicateWindow {
                    millis: super::duplicates::WINDOW_MS,
                    entries: super::duplicates::WINDOW_ENTRIES,
                },
            );
        }
    }

    /// From here on records are flushed by this policy.
    pub fn set_flush_policy(&mut self, policy: FlushPolicy, now: LogTime, log: &mut dyn Append) {
        let mut answers = Vec::new();
        let mut step = Step { now, log, answers: &mut answers };
        self.append(&mut step, &Record::FlushMode(policy));
    }

    /// Carries out one request at log time `now`, which must be the time of the frame that the records go into:
    /// replicas apply them with that. Its answer is given now, or later to a receive that waits.
    pub fn step(
        &mut self,
        now: LogTime,
        ticket: Ticket,
        request: Request,
        log: &mut dyn Append,
        answers: &mut Vec<(Ticket, Answer)>,
    ) {
        let step = &mut Step { now, log, answers };
        let answer = match request {
            Request::Send(send) => Answer::Send(self.send(step, &send)),
            Request::Receive(receive) => match self.receive(step, ticket, receive) {
                Some(answer) => answer,
                None => return,
            },
            Request::Ack(ack) => Answer::Ack(self.ack(step, &ack)),
            Request::ChangeInvisible(change) => Answer::ChangeInvisible(self.change_invisible(step, &change)),
            Request::ForwardToDeadLetters(forward) => {
                Answer::ForwardToDeadLetters(self.forward_to_dead_letters(step, &forward))
            }
            Request::UndoPop(undo) => {
                self.undo_pop(step, &undo);
                Answer::UndoPop
            }
            Request::Vouch(vouch) => {
                self.vouch(step, &vouch);
                Answer::Vouch
            }
            Request::Release(client) => {
                self.release(step, client);
                Answer::Release
            }
            Request::CreateTopic(create) => Answer::CreateTopic(self.create_topic(step, &create)),
            Request::DeleteTopic(name) => Answer::DeleteTopic(self.delete_topic(step, &name)),
            Request::CreateGroup(create) => Answer::CreateGroup(self.create_group(step, &create)),
            Request::UpdateGroup(update) => Answer::UpdateGroup(self.update_group(step, &update)),
            Request::DeleteGroup(name) => Answer::DeleteGroup(self.delete_group(step, &name)),
            Request::Subscribe(subscribe) => Answer::Subscribe(self.subscribe(step, &subscribe)),
            Request::ResolveTopic(name) => Answer::ResolveTopic(self.resolve_topic(step, &name)),
            Request::EndTransaction(end) => Answer::EndTransaction(self.end_transaction(step, &end)),
            Request::Recall(recall) => Answer::Recall(self.recall(step, &recall)),
            Request::TakeChecks(take) => match self.take_checks(step, ticket, &take) {
                Some(checks) => Answer::TakeChecks(checks),
                None => return,
            },
            Request::Checked(checked) => {
                self.checked(step, &checked);
                Answer::Checked
            }
            Request::ReplayDeadLetters(replay) => {
                Answer::ReplayDeadLetters(self.replay_dead_letters(step, &replay))
            }
            Request::PurgeDeadLetters(purge) => {
                Answer::PurgeDeadLetters(self.purge_dead_letters(step, &purge))
            }
            Request::ResetOffset(reset) => Answer::ResetOffset(self.reset_offset(step, &reset)),
            Request::Retain(retain) => Answer::Retain(self.retain(step, &retain)),
        };
        step.answers.push((ticket, answer));
    }

    /// What waits for an answer is no longer wanted.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.polls.remove(ticket);
        self.checks.cancel(ticket);
    }

    /// Serves receives that wait, and does what time has brought. To be called after each batch of steps and
    /// when [`Shard::next_wakeup`] has come.
    pub fn tick(&mut self, now: LogTime, log: &mut dyn Append, answers: &mut Vec<(Ticket, Answer)>) {
        let step = &mut Step { now, log, answers };
        self.bury_exhausted(step);
        self.show_due(step);
        self.serve_checks(step);
        self.serve_polls(step);
        self.expire_polls(now, answers);
    }

    /// Answers the receives that have waited long enough. Appends nothing.
    pub fn expire_polls(&mut self, now: LogTime, answers: &mut Vec<(Ticket, Answer)>) {
        while let Some(ticket) = self.polls.take_expired(now) {
            answers.push((ticket, Answer::Receive(Ok(Vec::new()))));
        }
    }

    /// When [`Shard::tick`] has something to do next, should no request come before.
    pub fn next_wakeup(&self) -> Option<LogTime> {
        let exhausted = self.watch.exhausted.first().map(|(time, _)| *time);
        let due = self.state.held.delayed.next_due();
        [exhausted, due, self.checks.next_time(), self.polls.next_time()].into_iter().flatten().min()
    }

    /// Appends a record and applies it: the only way in which a decision changes the state.
    fn append(&mut self, step: &mut Step<'_>, record: &Record<'_>) -> Lsn {
        let lsn = step.log.append(record);
        if let Err(error) = self.state.apply(lsn, step.now, record) {
            // Decided and applied by the same code on the same state: a mismatch is a bug, and what was appended
            // may not be answered for. Every replica would halt at this record.
            unreachable!("a record just decided does not apply: {error}");
        }
        lsn
    }
}
