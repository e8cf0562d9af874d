//! From a data directory to an open log and what it says: at the start, and again when a replica cut its log off or lost
//! its mastership.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rq_core::codec::Malformed;
use rq_core::ids::Lsn;
use rq_core::queue::{ApplyError, State, checkpoint};
use rq_core::replication::{EpochHistory, EpochStart};
use rq_log::{
    Checkpoint, HEADER_LEN, InstallError, Log, OpenError, Recovery, ReplayError, Snapshot, StdDisk,
};
use thiserror::Error;

/// A log, open for writing, and all that it says.
pub(super) struct Recovered {
    pub(super) log: Log<StdDisk>,
    pub(super) state: State,
    /// Everything below is committed, as its frames say.
    pub(super) commit: Lsn,
}

/// Why a data directory was not recovered. Nothing was changed, but for a directory that was formatted.
#[derive(Debug, Error)]
pub enum RecoverError {
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
    /// The log was not replaced by the beginning of a copy.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// Where to recover from.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) data: PathBuf,
    pub(super) log: rq_log::Options,
}

impl Place {
    /// Recovers the log that another process had.
    pub(super) fn recover(&self) -> Result<Recovered, RecoverError> {
        replay(rq_log::open(StdDisk, &self.data, self.log.clone())?, None)
    }

    /// Recovers the log that this process had and has closed, cut off at `cut` if given.
    pub(super) fn reopen(&self, cut: Option<Lsn>) -> Result<Recovered, RecoverError> {
        replay(reopen(&self.data, &self.log)?, cut)
    }

    /// Replaces the log that this process had and has closed by the beginning of a copy of the master's. The state is of
    /// later than the end of the log, until that was copied.
    pub(super) fn install(&self, snapshot: &Snapshot) -> Result<Recovered, RecoverError> {
        let checkpoint = snapshot.checkpoint();
        // Before anything is given up for it.
        let state = decode(checkpoint)?;
        let log = reopen(&self.data, &self.log)?.install(snapshot)?;
        Ok(Recovered { log, state, commit: checkpoint.lsn })
    }
}

fn decode(found: &Checkpoint) -> Result<State, RecoverError> {
    checkpoint::decode(&found.state).map_err(|source| RecoverError::Checkpoint { lsn: found.lsn, source })
}

fn replay(mut recovery: Recovery<StdDisk>, cut: Option<Lsn>) -> Result<Recovered, RecoverError> {
    if let Some(cut) = cut {
        recovery.cut(cut)?;
    }
    let (mut state, mut commit) = match recovery.checkpoint()? {
        // Only what is committed is ever in a checkpoint.
        Some(found) => (decode(&found)?, found.lsn),
        None => (State::default(), Lsn(0)),
    };
    let replayed = recovery.replay(|frame| {
        commit = commit.max(frame.commit_lsn);
        apply(&mut state, &frame)
    });
    replayed.map_err(|error| match error {
        ReplayError::Refused { source, .. } => RecoverError::Replay(source),
        ReplayError::Open(error) => RecoverError::Open(error),
    })?;
    // What was to be compared then may not be committed.
    state.take_compare();
    let log = recovery.finish()?;
    let commit = commit.min(log.end());
    Ok(Recovered { log, state, commit })
}

/// Applies what a frame holds, unless the state has it: a copy begins with a checkpoint and the frames before it.
pub(super) fn apply(state: &mut State, frame: &rq_log::FrameRef<'_>) -> Result<(), ApplyError> {
    if frame.lsn < state.applied() {
        return Ok(());
    }
    state.begin_frame(frame.epoch, frame.lsn.plus(HEADER_LEN as u64));
    for (lsn, record) in frame.records() {
        state.apply_bytes(lsn, frame.log_time, record)?;
    }
    state.applied_up_to(frame.end());
    Ok(())
}

/// Which epoch began where: a frame begins with its header.
pub(super) fn epochs(state: &State) -> EpochHistory {
    let frame = |begin: &EpochStart| EpochStart {
        start: Lsn(begin.start.0.saturating_sub(HEADER_LEN as u64)),
        ..*begin
    };
    EpochHistory::new(state.epochs().epochs().iter().map(frame).collect())
}

/// How long readers of the log that was closed may take to let go of its directory.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is tried again.
const RELEASE_PAUSE: Duration = Duration::from_millis(2);

/// Opens the log. Who reads from this process's earlier log, or writes its checkpoint, holds its lock until that is done.
fn reopen(data: &Path, options: &rq_log::Options) -> Result<Recovery<StdDisk>, OpenError> {
    let started = Instant::now();
    loop {
        match rq_log::open(StdDisk, data, options.clone()) {
            Err(OpenError::Locked(_)) if started.elapsed() < RELEASE_PATIENCE => {
                std::thread::sleep(RELEASE_PAUSE);
            }
            opened => return opened,
        }
    }
}
