//! Beginning a copy of another replica's log in place of what is here: that replica's log starts after this one's end.

use std::sync::Arc;

use super::{Disk, Kept, Recovery, Superblock, SuperblockFile, format, superblock_failed};
use crate::error::InstallError;
use crate::log::Log;
use crate::recovery::tail::Tail;
use crate::snapshot::Snapshot;

impl<D: Disk> Recovery<D> {
    /// Gives up everything that is here for a checkpoint and an empty log that starts where the other replica's does. The
    /// store keeps its identity and its promise. Until the log was filled up to the checkpoint and flushed, it is of no
    /// use to anybody who opens the directory: it is emptied then.
    pub fn install(mut self, snapshot: &Snapshot) -> Result<Log<D>, InstallError> {
        let Snapshot { start, chain, checkpoint } = snapshot;
        let (start, segment_bytes) = (*start, self.identity.segment_bytes);
        if !start.0.is_multiple_of(segment_bytes) {
            return Err(InstallError::OtherSegments { start, segment_bytes });
        }
        let mut superblock = SuperblockFile::open(&self.disk, &self.layout, self.superblock)?;
        let Superblock { sequence, promised_epoch, incarnation, .. } = self.superblock;
        let installing = Superblock {
            sequence,
            promised_epoch,
            incarnation: incarnation + 1,
            log_start: start,
            sealed_end: start,
            installing: Some(checkpoint.lsn),
            ..Superblock::default()
        };
        // Before anything is removed: from now on the directory counts as empty.
        superblock
            .update(|superblock| *superblock = installing)
            .map_err(|error| superblock_failed(&self.layout, error))?;
        self.segments.clear();
        let (segment, zeroed) = format::replace(&self.disk, &self.layout, segment_bytes, start.0)?;
        self.segments.insert(start.0, Arc::new(segment));
        self.superblock = *superblock.current();
        self.formatted = Some(zeroed);
        self.kept = Kept::default();
        let log = self.start(&Tail::cut(start, *chain, start), start.0, superblock)?;
        log.checkpoints().put(checkpoint.lsn, checkpoint.chain, |file| file.write_all(&checkpoint.state))?;
        Ok(log)
    }
}
