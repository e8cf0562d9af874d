//! The one thread that owns the log and the shard: takes what waits, decides, writes, flushes, and lets answers out when
//! all they depend on is committed. The flush in progress is the time in which the next batch gathers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rq_core::clock::LogClock;
use rq_core::ids::{LogTime, Lsn, Ticket};
use rq_core::queue::request::{Answer, Expired, Name, Request};
use rq_core::queue::{Limits, State};
use rq_core::replication::{Gate, Input};
use rq_log::{Checkpoints, LogReader, StdDisk, WriteError};

use super::compare::{Comparing, Marked};
use super::figures::Published;
use super::frames::{Frames, fail};
use super::inbox::{BATCH_BYTES, Batch, Inbox, Reply, Work};
use super::member::Member;
use super::queues::Queues;
use super::release::{Held, Later, Release, Releases};
use super::{EngineError, clock};

/// Below this nothing is worked off that needs the log. A batch without new messages fits in it.
const LOG_RESERVE_BYTES: u64 = 1 << 20;
/// New messages are refused at the latest when less than this is free: a batch of them, the largest record, and the
/// reserve fit in it.
pub(super) const FREE_BYTES_MIN: u64 = BATCH_BYTES as u64 + rq_log::RECORD_LIMIT as u64 + LOG_RESERVE_BYTES;

/// When a checkpoint is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckpointPolicy {
    pub(super) every_bytes: u64,
    pub(super) every: Duration,
}

/// What the log thread asks of the one that keeps house.
pub(super) struct Chore {
    /// The state, complete up to its `applied`, which is committed.
    pub(super) state: State,
    /// Log time of the asking: while nothing is written, the state's own stands still.
    pub(super) now: LogTime,
    /// It is to be written as a checkpoint.
    pub(super) checkpoint: bool,
    /// What the log may let go of is to be found out: by a master alone, whose slaves follow it.
    pub(super) retain: bool,
    /// The log that it is about.
    pub(super) reader: LogReader<StdDisk>,
    pub(super) checkpoints: Checkpoints<StdDisk>,
}

/// Work of the housekeeping thread.
pub(super) enum Task {
    /// Checkpoint and retention.
    House(Box<Chore>),
    /// Hash the state at a mark.
    Hash(Marked),
}

/// The log thread.
pub(super) struct LogThread {
    pub(super) inbox: Arc<Inbox>,
    pub(super) queues: Queues,
    pub(super) limits: Limits,
    pub(super) frames: Frames<StdDisk>,
    pub(super) member: Member,
    pub(super) clock: LogClock,
    pub(super) published: Arc<Published>,
    pub(super) chores: Sender<Task>,
    pub(super) comparing: Comparing,
    pub(super) checkpoints: CheckpointPolicy,
    pub(super) last_checkpoint: (Lsn, Instant),
    pub(super) last_chore: Instant,
    /// Whether the newest batch found more than the reserve.
    pub(super) has_room: bool,
    /// What this round keeps back.
    pub(super) held: Vec<(bool, Held)>,
    /// Where the log may begin, as this round has decided.
    pub(super) dropping: Vec<Lsn>,
    /// What waits for the commit.
    pub(super) gate: Gate<Held>,
    /// What waits for the commit and for the flush here: with `flushMode: Async` that comes later.
    pub(super) flushed_gate: Gate<Later>,
    pub(super) last_flush: Instant,
    /// Callers whose request has no answer yet.
    pub(super) waiting: HashMap<Ticket, (Reply, Option<Name>)>,
    /// None is to wait any more.
    pub(super) ends_waits: bool,
    /// Where committed answers go.
    pub(super) releases: Releases,
}

impl LogThread {
    /// Works until the inbox is closed and empty; then closes the log.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        loop {
            let timeout = self.until_wakeup();
            if !self.inbox.take(&mut batch, timeout) {
                break;
            }
            loop {
                self = self.turn(&mut batch).unwrap_or_else(|error| fail(&error));
                if batch.is_empty() {
                    break;
                }
            }
        }
        self.end().unwrap_or_else(|error| fail(&error));
    }

    /// One round: the news of the cluster, then requests, then one flush for both.
    fn turn(mut self, batch: &mut Batch) -> Result<Self, WriteError> {
        self.watch_time()?;
        loop {
            if let Some(reopening) = self.member.reopening.take() {
                return self.reopen(reopening);
            }
            let Some(news) = batch.news.pop_front() else { break };
            self.hear(news)?;
        }
        self.work_off(&mut batch.work);
        self.flush()?;
        self.keep_house_if_due();
        Ok(self)
    }

    fn end(mut self) -> Result<(), WriteError> {
        self.let_go(EngineError::Stopping);
        self.sync()?;
        if self.frames.end() > self.last_checkpoint.0 {
            self.ask_to_keep_house(true);
            self.let_out();
        }
        // What still waits for a slave may be committed or not: nobody here will know.
        self.forget_answers();
        drop(self.chores);
        self.frames.log.close()
    }

    fn until_wakeup(&mut self) -> Option<Duration> {
        let now = self.clock.advance(clock::read());
        let shard = self.queues.shard().and_then(|shard| shard.next_wakeup());
        let mut wakeup = shard.map(|at| Duration::from_millis(at.since(now)));
        if !self.has_room {
            // What is due must wait for room.
            wakeup = wakeup.map(|wakeup| wakeup.max(NO_ROOM_PAUSE));
        }
        // An idle broker still writes its checkpoint, and drops what grows old.
        let dirty = self.frames.end() > self.last_checkpoint.0;
        let last = if dirty { self.last_checkpoint.1 } else { self.last_chore };
        let chore = Some(self.chores_every().saturating_sub(last.elapsed()));
        let flush = (self.frames.log.durable() < self.frames.end())
            .then(|| self.flush_interval().saturating_sub(self.last_flush.elapsed()));
        [wakeup, chore, flush, self.member.until_tick()].into_iter().flatten().min()
    }

    /// A full disk gets room by checkpoints: segments are dropped only below the older one.
    fn chores_every(&mut self) -> Duration {
        let every = self.checkpoints.every;
        if self.accepts_messages() { every } else { every.min(FULL_DISK_CHECKPOINT) }
    }

    fn accepts_messages(&mut self) -> bool {
        self.queues.shard().is_none_or(|shard| shard.accepts_messages())
    }

    fn work_off(&mut self, batch: &mut Vec<Work>) {
        let space = self.frames.log.space();
        let now = self.clock.advance(clock::read());
        self.frames.at(now);
        self.has_room = space.available_bytes >= LOG_RESERVE_BYTES;
        if let Queues::Master(shard) = &mut self.queues {
            shard.set_free_bytes(self.member.room(space.available_bytes));
            if !shard.accepts_messages() {
                shard.set_pinned_by(self.published.idle_groups().first().cloned());
            }
        }
        self.member.tell_room(space.available_bytes);
        let accepts = self.accepts_messages();
        self.published.space(space, accepts);
        let (mut answers, mut permits) = (Vec::new(), Vec::with_capacity(batch.len()));
        let serves = self.member.replica.serving().is_some();
        if serves && self.has_room {
            self.compare_if_due(now);
        }
        for work in batch.drain(..) {
            if matches!(work, Work::EndWaits) {
                self.ends_waits = true;
                continue;
            }
            let Queues::Master(shard) = &mut self.queues else {
                refuse(work);
                continue;
            };
            match work {
                Work::Request { reply, .. } if !serves => {
                    let _ = reply.send(Err(EngineError::NotMaster));
                }
                Work::Request { request: Request::Send(_), reply, .. }
                    if !self.member.replica.accepts_producers() =>
                {
                    let _ = reply.send(Err(EngineError::TooFewInSync));
                }
                Work::Request { request, reply, .. } if !(self.has_room || makes_room(&request)) => {
                    let _ = reply.send(Err(EngineError::Overloaded));
                }
                Work::Request { ticket, request, reply, group, permit } => {
                    permits.push(permit);
                    shard.step(now, ticket, request, &mut self.frames, &mut answers);
                    self.waiting.insert(ticket, (reply, group));
                    self.collect(&mut answers);
                }
                Work::Internal(request) if serves => {
                    shard.step(now, INTERNAL, request, &mut self.frames, &mut answers);
                    self.collect(&mut answers);
                }
                Work::Cancel(ticket) => {
                    shard.cancel(ticket);
                    self.waiting.remove(&ticket);
                }
                Work::Mark(reply) if serves && self.has_room => self.mark_for(now, reply),
                Work::Inspect(view) if serves => {
                    let seen = view(Some(shard));
                    self.hold(false, Held::View(seen));
                }
                work => refuse(work),
            }
        }
        if let (true, Queues::Master(shard)) = (serves, &mut self.queues) {
            if self.has_room {
                shard.tick(now, &mut self.frames, &mut answers);
            } else {
                shard.expire_polls(now, &mut answers);
            }
            self.collect(&mut answers);
        }
        if self.ends_waits {
            self.let_go(EngineError::Stopping);
        }
        self.tell_of_the_held();
        let requests = permits.len();
        drop(permits);
        self.published.batch(requests);
        self.published.log_time_ahead(self.clock.skew_ms());
    }

    /// Pairs answers with their callers.
    fn collect(&mut self, answers: &mut Vec<(Ticket, Answer)>) {
        for (ticket, answer) in answers.drain(..) {
            let delivery = matches!(answer, Answer::Receive(_));
            if let Answer::Retain(retained) = answer {
                for Expired { group, topic, messages } in &retained.expired {
                    tracing::warn!(%group, %topic, messages, "an inactive group gave up messages it had not consumed");
                }
                self.published.expired(self.queues.state().expired_messages());
                self.dropping.push(retained.log_start);
            } else if let Some((reply, group)) = self.waiting.remove(&ticket) {
                self.hold(delivery, Held::Answer(Release { reply, group, answer }));
            }
        }
    }

    /// Lets those go who still wait: nothing was done for them. Who has got something is answered when that is committed.
    pub(super) fn let_go(&mut self, why: EngineError) {
        for (ticket, (reply, _)) in self.waiting.drain() {
            if let Queues::Master(shard) = &mut self.queues {
                shard.cancel(ticket);
            }
            let _ = reply.send(Err(why));
        }
    }

    /// Keeps something back until all of this round is committed.
    pub(super) fn hold(&mut self, delivery: bool, held: Held) {
        self.held.push((delivery, held));
    }

    /// How long what was written may wait for its flush.
    fn flush_interval(&self) -> Duration {
        let policy = self.queues.state().flush_policy();
        if self.member.replica.may_defer_flush() {
            Duration::from_millis(policy.interval_ms.into())
        } else {
            Duration::ZERO
        }
    }

    /// Writes what was decided, says so to the slaves, and makes it durable here while it travels to them.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        let before = self.member.replica.end();
        let end = self.frames.write();
        for (delivery, held) in self.held.drain(..) {
            self.gate.wait(end, delivery, held);
        }
        for below in self.dropping.drain(..) {
            self.flushed_gate.wait(end, false, Later::Drop(below));
        }
        if let Some(shard) = self.queues.shard() {
            shard.applied_up_to(end);
        }
        if end > before {
            self.step(Input::Appended { end, begins: Vec::new() })?;
        }
        self.member.tell_progress();
        if self.last_flush.elapsed() >= self.flush_interval() {
            self.sync()?;
        }
        self.let_out();
        self.member.tell_view(self.queues.state().flush_policy().interval_ms);
        Ok(())
    }

    /// Makes durable what was written.
    fn sync(&mut self) -> Result<(), WriteError> {
        let (started, before) = (Instant::now(), self.frames.log.durable());
        let durable = self.frames.log.sync()?;
        self.last_flush = Instant::now();
        if durable > before {
            self.published.flushed(self.frames.log.start(), durable, started.elapsed());
        }
        if durable > self.member.replica.durable() {
            self.step(Input::Flushed(durable))?;
        }
        Ok(())
    }

    /// Lets out what is committed.
    pub(super) fn let_out(&mut self) {
        let commit = self.member.replica.commit();
        self.frames.committed(commit);
        self.published.committed(commit);
        let mut releases = Vec::new();
        // Answers are a master's, and it counts itself: what is committed is flushed here, or need not be.
        while let Some(held) = self.gate.pass(commit) {
            match held {
                // Also at the end: by now too few copies may be in sync.
                Held::Answer(Release { reply, answer: Answer::Send(Ok(_)), .. })
                    if !self.member.replica.accepts_producers() =>
                {
                    let _ = reply.send(Err(EngineError::Unknown));
                }
                Held::Answer(release) => releases.push(release),
                Held::View(view) => view(),
                Held::Hash(state) => drop(self.chores.send(Task::Hash(state))),
            }
        }
        self.releases.send(releases);
        // A slave that is not counted hears of commits before its own disk has them; its checkpoints must not.
        while let Some(later) = self.flushed_gate.pass(commit.min(self.frames.log.durable())) {
            match later {
                Later::Drop(below) => self.drop_segments(below),
                Later::Chore(chore) => drop(self.chores.send(Task::House(chore))),
            }
        }
    }

    /// Answers what waits for a commit that this replica will not hear of.
    pub(super) fn forget_answers(&mut self) {
        for held in self.gate.clear() {
            if let Held::Answer(Release { reply, .. }) = held {
                let _ = reply.send(Err(EngineError::Unknown));
            }
        }
    }

    fn keep_house_if_due(&mut self) {
        let (lsn, at) = self.last_checkpoint;
        let end = self.frames.end();
        let every = self.chores_every();
        let due = end.0 - lsn.0 >= self.checkpoints.every_bytes || at.elapsed() >= every;
        let checkpoint = end > lsn && due;
        if checkpoint {
            self.last_checkpoint = (end, Instant::now());
        }
        if checkpoint || self.last_chore.elapsed() >= every {
            self.ask_to_keep_house(checkpoint);
            self.let_out();
        }
    }

    /// A checkpoint must hold nothing that is not committed: what is not may be cut off again.
    fn ask_to_keep_house(&mut self, checkpoint: bool) {
        self.last_chore = Instant::now();
        let now = self.clock.advance(clock::read());
        let (reader, checkpoints) = (self.frames.log.reader(), self.frames.log.checkpoints());
        let state = self.queues.state().clone();
        let retain = self.member.replica.serving().is_some();
        let chore = Chore { state, now, checkpoint, retain, reader, checkpoints };
        self.flushed_gate.wait(self.frames.end(), false, Later::Chore(Box::new(chore)));
    }
}

/// Nothing is done by who is not the master.
fn refuse(work: Work) {
    match work {
        Work::Request { reply, .. } => drop(reply.send(Err(EngineError::NotMaster))),
        Work::Inspect(view) => view(None)(),
        Work::Mark(reply) => {
            let _ = reply.send(Err(EngineError::NotMaster));
        }
        // What was popped here is another master's to take back, when its lease lapses at the latest.
        Work::Internal(_) | Work::Cancel(_) | Work::EndWaits => {}
    }
}

/// How soon a log thread without room looks again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Whether a request is worked off even from the reserve: what ends deliveries or waiting, or removes things, leads to room,
/// and a send is refused by the shard, which says why.
const fn makes_room(request: &Request) -> bool {
    matches!(
        request,
        Request::Send(_)
            | Request::Ack(_)
            | Request::EndTransaction(_)
            | Request::Recall(_)
            | Request::PurgeDeadLetters(_)
            | Request::DeleteTopic(_)
            | Request::DeleteGroup(_)
            | Request::Retain(_)
    )
}

/// How often at least that is done while the disk is too full for new messages.
const FULL_DISK_CHECKPOINT: Duration = Duration::from_secs(1);

/// Ticket of the engine's own requests; callers' begin at 1.
const INTERNAL: Ticket = Ticket(0);
