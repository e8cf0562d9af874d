//! What a replica begins a copy with whose log ends before this one starts: where this log starts, and the newest
//! checkpoint, whose file travels as it lies on the disk, with its checksums. The frames from the start on follow as they
//! do to every replica.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use rq_core::ids::{Lsn, ShardId};
use thiserror::Error;

use crate::checkpoint::{self, Checkpoint, Undecodable};
use crate::disk::{Disk, DiskFile as _, OpenMode, read_exact_at};
use crate::error::{DiskError, ReadError};
use crate::identity::shard_tag;
use crate::reader::LogReader;
use crate::shared::lock;

/// What goes before the bytes of a checkpoint file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotHead {
    /// Where the log starts, with a segment.
    pub start: Lsn,
    /// Header checksum of the frame before `start`, which is gone.
    pub chain: u32,
    /// Everything below is in the checkpoint. Not before `start`.
    pub checkpoint: Lsn,
    /// Length of the checkpoint file.
    pub bytes: u64,
}

/// The newest checkpoint of a log, to be sent. It stays readable when newer ones supersede it.
pub struct SnapshotFile<D: Disk> {
    head: SnapshotHead,
    path: PathBuf,
    file: D::File,
}

impl<D: Disk> SnapshotFile<D> {
    /// What goes before its bytes.
    pub fn head(&self) -> SnapshotHead {
        self.head
    }

    /// Up to `bytes_max` bytes of the file from `at` on; none at its end. May block on the disk.
    pub fn read(&self, at: u64, bytes_max: usize) -> Result<Bytes, DiskError> {
        let mut bytes = vec![0; self.head.bytes.saturating_sub(at).min(bytes_max as u64) as usize];
        read_exact_at(&self.file, &mut bytes, at).map_err(DiskError::at("read", &self.path))?;
        Ok(bytes.into())
    }
}

impl<D: Disk> LogReader<D> {
    /// What another replica can begin a copy of this log with; none if there is no checkpoint yet, and so no need for
    /// it. May block on the disk.
    pub fn snapshot(&self) -> Result<Option<SnapshotFile<D>>, ReadError> {
        // In this order, for the log is dropped up to the older checkpoint at most.
        let start = self.shared.start();
        let Some(checkpoint) = lock(&self.shared.kept).newest else { return Ok(None) };
        let dropped = || ReadError::Dropped { lsn: start, start: self.shared.start() };
        let chain = self.shared.chain_at(start)?.ok_or_else(dropped)?;
        let path = self.shared.layout.checkpoint(checkpoint);
        let file = self.shared.disk.open(&path, OpenMode::Read).map_err(DiskError::at("open", &path))?;
        let bytes = file.length().map_err(DiskError::at("examine", &path))?;
        Ok(Some(SnapshotFile { head: SnapshotHead { start, chain, checkpoint, bytes }, path, file }))
    }
}

/// What a copy begins with, received whole and checked; see [`Recovery::install`](crate::Recovery::install).
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) start: Lsn,
    pub(crate) chain: u32,
    pub(crate) checkpoint: Checkpoint,
}

/// Why what was received is no snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SnapshotError {
    /// It is not what was sent, or of another shard.
    #[error("what was received is no checkpoint of this shard: {0}")]
    Damaged(&'static str),
    /// It was written by a later version.
    #[error("the checkpoint has format version {0}: update this broker to the master's release")]
    Newer(u32),
    /// It stands for less than what was dropped.
    #[error("a checkpoint at {checkpoint} does not lead to a log that starts at {start}")]
    Gap {
        /// Its position.
        checkpoint: Lsn,
        /// Where the log is to start.
        start: Lsn,
    },
}

impl Snapshot {
    /// Checks what was received for a replica of this shard.
    pub fn new(
        cluster: &str,
        shard: ShardId,
        head: SnapshotHead,
        file: Vec<u8>,
    ) -> Result<Self, SnapshotError> {
        let SnapshotHead { start, chain, checkpoint, .. } = head;
        if checkpoint < start {
            return Err(SnapshotError::Gap { checkpoint, start });
        }
        let checkpoint = checkpoint::decode(file, shard_tag(cluster, shard), checkpoint);
        let checkpoint = checkpoint.map_err(|undecodable| match undecodable {
            Undecodable::Newer(version) => SnapshotError::Newer(version),
            Undecodable::Damaged(reason) => SnapshotError::Damaged(reason),
        })?;
        Ok(Self { start, chain, checkpoint })
    }

    /// Where the log is to start.
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// The state that the copy begins with, and up to where it stands for the log.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (checkpoint, bytes) = (self.checkpoint.lsn, self.checkpoint.state.len());
        write!(formatter, "Snapshot {{ start: {}, checkpoint: {checkpoint}, bytes: {bytes} }}", self.start)
    }
}
