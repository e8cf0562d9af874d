//! One simulated process: a replica over its log and its queues. The driver that a real broker has threads for.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use rq_core::clock::{LogClock, Reading};
use rq_core::config::{FlushMode, FlushPolicy};
use rq_core::failover::MasterWatch;
use rq_core::ids::{Epoch, LogTime, Lsn, Session, Ticket};
use rq_core::queue::request::{Answer, Request};
use rq_core::queue::{Append, Limits, Shard, State};
use rq_core::record::{self, Record};
use rq_core::replication::timers::Timers;
use rq_core::replication::{Durable, EpochStart, Gate, Link, Replica};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{FrameBuilder, HEADER_LEN, Log, ReadError, Snapshot, SnapshotFile, SnapshotHead, WriteError};

use crate::housekeeping::Chore;
use crate::recover::{Recovered, apply, epochs};

/// Bytes of frames sent at once.
const SHIPMENT: usize = 64 << 10;
/// Room in a frame for all that one request can lead to here.
const FRAME_ROOM: usize = 32 << 10;

/// The queues: as a slave or in recovery has them, or with the decisions of a master.
pub(crate) enum Queues {
    Slave(Box<State>),
    Master(Box<Shard>),
}

/// What waits for the commit.
pub(crate) enum Held {
    Answer(Ticket, Answer),
    /// The log may begin here.
    Drop(Lsn),
    Chore(Box<Chore>),
}

pub(crate) struct Process {
    /// Events of an earlier life are not for this one.
    pub(crate) life: u32,
    /// How often this process opened its log: what was asked of an earlier one is not for this one.
    pub(crate) opened: u32,
    pub(crate) log: Log<SimulatedDisk>,
    pub(crate) queues: Queues,
    pub(crate) replica: Replica,
    pub(crate) timers: Timers,
    pub(crate) gate: Gate<Held>,
    /// What waits for the flush here as well.
    pub(crate) flushed_gate: Gate<Held>,
    pub(crate) clock: LogClock,
    /// Where the next frames for each slave start.
    pub(crate) ships: BTreeMap<Link, Lsn>,
    /// Checkpoints that slaves fetch.
    pub(crate) snapshots: BTreeMap<Link, SnapshotFile<SimulatedDisk>>,
    /// The checkpoint that this slave fetches, as far as it is here.
    pub(crate) fetched: Option<(Link, SnapshotHead, Vec<u8>)>,
    pub(crate) flush_due: bool,
    pub(crate) ticks: u64,
    /// Where and when the newest checkpoint was asked for, and when the newest chore was.
    pub(crate) last_checkpoint: (Lsn, u64),
    pub(crate) last_chore: u64,
    /// How often it was told to follow a master: only the newest time counts.
    pub(crate) orders: u32,
    /// What this slave hears of its master.
    pub(crate) watch: MasterWatch,
}

pub(crate) fn reading(now: u64) -> Reading {
    let wall_us = now * 1_000 + 1_700_000_000_000_000;
    Reading { monotonic_us: now * 1_000, wall_us }
}

impl Process {
    /// Starts on a disk; none if that fails.
    pub(crate) fn start(disk: &SimulatedDisk, session: Session, life: u32, now: u64) -> Option<Self> {
        let recovered = Recovered::open(disk, None)?;
        let clock = LogClock::start(recovered.state.log_time(), reading(now));
        let found = recovered.found();
        let replica = Replica::new(recovered.log.identity().store_id, session, found);
        let Recovered { log, state, .. } = recovered;
        Some(Self {
            life,
            opened: 1,
            last_checkpoint: (log.checkpoints().newest(), now),
            log,
            queues: Queues::Slave(Box::new(state)),
            replica,
            timers: Timers::default(),
            gate: Gate::default(),
            flushed_gate: Gate::default(),
            clock,
            ships: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            fetched: None,
            flush_due: false,
            ticks: 0,
            last_chore: now,
            orders: 0,
            watch: MasterWatch::default(),
        })
    }

    /// Cuts the log off and rebuilds the queues from what is left; none if the disk fails.
    pub(crate) fn truncate(self, disk: &SimulatedDisk, to: Lsn, now: u64) -> Option<Self> {
        let (process, _) = self.open_anew(now, || Recovered::open(disk, Some(to)))?;
        Some(process)
    }

    /// Replaces the log by the beginning of a copy, and tells what is there then; none if the disk fails.
    pub(crate) fn install(
        self,
        disk: &SimulatedDisk,
        snapshot: &Snapshot,
        now: u64,
    ) -> Option<(Self, Durable)> {
        self.open_anew(now, || Recovered::install(disk, snapshot))
    }

    /// The same slave over another log, with nothing under way.
    fn open_anew(self, now: u64, open: impl FnOnce() -> Option<Recovered>) -> Option<(Self, Durable)> {
        let Self { life, opened, log, replica, timers, ticks, orders, watch, .. } = self;
        drop(log);
        let recovered = open()?;
        let found = recovered.found();
        let Recovered { log, state, .. } = recovered;
        let process = Self {
            life,
            opened: opened + 1,
            // The checkpoint of a copy stands for frames that are still to come.
            last_checkpoint: (log.checkpoints().newest().min(log.end()), now),
            log,
            clock: LogClock::start(state.log_time(), reading(now)),
            queues: Queues::Slave(Box::new(state)),
            replica,
            timers,
            gate: Gate::default(),
            flushed_gate: Gate::default(),
            ships: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            fetched: None,
            flush_due: false,
            ticks,
            last_chore: now,
            orders,
            watch,
        };
        Some((process, found))
    }

    /// Begins a mastership: the first record of its epoch.
    pub(crate) fn begin(&mut self, epoch: Epoch, now: u64) -> Result<Vec<EpochStart>, WriteError> {
        let known = self.replica.history().last_epoch();
        let Queues::Slave(state) = &self.queues else { unreachable!("a master begins no epoch") };
        self.watch = MasterWatch::default();
        self.clock = LogClock::start(state.log_time(), reading(now));
        self.log.prove_again()?;
        let limits = Limits { auto_create_groups: false, ..Limits::default() };
        let mut shard = Box::new(Shard::new(State::clone(state), limits));
        let time = self.clock.time();
        // The frame may go to the next segment, after one that fills this one up and begins the epoch.
        shard.begin_frame(epoch, self.log.end().plus(HEADER_LEN as u64));
        self.frame(epoch, time, |frame| shard.start_epoch(epoch, time, frame))?;
        shard.applied_up_to(self.log.end());
        self.queues = Queues::Master(shard);
        Ok(begins_after(known, self.state()))
    }

    /// Ends a mastership of which everything is committed: the state stays.
    pub(crate) fn hand_over(&mut self) {
        if let Queues::Master(shard) = &self.queues {
            self.queues = Queues::Slave(Box::new(shard.state().clone()));
        }
        self.gate.clear().chain(self.flushed_gate.clear()).for_each(drop);
        self.timers = Timers::default();
        self.ships.clear();
        self.snapshots.clear();
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
            let end = self.log.end();
            match answer {
                Answer::Retain(retained) => {
                    self.flushed_gate.wait(end, delivery, Held::Drop(retained.log_start));
                }
                answer => self.gate.wait(end, delivery, Held::Answer(ticket, answer)),
            }
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

    /// Changes how the log is flushed.
    pub(crate) fn set_flush_policy(&mut self, policy: FlushPolicy, now: u64) -> Result<(), WriteError> {
        let time = self.clock.advance(reading(now));
        let Queues::Master(shard) = &mut self.queues else { unreachable!("a slave changes no mode") };
        let epoch = self.replica.leading().expect("a master");
        let mut frame = Frame::begin(&mut self.log, epoch, time)?;
        shard.set_flush_policy(policy, time, &mut frame);
        frame.finish(&mut self.log, self.replica.commit())?;
        shard.applied_up_to(self.log.end());
        Ok(())
    }

    /// Stores frames of the master. The epochs that began in them, and how the log is flushed if that changed.
    pub(crate) fn store(
        &mut self,
        bytes: &Bytes,
    ) -> Result<(Vec<EpochStart>, Option<FlushMode>), WriteError> {
        let Queues::Slave(state) = &mut self.queues else { unreachable!("a master stores nobody's frames") };
        let (known, kept) = (self.replica.history().last_epoch(), state.log_start());
        let flushed = state.flush_policy().mode;
        let stored = self.log.copy(bytes, |frame| {
            apply(state, &frame);
            Ok::<_, Infallible>(())
        });
        match stored {
            Ok(end) => {
                if state.log_start() > kept {
                    self.flushed_gate.wait(end, false, Held::Drop(state.log_start()));
                }
                let mode = Some(state.flush_policy().mode).filter(|mode| *mode != flushed);
                Ok((begins_after(known, state), mode))
            }
            Err(rq_log::CopyError::Write(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next frames for a slave and where they end, if there are any.
    pub(crate) fn shipment(&self, from: Lsn) -> Result<Option<(Bytes, Lsn)>, ReadError> {
        let frames = self.log.reader().frames(from, SHIPMENT)?;
        let Some(end) = frames.last().map(|last| last.end) else { return Ok(None) };
        let bytes: Vec<_> = frames.into_iter().map(|frame| frame.bytes).collect();
        Ok(Some((bytes.concat().into(), end)))
    }

    pub(crate) fn state(&self) -> &State {
        match &self.queues {
            Queues::Slave(state) => state,
            Queues::Master(shard) => shard.state(),
        }
    }
}

fn begins_after(known: Epoch, state: &State) -> Vec<EpochStart> {
    epochs(state).epochs().iter().filter(|begin| begin.epoch > known).copied().collect()
}

/// One frame, filled by the queue's decisions.
struct Frame {
    builder: FrameBuilder,
    scratch: Vec<u8>,
}

impl Frame {
    fn begin(log: &mut Log<SimulatedDisk>, epoch: Epoch, time: LogTime) -> Result<Self, WriteError> {
        Ok(Self { builder: log.begin(epoch, time, FRAME_ROOM)?, scratch: Vec::new() })
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
