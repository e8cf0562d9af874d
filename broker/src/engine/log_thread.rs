//! The one thread that owns the log and the shard: takes what waits, decides, writes, flushes, and only then lets
//! the answers out. The flush in progress is the time in which the next batch gathers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rq_core::clock::LogClock;
use rq_core::ids::{LogTime, Lsn, Ticket};
use rq_core::queue::request::{Answer, Expired, Name, Request};
use rq_core::queue::{Shard, State};
use rq_log::Disk;

use super::figures::Published;
use super::frames::{Frames, fail};
use super::inbox::{BATCH_BYTES, Inbox, Reply, Work};
use super::release::{Release, Releases};
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

/// What the log thread asks of the one that keeps house: to look what can be dropped of the log.
pub(super) struct Chore {
    /// The state, complete up to its `applied`, which is durable.
    pub(super) state: State,
    /// Log time of the asking: while nothing is written, the state's own stands still.
    pub(super) now: LogTime,
    /// It is to be written as a checkpoint. Else only what it keeps is looked at.
    pub(super) checkpoint: bool,
}

/// The log thread.
pub(super) struct LogThread<D: Disk> {
    pub(super) inbox: Arc<Inbox>,
    pub(super) shard: Shard,
    pub(super) frames: Frames<D>,
    pub(super) clock: LogClock,
    pub(super) published: Arc<Published>,
    pub(super) chores: Sender<Chore>,
    pub(super) checkpoints: CheckpointPolicy,
    pub(super) last_checkpoint: (Lsn, Instant),
    pub(super) last_chore: Instant,
    /// Whether the newest batch found more than the reserve.
    pub(super) has_room: bool,
    /// Where the log may begin, once that is committed.
    pub(super) drop_below: Option<Lsn>,
    /// Callers whose receive waits.
    pub(super) waiting: HashMap<Ticket, (Reply, Option<Name>)>,
    /// Where committed answers go.
    pub(super) releases: Releases,
}

impl<D: Disk> LogThread<D> {
    /// Works until the inbox is closed and empty; then closes the log.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let timeout = self.until_wakeup();
            if !self.inbox.take(&mut batch, timeout) {
                break;
            }
            self.work_off(&mut batch);
            self.keep_house_if_due();
        }
        for (_, (reply, _)) in self.waiting.drain() {
            let _ = reply.send(Err(EngineError::Stopping));
        }
        if self.frames.end() > self.last_checkpoint.0 {
            self.ask_to_keep_house(true);
        }
        drop(self.chores);
        if let Err(error) = self.frames.log.close() {
            fail(&error);
        }
    }

    fn until_wakeup(&mut self) -> Option<Duration> {
        let now = self.clock.advance(clock::read());
        let mut wakeup = self.shard.next_wakeup().map(|at| Duration::from_millis(at.since(now)));
        if !self.has_room {
            // What is due must wait for room.
            wakeup = wakeup.map(|wakeup| wakeup.max(NO_ROOM_PAUSE));
        }
        // An idle broker still writes its checkpoint, and drops what grows old.
        let dirty = self.frames.end() > self.last_checkpoint.0;
        let last = if dirty { self.last_checkpoint.1 } else { self.last_chore };
        let chore = Some(self.chores_every().saturating_sub(last.elapsed()));
        [wakeup, chore].into_iter().flatten().min()
    }

    /// A full disk gets room by checkpoints: segments are dropped only below the older one.
    fn chores_every(&self) -> Duration {
        let every = self.checkpoints.every;
        if self.shard.accepts_messages() { every } else { every.min(FULL_DISK_CHECKPOINT) }
    }

    fn work_off(&mut self, batch: &mut Vec<Work>) {
        let space = self.frames.log.space();
        self.shard.set_free_bytes(space.available_bytes);
        self.published.space(space, self.shard.accepts_messages());
        if !self.shard.accepts_messages() {
            self.shard.set_pinned_by(self.published.idle_groups().first().cloned());
        }
        let now = self.clock.advance(clock::read());
        self.frames.at(now);
        let (mut releases, mut answers) = (Vec::with_capacity(batch.len()), Vec::new());
        let (mut permits, mut views) = (Vec::with_capacity(batch.len()), Vec::new());
        self.has_room = space.available_bytes >= LOG_RESERVE_BYTES;
        for work in batch.drain(..) {
            match work {
                Work::Request { request, reply, .. } if !(self.has_room || makes_room(&request)) => {
                    let _ = reply.send(Err(EngineError::Overloaded));
                }
                Work::Request { ticket, request, reply, group, permit } => {
                    permits.push(permit);
                    self.shard.step(now, ticket, request, &mut self.frames, &mut answers);
                    self.waiting.insert(ticket, (reply, group));
                    self.collect(&mut answers, &mut releases);
                }
                Work::Internal(request) => {
                    self.shard.step(now, INTERNAL, request, &mut self.frames, &mut answers);
                    self.collect(&mut answers, &mut releases);
                }
                Work::Cancel(ticket) => {
                    self.shard.cancel(ticket);
                    self.waiting.remove(&ticket);
                }
                Work::Inspect(view) => views.push(view),
            }
        }
        if self.has_room {
            self.shard.tick(now, &mut self.frames, &mut answers);
        } else {
            self.shard.expire_polls(now, &mut answers);
        }
        self.collect(&mut answers, &mut releases);
        self.commit();
        // What people are shown is durable too.
        for view in views {
            view(&self.shard);
        }
        let requests = permits.len();
        drop(permits);
        // All they depend on is committed now.
        self.releases.send(releases);
        self.drop_segments();
        self.published.batch(requests);
    }

    /// Pairs answers with their callers.
    fn collect(&mut self, answers: &mut Vec<(Ticket, Answer)>, releases: &mut Vec<Release>) {
        for (ticket, answer) in answers.drain(..) {
            if let Answer::Retain(retained) = answer {
                self.drop_below = Some(retained.log_start);
                for Expired { group, topic, messages } in &retained.expired {
                    tracing::warn!(%group, %topic, messages, "an inactive group gave up messages it had not consumed");
                }
                self.published.expired(self.shard.state().expired_messages());
            } else if let Some((reply, group)) = self.waiting.remove(&ticket) {
                releases.push(Release { reply, group, answer });
            }
        }
    }

    /// Makes everything appended durable. Nothing that was decided before leaves before this returns.
    fn commit(&mut self) {
        let started = Instant::now();
        let before = self.frames.log.durable();
        let durable = self.frames.flush();
        self.shard.applied_up_to(durable);
        if durable > before {
            self.published.flushed(self.frames.log.start(), durable, started.elapsed());
        }
    }

    /// Removes the segments that a committed record lets go.
    fn drop_segments(&mut self) {
        let Some(below) = self.drop_below.take() else { return };
        match self.frames.log.drop_below(below) {
            Ok(start) => self.published.dropped_below(start),
            Err(error) => fail(&error),
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
        }
    }

    /// All of the state is durable: `commit` has just flushed it.
    fn ask_to_keep_house(&mut self, checkpoint: bool) {
        self.last_chore = Instant::now();
        let now = self.clock.advance(clock::read());
        let _ = self.chores.send(Chore { state: self.shard.state().clone(), now, checkpoint });
    }
}

/// How soon a log thread without room looks again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Whether a request is worked off even from the reserve: what ends deliveries or removes things leads to room, and
/// a send is refused by the shard, which says why.
const fn makes_room(request: &Request) -> bool {
    matches!(
        request,
        Request::Send(_)
            | Request::Ack(_)
            | Request::DeleteTopic(_)
            | Request::DeleteGroup(_)
            | Request::Retain(_)
    )
}

/// How often at least that is done while the disk is too full for new messages.
const FULL_DISK_CHECKPOINT: Duration = Duration::from_secs(1);

/// Ticket of the engine's own requests; callers' begin at 1.
const INTERNAL: Ticket = Ticket(0);
