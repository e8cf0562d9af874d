//! Reading sealed segments again, to find out whether they still are what was written. Reads by calls, never through a
//! map, so that a sector that cannot be read is an error and not a signal; and from the disk rather than from memory, as
//! far as the system lets go of what it has there. Changes nothing.

use std::io;
use std::path::PathBuf;

use rq_core::ids::{Epoch, Lsn};
use thiserror::Error;

use crate::disk::{Disk, DiskFile as _, OpenMode};
use crate::error::DiskError;
use crate::frame::Fault;
use crate::reader::LogReader;
use crate::scan::{Scan, ScanFrom, Step};
use crate::shared::read;

/// Bytes between two questions whether to go on.
const PIECE: u64 = 4 << 20;

/// A sealed segment that is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSum {
    /// Where it begins.
    pub base: Lsn,
    /// Where the next one begins.
    pub end: Lsn,
    /// Header checksum of its last frame. Each frame is chained to the one before and holds the checksum of its records, so
    /// two copies with the same sum hold the same bytes.
    pub sum: u32,
}

/// Why a segment was not found to be whole.
#[derive(Debug, Error)]
pub enum CheckError {
    /// It was dropped, or is still being written.
    #[error("no full segment begins at {0}")]
    NotSealed(Lsn),
    /// Its bytes are not what was written.
    #[error("{} is damaged at log position {position}: {fault}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in the log.
        position: Lsn,
        /// What is wrong there.
        fault: Fault,
    },
    /// Its bytes cannot be read, or it is gone.
    #[error(transparent)]
    Unreadable(DiskError),
    /// The disk cannot be asked now: that says nothing of the segment.
    #[error(transparent)]
    Disk(DiskError),
    /// The caller did not want to go on.
    #[error("the check was given up")]
    GivenUp,
}

impl CheckError {
    /// Whether the segment has to be replaced.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Unreadable(_))
    }
}

impl<D: Disk> LogReader<D> {
    /// Where the full segments begin, oldest first.
    pub fn full_segments(&self) -> Vec<Lsn> {
        let segments = read(&self.shared.segments);
        let full = segments.len().saturating_sub(1);
        segments.keys().take(full).map(|base| Lsn(*base)).collect()
    }

    /// The full segment that covers a position.
    pub fn full_segment_of(&self, lsn: Lsn) -> Option<Lsn> {
        let base = Lsn(self.shared.base_of(lsn));
        self.full_segments().contains(&base).then_some(base)
    }

    /// What a segment covers, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.shared.identity.segment_bytes
    }

    /// Reads the full segment that begins at `base` and verifies every frame of it. Every few MiB `go_on` hears how many
    /// bytes were read and says whether to go on; it may take its time.
    pub fn check(&self, base: Lsn, mut go_on: impl FnMut(u64) -> bool) -> Result<SegmentSum, CheckError> {
        if self.full_segment_of(base) != Some(base) {
            return Err(CheckError::NotSealed(base));
        }
        let path = self.shared.layout.segment(base.0);
        let file = self.shared.disk.open(&path, OpenMode::Read).map_err(|error| {
            let gone = error.kind() == io::ErrorKind::NotFound;
            let error = DiskError::at("open", &path)(error);
            if gone { CheckError::Unreadable(error) } else { CheckError::Disk(error) }
        })?;
        file.forget_cached();
        let end = base.plus(self.segment_bytes());
        let from = ScanFrom { base: base.0, position: base, chain: None, epoch: Epoch(0) };
        let mut scan = Scan::new(file, from, self.segment_bytes(), self.shared.shard_tag);
        let damaged = |position, fault| CheckError::Damaged { file: path.clone(), position, fault };
        let mut told = base;
        loop {
            let step = scan.step().map_err(DiskError::at("read", &path)).map_err(CheckError::Unreadable)?;
            match step {
                Step::Frame(_) => {}
                Step::Full => break,
                Step::Invalid(fault) => return Err(damaged(scan.position(), fault)),
            }
            let read = scan.position().0 - told.0;
            if read >= PIECE {
                told = scan.position();
                if !go_on(read) {
                    return Err(CheckError::GivenUp);
                }
            }
        }
        go_on(end.0 - told.0);
        let sum = scan.chain().unwrap_or_default();
        match self.shared.chain_at(end).map_err(CheckError::Disk)? {
            Some(next) if next != sum => Err(damaged(end, Fault::Chain)),
            _ => Ok(SegmentSum { base, end, sum }),
        }
    }
}
