//! What can go wrong with a log, by operation: opening it, replaying it, writing to it, reading from it.

use std::io;
use std::path::{Path, PathBuf};

use rq_core::ids::{Lsn, ShardId};
use thiserror::Error;

use crate::frame::Fault;

/// A call to the disk that failed.
#[derive(Debug, Error)]
#[error("cannot {op} {}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub op: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn at(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { op, path: path.to_owned(), source }
    }

    /// Whether the disk (or the quota on it) is full.
    pub fn is_no_space(&self) -> bool {
        is_no_space(&self.source)
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Bytes that were known to be durable are not what was written. Nothing is cut off or repaired: a human, or a
/// copy on another replica, has to decide.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "{} is damaged at log position {position}: {reason}; nothing was changed, restore the file from a backup or a replica",
    file.display()
)]
pub struct Damaged {
    /// The file, or the directory where one is missing.
    pub file: PathBuf,
    /// Where in the log.
    pub position: Lsn,
    /// What is wrong.
    pub reason: String,
}

/// Why a log could not be opened. Nothing was changed on the disk except where a fresh directory was being formatted.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An option is outside its limits.
    #[error("invalid log option: {0}")]
    InvalidOptions(&'static str),
    /// Another process has the directory.
    #[error("{} is in use by another process: stop that one or choose another directory", .0.display())]
    Locked(PathBuf),
    /// The directory cannot be written.
    #[error("{} is on a read-only disk: make it writable or choose another directory", .0.display())]
    ReadOnly(PathBuf),
    /// A returned flush is not known to be durable there.
    #[error("{} is on {file_system}, which may lose what it has acknowledged: use ext4 or xfs, or add --allow-unsafe-filesystem if losing messages is acceptable", dir.display())]
    UnsafeFilesystem {
        /// The data directory.
        dir: PathBuf,
        /// Name of its file system.
        file_system: String,
    },
    /// The directory belongs to another cluster.
    #[error("{} belongs to cluster {found:?}, not to {expected:?}: choose the directory of this cluster or an empty one", dir.display())]
    OtherCluster {
        /// The data directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        expected: String,
    },
    /// The directory belongs to another shard.
    #[error("{} holds shard {found}, not shard {expected}: choose the directory of this shard or an empty one", dir.display())]
    OtherShard {
        /// The data directory.
        dir: PathBuf,
        /// What it holds.
        found: ShardId,
        /// What was asked for.
        expected: ShardId,
    },
    /// Written by a later version. It is whole: nothing needs to be restored.
    #[error("{} has format version {found}, and this release reads up to {supported}: use the release that wrote it, or a newer version", file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is understood.
        supported: u32,
    },
    /// There is data, but nothing says whose it is.
    #[error("{} holds segments or checkpoints but no IDENTITY file: restore that file, or choose an empty directory", .0.display())]
    IdentityMissing(PathBuf),
    /// Known durable bytes are wrong.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The disk failed or is full.
    #[error("the data directory cannot be opened")]
    Disk(#[source] DiskError),
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        if error.source.kind() == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly(error.path)
        } else {
            Self::Disk(error)
        }
    }
}

/// Why a copy could not be begun. What was there may be gone: the directory is emptied when it is opened again.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The copy would start within a segment, so the segments of this store are not those of the master.
    #[error(
        "a copy that starts at {start} does not fit segments of {segment_bytes} bytes: give this replica an empty \
         directory and the master's segment size"
    )]
    OtherSegments {
        /// Where the copy was to start.
        start: Lsn,
        /// What a segment covers here.
        segment_bytes: u64,
    },
    /// The directory cannot be changed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The checkpoint was not written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<DiskError> for InstallError {
    fn from(error: DiskError) -> Self {
        Self::Open(error.into())
    }
}

/// Why a replay stopped.
#[derive(Debug, Error)]
pub enum ReplayError<E> {
    /// The log cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The caller refused a frame.
    #[error("frame at {lsn} was refused")]
    Refused {
        /// The frame.
        lsn: Lsn,
        /// What the caller said.
        #[source]
        source: E,
    },
}

/// Why something was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// No prepared segment is left and the disk is full. Definite: nothing was written, and the log works again when
    /// there is room.
    #[error("the disk is full: nothing was written; free some space")]
    NoSpace,
    /// No prepared segment is left and the disk does not let us make one. Definite: nothing was written.
    #[error("nothing was written: the next segment cannot be prepared")]
    NoSegment(#[source] DiskError),
    /// A record or frame is longer than the log can hold. Definite: nothing was written.
    #[error("{len} bytes do not fit: the limit is {limit}")]
    TooLarge {
        /// Its length with its header.
        len: u64,
        /// What fits.
        limit: u64,
    },
    /// A frame was begun, and another was appended before it. Definite: nothing was written.
    #[error("the frame was begun at {begun}, and the log meanwhile ends at {end}: begin it again")]
    OutOfPlace {
        /// Where it was to go.
        begun: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// A write or flush of the log failed: what was not yet durable may or may not be there after a restart. Fatal: end
    /// the process, do not retry.
    #[error("the log failed; the process must end and recover")]
    Failed(#[source] DiskError),
    /// The log failed before. Fatal.
    #[error("the log has failed before; the process must end and recover")]
    Poisoned,
    /// A checkpoint could not be written; the log goes on.
    #[error("the checkpoint was not written")]
    Checkpoint(#[source] DiskError),
    /// A checkpoint was asked for at a position that is not durable, older than the newest, or not between two frames.
    #[error(
        "no checkpoint can be written at {lsn}: it must be the end of a durable frame, and newer than {newest}"
    )]
    CheckpointPosition {
        /// The position.
        lsn: Lsn,
        /// The newest checkpoint there is.
        newest: Lsn,
    },
}

impl WriteError {
    /// Whether the process has to end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Poisoned)
    }

    /// Whether room on the disk is what is missing; then nothing is broken.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace => true,
            Self::Checkpoint(error) => error.is_no_space(),
            _ => false,
        }
    }
}

/// Why a record was not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Its segment was dropped.
    #[error("the record at {lsn} was dropped: the log starts at {start}")]
    Dropped {
        /// The record.
        lsn: Lsn,
        /// Where the log starts now.
        start: Lsn,
    },
    /// There is no record at that position yet.
    #[error("there is no record at {lsn}: the log ends at {end}")]
    BeyondEnd {
        /// The position.
        lsn: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// No record can start there.
    #[error("there is no record at {lsn}: {reason}")]
    Malformed {
        /// The position.
        lsn: Lsn,
        /// What is wrong.
        reason: &'static str,
    },
    /// The frame there is not what was written.
    #[error("the frame at {lsn} is damaged: {fault}")]
    Damaged {
        /// The frame.
        lsn: Lsn,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
