//! From a data directory to a serving engine: recover, replay, take a new epoch, start the threads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rq_core::clock::LogClock;
use rq_core::codec::Malformed;
use rq_core::ids::{Epoch, Lsn};
use rq_core::queue::{ApplyError, Limits, Shard, State, checkpoint};
use rq_log::{Log, OpenError, ReplayError, StdDisk, WriteError};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::figures::Published;
use super::frames::Frames;
use super::housekeeping::Housekeeping;
use super::inbox::Inbox;
use super::log_thread::{CheckpointPolicy, FREE_BYTES_MIN, LogThread};
use super::release::Releases;
use super::{Engine, Identity, Shared, clock};

/// What a segment holds besides the longest record: the headers of its frame and of the one that fills it up.
const FRAME_ROOM: usize = 4 * rq_log::HEADER_LEN;

/// How an engine is started.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The data directory.
    pub data: PathBuf,
    /// The log in it.
    pub log: rq_log::Options,
    /// Bounds of the shard.
    pub limits: Limits,
    /// Bytes of requests that may wait for the disk; more are held back, then refused.
    pub inbox_bytes: usize,
    /// A checkpoint is written after so many bytes of log.
    pub checkpoint_bytes: u64,
    /// A checkpoint is written after this time, if anything was logged.
    pub checkpoint_interval: Duration,
    /// What is kept of what nobody owes.
    pub retention: rq_core::queue::retention::Policy,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            log: rq_log::Options::default(),
            limits: Limits::default(),
            inbox_bytes: 64 << 20,
            checkpoint_bytes: 256 << 20,
            checkpoint_interval: Duration::from_mins(1),
            retention: rq_core::queue::retention::Policy::default(),
        }
    }
}

/// Why an engine did not start. Nothing was changed, but for a directory that was formatted.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The checkpoint is of another format.
    #[error("the checkpoint at {lsn} cannot be read: use the release that wrote it")]
    Checkpoint {
        /// Its position.
        lsn: Lsn,
        /// What is wrong.
        source: Malformed,
    },
    /// A record does not fit the state.
    #[error(
        "the log cannot be replayed: use the release that wrote it, or restore this replica from another"
    )]
    Replay(#[source] ApplyError),
    /// The new epoch could not be made durable.
    #[error("the new epoch could not be written")]
    Write(#[from] WriteError),
    /// The system gave no thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Recovers a data directory and begins to serve it. Blocks while it reads; called within a tokio runtime, on which
    /// answers are handed out.
    pub fn start(options: EngineOptions) -> Result<Self, StartError> {
        let started = Instant::now();
        let EngineOptions {
            data,
            log,
            limits,
            inbox_bytes,
            checkpoint_bytes,
            checkpoint_interval,
            retention,
        } = options;
        let (mut log, state) = recover(&data, log)?;
        let epoch = Epoch(state.epoch().0.max(log.promised_epoch().0)).next();
        log.promise(epoch)?;
        tracing::info!(
            epoch = epoch.0,
            log_start = log.start().0,
            log_end = log.end().0,
            took = %humantime::format_duration(Duration::from_millis(started.elapsed().as_millis() as u64)),
            "log recovered"
        );
        let identity = identity(&log, epoch);
        let clock = LogClock::start(state.log_time(), clock::read());
        let mut shard =
            Shard::new(state, Limits { free_bytes_min: limits.free_bytes_min.max(FREE_BYTES_MIN), ..limits });
        let (reader, checkpoints) = (log.reader(), log.checkpoints());
        let segment_bytes = log.identity().segment_bytes;
        let published = Arc::new(Published::default());
        published.checkpointed(checkpoints.newest());
        published.space(log.space(), true);
        published.expired(shard.state().expired_messages());
        let last_checkpoint = (checkpoints.newest(), Instant::now());
        let mut frames = Frames::new(log, epoch);
        frames.at(clock.time());
        shard.start_epoch(epoch, clock.time(), &mut frames);
        // A record of the new epoch is durable before anything is answered in it.
        let durable = frames.flush();
        shard.applied_up_to(durable);
        published.flushed(frames.log.start(), durable, Duration::ZERO);

        let inbox = Arc::new(Inbox::default());
        let (chores, chores_in) = mpsc::channel();
        let housekeeping = Housekeeping {
            checkpoints,
            reader: reader.clone(),
            segment_bytes,
            retention,
            inbox: Arc::clone(&inbox),
            published: Arc::clone(&published),
            chores: chores_in,
        };
        let housekeeping = spawn("rq-housekeeping", move || housekeeping.run())?;
        let log_thread = LogThread {
            inbox: Arc::clone(&inbox),
            shard,
            frames,
            clock,
            published: Arc::clone(&published),
            chores,
            checkpoints: CheckpointPolicy { every_bytes: checkpoint_bytes, every: checkpoint_interval },
            last_checkpoint,
            last_chore: Instant::now(),
            has_room: true,
            drop_below: None,
            waiting: HashMap::new(),
            releases: Releases::start(Arc::clone(&inbox)),
        };
        let log_thread = spawn("rq-log", move || log_thread.run())?;
        let shared = Shared {
            inbox,
            room: Arc::new(Semaphore::new(inbox_bytes)),
            room_bytes: inbox_bytes,
            record_bytes_max: rq_log::RECORD_LIMIT.min(segment_bytes as usize - FRAME_ROOM),
            next_ticket: AtomicU64::new(1),
            reader,
            published,
            identity,
            threads: std::sync::Mutex::new(vec![log_thread, housekeeping]),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

fn identity(log: &Log<StdDisk>, epoch: Epoch) -> Identity {
    let of_log = log.identity();
    let (cluster, store) = (of_log.cluster.clone(), of_log.store_id.to_string());
    Identity { cluster, shard: of_log.shard, store, epoch }
}

fn recover(data: &Path, options: rq_log::Options) -> Result<(Log<StdDisk>, State), StartError> {
    let mut recovery = rq_log::open(StdDisk, data, options)?;
    let mut state = match recovery.checkpoint()? {
        Some(found) => checkpoint::decode(&found.state)
            .map_err(|source| StartError::Checkpoint { lsn: found.lsn, source })?,
        None => State::default(),
    };
    let replayed = recovery.replay(|frame| {
        for (lsn, record) in frame.records() {
            state.apply_bytes(lsn, frame.log_time, record)?;
        }
        state.applied_up_to(frame.end());
        Ok(())
    });
    replayed.map_err(|error| match error {
        ReplayError::Refused { source, .. } => StartError::Replay(source),
        ReplayError::Open(error) => StartError::Open(error),
    })?;
    Ok((recovery.finish()?, state))
}

/// Starts a thread that the engine cannot do without: should it panic, the process ends. Living on without it would
/// be a broker that answers nobody and that no supervisor restarts.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, StartError> {
    struct AbortOnPanic;
    impl Drop for AbortOnPanic {
        fn drop(&mut self) {
            if thread::panicking() {
                tracing::error!(
                    "a thread of the engine panicked: the broker ends and recovers at its next start"
                );
                std::process::abort();
            }
        }
    }
    let run = || {
        let _guard = AbortOnPanic;
        run();
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
}
