//! From a simulated disk to an open log and all that it says, as `broker/src/engine/recover.rs` does it on a real one.

use std::path::Path;

use rq_core::ids::{Lsn, ShardId, StoreId};
use rq_core::queue::{State, checkpoint};
use rq_core::replication::{Durable, EpochHistory, EpochStart};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{FrameRef, HEADER_LEN, InstallError, Log, OpenError, Options, ReplayError, Snapshot, open};

const DIR: &str = "/data";
pub(crate) const CLUSTER: &str = "simulation";
pub(crate) const SHARD: ShardId = ShardId(0);
/// Small, so that a run goes through many and drops most of them.
pub(crate) const SEGMENT: u64 = 128 << 10;

/// A log, open for writing, and all that it says.
pub(crate) struct Recovered {
    pub(crate) log: Log<SimulatedDisk>,
    pub(crate) state: State,
    pub(crate) commit: Lsn,
}

fn options() -> Options {
    Options {
        cluster: CLUSTER.to_owned(),
        shard: SHARD,
        segment_bytes: SEGMENT,
        prepared_segments: 1,
        tail_cache_bytes: 64 << 10,
        allow_unsafe_filesystem: true,
    }
}

impl Recovered {
    /// Opens the log, cut off at `cut` if given; none if the disk fails meanwhile.
    pub(crate) fn open(disk: &SimulatedDisk, cut: Option<Lsn>) -> Option<Self> {
        let mut recovery = only_disk_fails(open(disk.clone(), Path::new(DIR), options()))?;
        if let Some(cut) = cut {
            only_disk_fails(recovery.cut(cut))?;
        }
        let found = only_disk_fails(recovery.checkpoint())?;
        let (mut state, mut commit) = found.map_or_else(
            || (State::default(), Lsn(0)),
            |found| (checkpoint::decode(&found.state).expect("a checkpoint of ours"), found.lsn),
        );
        let replayed = recovery.replay(|frame| {
            commit = commit.max(frame.commit_lsn);
            apply(&mut state, &frame);
            Ok::<_, std::convert::Infallible>(())
        });
        only_disk_fails(replayed.map_err(|error| match error {
            ReplayError::Open(error) => error,
            ReplayError::Refused { source, .. } => match source {},
        }))?;
        let log = only_disk_fails(recovery.finish())?;
        let commit = commit.min(log.end());
        Some(Self { log, state, commit })
    }

    /// Replaces the log by the beginning of a copy; none if the disk fails meanwhile.
    pub(crate) fn install(disk: &SimulatedDisk, snapshot: &Snapshot) -> Option<Self> {
        let copy = snapshot.checkpoint();
        let state = checkpoint::decode(&copy.state).expect("a checkpoint of the master");
        let recovery = only_disk_fails(open(disk.clone(), Path::new(DIR), options()))?;
        let log = match recovery.install(snapshot) {
            Ok(log) => log,
            Err(InstallError::OtherSegments { .. }) => panic!("all replicas have the same segments"),
            Err(_) => return None,
        };
        Some(Self { log, state, commit: copy.lsn })
    }

    pub(crate) fn found(&self) -> Durable {
        Durable {
            promised: self.log.promised_epoch(),
            history: epochs(&self.state),
            start: self.log.start(),
            end: self.log.end(),
            flushed: self.log.durable(),
            commit: self.commit,
            flush_mode: self.state.flush_policy().mode,
        }
    }
}

/// What a log is opened for: nothing but the disk may keep it from that.
fn only_disk_fails<T>(opened: Result<T, OpenError>) -> Option<T> {
    match opened {
        Ok(opened) => Some(opened),
        Err(OpenError::Disk(_)) => None,
        Err(error) => panic!("recovery failed: {error}"),
    }
}

/// The store id of a disk that is formatted by the first start.
pub(crate) fn store_of(disk: &SimulatedDisk) -> StoreId {
    Recovered::open(disk, None).expect("a fresh disk works").log.identity().store_id
}

/// Applies what a frame holds, unless the state has it: a copy begins with a checkpoint and the frames before it.
pub(crate) fn apply(state: &mut State, frame: &FrameRef<'_>) {
    if frame.lsn < state.applied() {
        return;
    }
    state.begin_frame(frame.epoch, frame.lsn.plus(HEADER_LEN as u64));
    for (lsn, record) in frame.records() {
        let applied = state.apply_bytes(lsn, frame.log_time, record);
        applied.unwrap_or_else(|error| panic!("record at {lsn} does not apply: {error}"));
    }
    state.applied_up_to(frame.end());
}

/// Which epoch began where: a frame begins with its header.
pub(crate) fn epochs(state: &State) -> EpochHistory {
    let frame = |begin: &EpochStart| EpochStart {
        start: Lsn(begin.start.0.saturating_sub(HEADER_LEN as u64)),
        ..*begin
    };
    EpochHistory::new(state.epochs().epochs().iter().map(frame).collect())
}
