//! From a data directory to an engine: recover, take a new epoch or join the cluster, start the threads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rq_core::clock::LogClock;
use rq_core::ids::Session;
use rq_core::queue::Limits;
use rq_core::replication::{Gate, Input};
use rq_log::{Log, StdDisk, WriteError};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use super::cluster::{Cluster, Outlets, Progress, ReplicaView};
use super::compare::{Comparing, Hashes};
use super::figures::Published;
use super::frames::Frames;
use super::housekeeping::Housekeeping;
use super::inbox::Inbox;
use super::log_thread::{CheckpointPolicy, FREE_BYTES_MIN, LogThread, Task};
use super::member::{self, Member};
use super::queues::Queues;
use super::recover::{Place, RecoverError, Recovered};
use super::release::Releases;
use super::{Engine, Identity, Shared, clock};

/// What a segment holds besides the longest record: the headers of its frame and of the one that fills it up.
const FRAME_ROOM: usize = 4 * rq_log::HEADER_LEN;
/// Bytes of the master's frames that may wait for the disk of a slave.
const RECEIVE_BYTES: usize = 32 << 20;

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
    /// The log was not recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The new epoch could not be made durable.
    #[error("the new epoch could not be written")]
    Write(#[from] WriteError),
    /// The system gave no thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Recovers a data directory and begins to serve it, alone. Blocks while it reads; called within a tokio runtime, on
    /// which answers are handed out.
    pub fn start(options: &EngineOptions) -> Result<Self, StartError> {
        Self::launch(options, None)
    }

    /// Like [`Engine::start`], as a member of a cluster: serves once it is the master.
    pub fn join(options: &EngineOptions, cluster: Cluster) -> Result<Self, StartError> {
        Self::launch(options, Some(cluster))
    }

    fn launch(options: &EngineOptions, cluster: Option<Cluster>) -> Result<Self, StartError> {
        let started = Instant::now();
        let place = Place { data: options.data.clone(), log: options.log.clone() };
        let recovered = place.recover()?;
        tracing::info!(
            log_start = recovered.log.start().0,
            log_end = recovered.log.end().0,
            took = %humantime::format_duration(Duration::from_millis(started.elapsed().as_millis() as u64)),
            "log recovered"
        );
        let identity = identity(&recovered.log);
        let segment_bytes = recovered.log.identity().segment_bytes;
        let inbox = Arc::new(Inbox::default());
        let published = Arc::new(Published::default());
        let (progress, following, view) = (
            watch::channel(Progress::default()),
            watch::channel(None),
            watch::channel(ReplicaView::default()),
        );
        let hashes = watch::channel(Hashes::new());
        let outlets =
            Outlets { progress: progress.0, following: following.0, view: view.0, hashes: hashes.0 };
        let session = cluster.as_ref().map_or_else(Session::default, |cluster| cluster.session);
        let replica = member::replica(&recovered, session);
        let member = Member::new(replica, session, place, cluster, outlets);
        let reader = Arc::clone(&member.reader);
        let (chores, chores_in) = mpsc::channel();
        let releases = Releases::start(Arc::clone(&inbox));
        let log_thread = log_thread(options, recovered, member, &inbox, &published, chores, releases)?;
        let housekeeping = Housekeeping {
            segment_bytes,
            retention: options.retention,
            inbox: Arc::clone(&inbox),
            published: Arc::clone(&published),
            chores: chores_in,
        };
        let housekeeping = spawn("rq-housekeeping", move || housekeeping.run())?;
        let log_thread = spawn("rq-log", move || log_thread.run())?;
        let shared = Shared {
            inbox,
            room: Arc::new(Semaphore::new(options.inbox_bytes)),
            room_bytes: options.inbox_bytes,
            record_bytes_max: rq_log::RECORD_LIMIT.min(segment_bytes as usize - FRAME_ROOM),
            next_ticket: AtomicU64::new(1),
            next_link: AtomicU64::new(1),
            receive_room: Arc::new(Semaphore::new(RECEIVE_BYTES)),
            reader,
            suspects: OnceLock::new(),
            published,
            identity,
            progress: progress.1,
            following: following.1,
            view: view.1,
            hashes: hashes.1,
            threads: std::sync::Mutex::new(vec![log_thread, housekeeping]),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// The log thread, not started yet. One that is alone begins its mastership: a record of the new epoch is durable before
/// anything is answered in it.
fn log_thread(
    options: &EngineOptions,
    recovered: Recovered,
    member: Member,
    inbox: &Arc<Inbox>,
    published: &Arc<Published>,
    chores: mpsc::Sender<Task>,
    releases: Releases,
) -> Result<LogThread, StartError> {
    let Recovered { mut log, state, commit } = recovered;
    let (newest, end) = (log.checkpoints().newest(), log.end());
    published.checkpointed(newest);
    published.space(log.space(), true);
    published.expired(state.expired_messages());
    published.held(state.held(), state.given_up_transactions());
    published.flushed(log.start(), log.durable(), Duration::ZERO);
    published.committed(commit);
    member.publish_reader(Some(log.reader()));
    let alone = member.cluster.is_none().then(|| member.alone());
    let limits = options.limits.clone();
    let mut thread = LogThread {
        inbox: Arc::clone(inbox),
        clock: LogClock::start(state.log_time(), clock::read()),
        queues: Queues::slave(state),
        limits: Limits { free_bytes_min: limits.free_bytes_min.max(FREE_BYTES_MIN), ..limits },
        frames: Frames::new(log, commit),
        member,
        published: Arc::clone(published),
        chores,
        comparing: Comparing::new(end),
        checkpoints: CheckpointPolicy {
            every_bytes: options.checkpoint_bytes,
            every: options.checkpoint_interval,
        },
        last_checkpoint: (newest, Instant::now()),
        last_chore: Instant::now(),
        has_room: true,
        held: Vec::new(),
        dropping: Vec::new(),
        gate: Gate::default(),
        flushed_gate: Gate::default(),
        last_flush: Instant::now(),
        waiting: HashMap::new(),
        ends_waits: false,
        releases,
    };
    if let Some(alone) = alone {
        thread.step(Input::Config(alone))?;
        thread.flush()?;
    }
    Ok(thread)
}

fn identity(log: &Log<StdDisk>) -> Identity {
    let of_log = log.identity();
    Identity { cluster: of_log.cluster.clone(), shard: of_log.shard, store_id: of_log.store_id }
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
