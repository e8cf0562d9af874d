//! Putting another replica's copy of a sealed segment in the place of a damaged one. The copy is written beside it and
//! takes its name only when it is whole, is proven to be what lay there, and is flushed; whatever stops it before leaves
//! the old one.
//!
//! The proof: every frame is chained to the one before it, and the frame after the segment, which is here, to the last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rq_core::ids::{Epoch, Lsn, StoreId};
use thiserror::Error;

use crate::disk::{Disk, DiskFile as _, OpenMode, read_exact_at};
use crate::error::{DiskError, OpenError};
use crate::frame::{Expected, Fault, FrameRef, HEADER_LEN, Header};
use crate::identity::Identity;
use crate::layout::{LOCK, Layout, segment_base, unfinished};
use crate::reader::LogReader;
use crate::shared::{Segment, Shared, write};
use crate::superblock::Superblock;

/// Why a segment was not replaced. The old one is still in its place.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// It was dropped, or is still being written.
    #[error("no full segment begins at {0}")]
    NotSealed(Lsn),
    /// What follows is not readable either, so nothing says which copy would be the right one.
    #[error("nothing proves what lay before {0}: the segment that begins there has to be repaired first")]
    Unproven(Lsn),
    /// What came is damaged, or does not follow what came before.
    #[error("what the other replica sent for {lsn} cannot be used: {fault}")]
    Invalid {
        /// The frame.
        lsn: Lsn,
        /// What is wrong with it.
        fault: Fault,
    },
    /// It came to an end too soon.
    #[error("the other replica's copy ends at {end} already")]
    Incomplete {
        /// Where.
        end: Lsn,
    },
    /// The other replica has something else there.
    #[error("the other replica's log is not the one that goes on at {end} here")]
    OtherLog {
        /// Where the segment ends.
        end: Lsn,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed or is full.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The segment to which the failure to open a log leads, if it is one: perhaps it can be replaced.
pub fn damaged_segment(error: &OpenError) -> Option<Lsn> {
    let path = match error {
        OpenError::Damaged(damaged) => &damaged.file,
        OpenError::Disk(error) if error.op == "read" => &error.path,
        _ => return None,
    };
    path.file_name()?.to_str().and_then(segment_base).map(Lsn)
}

/// Whose log is mended.
enum Home<D: Disk> {
    /// One that is in use: its readers go over to the new file.
    Open(Arc<Shared<D>>),
    /// One that could not be opened.
    Closed { _lock: D::Lock },
}

/// A copy of a sealed segment that comes in.
pub struct Replacement<D: Disk> {
    home: Home<D>,
    disk: D,
    dir: PathBuf,
    path: PathBuf,
    file: D::File,
    store: StoreId,
    base: Lsn,
    end: Lsn,
    shard_tag: u32,
    /// Where the next frame goes.
    position: Lsn,
    /// Header checksum and epoch of the last frame.
    chain: Option<u32>,
    epoch: Epoch,
    /// What the frame after the segment says of the last one in it.
    proof: u32,
}

impl<D: Disk> LogReader<D> {
    /// Begins to replace the full segment that begins at `base`.
    pub fn replace(&self, base: Lsn) -> Result<Replacement<D>, ReplaceError> {
        if self.full_segment_of(base) != Some(base) {
            return Err(ReplaceError::NotSealed(base));
        }
        let end = base.plus(self.segment_bytes());
        let proof = self.shared.chain_at(end)?.ok_or(ReplaceError::Unproven(end))?;
        let Shared { disk, layout, identity, .. } = &*self.shared;
        Replacement::begin(Home::Open(Arc::clone(&self.shared)), disk, layout, identity, (base, proof))
    }
}

/// Begins to replace the sealed segment that begins at `base` in a data directory that cannot be opened because of it.
pub fn replace_in<D: Disk>(disk: &D, dir: &Path, base: Lsn) -> Result<Replacement<D>, ReplaceError> {
    let layout = Layout::new(dir);
    let lock_path = layout.dir.join(LOCK);
    let lock = disk.lock(&lock_path).map_err(DiskError::at("lock", &lock_path))?;
    let lock = lock.ok_or_else(|| OpenError::Locked(layout.dir.clone()))?;
    let identity =
        Identity::read(disk, &layout)?.ok_or_else(|| OpenError::IdentityMissing(layout.dir.clone()))?;
    let superblock = Superblock::read(disk, &layout)?;
    let end = base.plus(identity.segment_bytes);
    let kept = superblock.log_start <= base && end <= superblock.sealed_end;
    if superblock.installing.is_some() || !kept || !base.0.is_multiple_of(identity.segment_bytes) {
        return Err(ReplaceError::NotSealed(base));
    }
    let next = layout.segment(end.0);
    let mut header = [0; HEADER_LEN];
    let file = disk.open(&next, OpenMode::Read).map_err(DiskError::at("open", &next))?;
    read_exact_at(&file, &mut header, 0).map_err(DiskError::at("read", &next))?;
    let tag = identity.shard_tag();
    let follows = Header::decode(&header).ok().filter(|(next, _)| next.lsn == end && next.shard_tag == tag);
    let (next, _) = follows.ok_or(ReplaceError::Unproven(end))?;
    Replacement::begin(Home::Closed { _lock: lock }, disk, &layout, &identity, (base, next.chain))
}

impl<D: Disk> Replacement<D> {
    fn begin(
        home: Home<D>,
        disk: &D,
        layout: &Layout,
        identity: &Identity,
        (base, proof): (Lsn, u32),
    ) -> Result<Self, ReplaceError> {
        let path = layout.segment(base.0);
        let beside = unfinished(&path);
        let file = disk.open(&beside, OpenMode::Create).map_err(DiskError::at("create", &beside))?;
        let replacement = Self {
            home,
            disk: disk.clone(),
            dir: layout.log.clone(),
            path,
            file,
            store: identity.store_id,
            base,
            end: base.plus(identity.segment_bytes),
            shard_tag: identity.shard_tag(),
            position: base,
            chain: None,
            epoch: Epoch(0),
            proof,
        };
        // What is not written of it reads as zero, as in every segment.
        replacement.file.allocate(identity.segment_bytes).map_err(DiskError::at("allocate", &beside))?;
        Ok(replacement)
    }

    /// Where it begins.
    pub fn base(&self) -> Lsn {
        self.base
    }

    /// Where the next one begins.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Whose log is mended.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Takes whole frames that follow those that came before.
    pub fn write(&mut self, bytes: &Bytes) -> Result<(), ReplaceError> {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let lsn = self.position;
            let invalid = |fault| ReplaceError::Invalid { lsn, fault };
            let expected = Expected {
                lsn,
                shard_tag: self.shard_tag,
                chain: self.chain,
                epoch: self.epoch,
                room: self.end.0 - lsn.0,
            };
            let head = rest.first_chunk().ok_or_else(|| invalid(Fault::Length))?;
            let (header, chain) = expected.header(head).map_err(invalid)?;
            if rest.len() < header.written_len() {
                return Err(invalid(Fault::Length));
            }
            let bytes = rest.split_to(header.written_len());
            let frame = FrameRef::verify(&header, &bytes[HEADER_LEN..]).map_err(invalid)?;
            let written = self.file.write_at(&bytes, lsn.0 - self.base.0);
            written.map_err(DiskError::at("write", &unfinished(&self.path)))?;
            (self.position, self.chain, self.epoch) = (frame.end(), Some(chain), frame.epoch);
        }
        Ok(())
    }

    /// Puts it in its place, if it is whole and belongs there.
    pub fn finish(mut self) -> Result<(), ReplaceError> {
        if self.position != self.end {
            return Err(ReplaceError::Incomplete { end: self.position });
        }
        if self.chain != Some(self.proof) {
            return Err(ReplaceError::OtherLog { end: self.end });
        }
        self.file.sync().map_err(DiskError::at("flush", &unfinished(&self.path)))?;
        self.take_place()?;
        self.disk.sync_dir(&self.dir).map_err(DiskError::at("flush", &self.dir))?;
        Ok(())
    }

    fn take_place(&mut self) -> Result<(), ReplaceError> {
        let rename = || {
            let beside = unfinished(&self.path);
            self.disk.rename(&beside, &self.path).map_err(DiskError::at("rename", &beside))
        };
        let Home::Open(shared) = &self.home else { return Ok(rename()?) };
        // Nobody drops the segment meanwhile: whoever does takes it out of here first.
        let mut segments = write(&shared.segments);
        let base = self.base.0;
        if !segments.contains_key(&base) {
            return Err(ReplaceError::NotSealed(self.base));
        }
        rename()?;
        let file = self.disk.open(&self.path, OpenMode::Write).map_err(DiskError::at("open", &self.path))?;
        segments.insert(base, Arc::new(Segment::new(base, self.path.clone(), file)));
        Ok(())
    }
}

impl<D: Disk> Drop for Replacement<D> {
    /// Leaves nothing beside the segment; what cannot be removed now is removed at the next start.
    fn drop(&mut self) {
        let _ = self.disk.remove(&unfinished(&self.path));
    }
}
