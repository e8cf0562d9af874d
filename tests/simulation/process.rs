//! One simulated process: a replica over its log and its queues. The driver that a real broker has threads for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use rq_core::clock::{LogClock, Reading};
use rq_core::ids::{Epoch, LogTime, Lsn, Session, ShardId, StoreId, Ticket};
use rq_core::queue::request::{Answer, Request};
use rq_core::queue::{Append, Limits, Shard, State};
use rq_core::record::{self, Record};
use rq_core::replication::timers::Timers;
use rq_core::replication::{Durable, EpochHistory, EpochStart, Gate, Link, Replica};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{FrameBuilder, FrameRef, Log, Options, WriteError, open};

const DIR: &str = "/data";
/// The smallest: a run writes far less.
const SEGMENT: u64 = 1 << 20;
/// Bytes of frames sent at once.
const SHIPMENT: usize = 64 << 10;

/// The queues: as a slave or in recovery has them, or with the decisions of a master.
pub(crate) enum Queues {
    Slave(Box<State>),
    Master(Box<Shard>),
}

pub(crate) struct Process {
    /// Events of an earlier life are not for this one.
    pub(crate) life: u32,
    pub(crate) log: Log<SimulatedDisk>,
    pub(crate) queues: Queues,
    pub(crate) replica: Replica,
    pub(crate) timers: Timers,
    pub(crate) gate: Gate<(Ticket, Answer)>,
    pub(crate) clock: LogClock,
    /// Where the next frames for each slave start.
    pub(crate) ships: BTreeMap<Link, Lsn>,
    pub(crate) flush_due: bool,
    pub(crate) ticks: u64,
    /// Since when this slave has heard nothing of its master, and was refused by it.
    pub(crate) master_silent_since: Option<u64>,
    pub(crate) master_refused: Vec<u64>,
}

fn options() -> Options {
    Options {
        cluster: "simulation".to_owned(),
        shard: ShardId(0),
        segment_bytes: SEGMENT,
        prepared_segments: 1,
        tail_cache_bytes: 64 << 10,
        allow_unsafe_filesystem: true,
    }
}

fn reading(now: u64) -> Reading {
    let wall_us = now * 1_000 + 1_700_000_000_000_000;
    Reading { monotonic_us: now * 1_000, wall_us }
}

/// What a log says, replayed.
struct Replayed {
    log: Log<SimulatedDisk>,
    state: State,
    history: EpochHistory,
    commit: Lsn,
}

/// The beginning of an epoch that a frame is, should it be the first one of it.
fn begin_of(frame: &FrameRef<'_>) -> EpochStart {
    EpochStart { epoch: frame.epoch, start: frame.lsn }
}

pub(crate) fn apply(state: &mut State, frame: FrameRef<'_>) {
    for (lsn, record) in frame.records() {
        let applied = state.apply_bytes(lsn, frame.log_time, record);
        applied.unwrap_or_else(|error| panic!("record at {lsn} does not apply: {error}"));
    }
    state.applied_up_to(frame.end());
}

/// None if the disk fails meanwhile.
fn replay(disk: &SimulatedDisk, cut: Option<Lsn>) -> Option<Replayed> {
    let fine = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        assert!(text.contains("cannot be opened"), "recovery failed: {text}");
    };
    let mut recovery = open(disk.clone(), Path::new(DIR), options()).map_err(|error| fine(&error)).ok()?;
    if let Some(cut) = cut {
        recovery.cut(cut).map_err(|error| fine(&error)).ok()?;
    }
    let (mut state, mut history, mut commit) = (State::default(), EpochHistory::default(), Lsn(0));
    let replayed = recovery.replay(|frame| {
        history.extend(&[begin_of(&frame)]);
        commit = commit.max(frame.commit_lsn);
        apply(&mut state, frame);
        Ok::<_, Infallible>(())
    });
    replayed.map_err(|error| fine(&error)).ok()?;
    let log = recovery.finish().map_err(|error| fine(&error)).ok()?;
    Some(Replayed { log, state, history, commit })
}

/// The store id of a disk that is formatted by the first start.
pub(crate) fn store_of(disk: &SimulatedDisk) -> StoreId {
    replay(disk, None).expect("a fresh disk works").log.identity().store_id
}

impl Process {
    /// Starts on a disk; none if that fails.
    pub(crate) fn start(disk: &SimulatedDisk, session: Session, life: u32, now: u64) -> Option<Self> {
        let Replayed { log, state, history, commit } = replay(disk, None)?;
        let found = Durable {
            promised: log.promised_epoch(),
            history,
            start: log.start(),
            end: log.end(),
            flushed: log.durable(),
            commit,
            flush_mode: rq_core::config::FlushMode::Sync,
        };
        let clock = LogClock::start(state.log_time(), reading(now));
        let replica = Replica::new(log.identity().store_id, session, found);
        Some(Self::over(log, state, replica, Timers::default(), clock, life))
    }

    /// Cuts the log off and rebuilds the queues from what is left; none if the disk fails.
    pub(crate) fn truncate(self, disk: &SimulatedDisk, to: Lsn) -> Option<Self> {
        let Self { life, log, replica, timers, clock, .. } = self;
        drop(log);
        let Replayed { log, state, .. } = replay(disk, Some(to))?;
        Some(Self::over(log, state, replica, timers, clock, life))
    }

    /// A slave over a log and what was replayed of it, with nothing under way.
    fn over(
        log: Log<SimulatedDisk>,
        state: State,
        replica: Replica,
        timers: Timers,
        clock: LogClock,
        life: u32,
    ) -> Self {
        Self {
            life,
            log,
            queues: Queues::Slave(Box::new(state)),
            replica,
            timers,
            gate: Gate::default(),
            clock,
            ships: BTreeMap::new(),
            flush_due: false,
            ticks: 0,
            master_silent_since: None,
            master_refused: Vec::new(),
        }
    }

    /// Begins a mastership: the first record of its epoch.
    pub(crate) fn begin(&mut self, epoch: Epoch, now: u64) -> Result<EpochStart, WriteError> {
        let Queues::Slave(state) = &self.queues else { unreachable!("a master begins no epoch") };
        self.clock = LogClock::start(state.log_time(), reading(now));
        self.log.prove_again()?;
        let limits = Limits { auto_create_groups: false, ..Limits::default() };
        let mut shard = Box::new(Shard::new(State::clone(state), limits));
        let start = EpochStart { epoch, start: self.log.end() };
        let time = self.clock.time();
        self.frame(epoch, time, |frame| shard.start_epoch(epoch, time, frame))?;
        shard.applied_up_to(self.log.end());
        self.queues = Queues::Master(shard);
        Ok(start)
    }

    /// Ends a mastership of which everything is committed: the state stays.
    pub(crate) fn hand_over(&mut self) {
        if let Queues::Master(shard) = &self.queues {
            self.queues = Queues::Slave(Box::new(shard.state().clone()));
        }
        self.gate.clear().for_each(drop);
        self.timers = Timers::default();
        self.ships.clear();
    }

    /// Lets the master decide a request; its answers wait for the commit. False if it does not serve.
    pub(crate) fn request(&mut self, now: u64, work: Option<(Ticket, Request)>) -> Result<bool, WriteError> {
        let Some(epoch) = self.replica.serving() else { return Ok(false) };
        let time = self.clock.advance(reading(now));
        let Queues::Master(shard) = &mut self.queues else { return Ok(false) };
        let mut answers = Vec::new();
        let mut frame = Frame::begin(&mut self.log, epoch, time)?;
        if let Some((ticket, request)) = work {
            shard.step(time, ticket, request, &mut frame, &mut answers);
        }
        shard.tick(time, &mut frame, &mut answers);
        frame.finish(&mut self.log, self.replica.commit())?;
        shard.applied_up_to(self.log.end());
        for (ticket, answer) in answers {
            let delivery = matches!(answer, Answer::Receive(_));
            self.gate.wait(self.log.end(), delivery, (ticket, answer));
        }
        Ok(true)
    }

    fn frame(
        &mut self,
        epoch: Epoch,
        time: LogTime,
        fill: impl FnOnce(&mut Frame),
    ) -> Result<(), WriteError> {
        let mut frame = Frame::begin(&mut self.log, epoch, time)?;
        fill(&mut frame);
        frame.finish(&mut self.log, self.replica.commit())
    }

    /// Stores frames of the master. The epochs that began in them.
    pub(crate) fn store(&mut self, bytes: &Bytes) -> Result<Vec<EpochStart>, WriteError> {
        let Queues::Slave(state) = &mut self.queues else { unreachable!("a master stores nobody's frames") };
        let mut history = EpochHistory::default();
        let known = self.replica.history().last_epoch();
        let stored = self.log.copy(bytes, |frame| {
            history.extend(&[begin_of(&frame)]);
            apply(state, frame);
            Ok::<_, Infallible>(())
        });
        match stored {
            Ok(_) => Ok(history.epochs().iter().filter(|begin| begin.epoch > known).copied().collect()),
            Err(rq_log::CopyError::Write(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frames for a slave, if there are any.
    pub(crate) fn shipment(&self, from: Lsn) -> Option<Bytes> {
        let frames = self.log.reader().frames(from, SHIPMENT).expect("a master reads its own log");
        let bytes: Vec<_> = frames.into_iter().map(|frame| frame.bytes).collect();
        (!bytes.is_empty()).then(|| bytes.concat().into())
    }

    /// Where frames end that start at `from`. A frame that fills a segment up covers more than its bytes.
    pub(crate) fn frames_end(&self, from: Lsn, bytes: &Bytes) -> Lsn {
        let end = from.plus(bytes.len() as u64);
        assert!(end <= self.log.end());
        end
    }

    pub(crate) fn state(&self) -> &State {
        match &self.queues {
            Queues::Slave(state) => state,
            Queues::Master(shard) => shard.state(),
        }
    }
}

/// One frame, filled by the queue's decisions.
struct Frame {
    builder: FrameBuilder,
    scratch: Vec<u8>,
}

impl Frame {
    fn begin(log: &mut Log<SimulatedDisk>, epoch: Epoch, time: LogTime) -> Result<Self, WriteError> {
        // Room for all that one request can lead to here.
        Ok(Self { builder: log.begin(epoch, time, 32 << 10)?, scratch: Vec::new() })
    }

    fn finish(self, log: &mut Log<SimulatedDisk>, commit: Lsn) -> Result<(), WriteError> {
        if !self.builder.is_empty() {
            log.append(self.builder, commit)?;
        }
        Ok(())
    }
}

impl Append for Frame {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        self.scratch.clear();
        record::encode(record, &mut self.scratch);
        self.builder.push(&self.scratch)
    }
}
