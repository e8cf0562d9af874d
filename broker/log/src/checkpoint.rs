//! Checkpoint files: the state below a position, so that recovery replays only what came after.
//!
//! A file gets its name only when it is whole and flushed. Two are kept, so that one that rots costs nothing; the log
//! is kept from the older one on.

use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rq_core::codec::{Malformed, Reader, Write as _};
use rq_core::hash::crc32c;
use rq_core::ids::Lsn;

use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use crate::error::{DiskError, WriteError};
use crate::layout::{Layout, unfinished};
use crate::shared::{Kept, Shared, lock};

/// Bytes of state under one checksum.
const BLOCK: usize = 1 << 20;
const MAGIC: u32 = u32::from_le_bytes(*b"RQCP");
/// Version of a checkpoint file around its state.
pub(crate) const VERSION: u32 = 1;
const HEADER_LEN: usize = 28;
const TRAILER_LEN: usize = 16;

/// The state of everything below a position of the log.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The first position that is not in the state.
    pub lsn: Lsn,
    /// The state, as it was written.
    pub state: Bytes,
    /// Header checksum of the frame before `lsn`.
    pub(crate) chain: u32,
}

/// Writes checkpoints, from any thread, while the log goes on. Cheap to clone; one at a time writes.
pub struct Checkpoints<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for Checkpoints<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> Checkpoints<D> {
    pub(crate) const fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// The newest checkpoint; 0 if there is none.
    pub fn newest(&self) -> Lsn {
        lock(&self.shared.kept).newest.unwrap_or_default()
    }

    /// The oldest position from which the log is needed: the older checkpoint, or the log's start while there is only
    /// one.
    pub fn oldest_kept(&self) -> Lsn {
        let older = lock(&self.shared.kept).older;
        older.unwrap_or_else(|| self.shared.start())
    }

    /// Writes the state of everything below `lsn`, which must be the end of a durable frame, and removes the oldest
    /// checkpoint but one. Gives the bytes written; 0 if there is one at `lsn` already.
    pub fn write(
        &self,
        lsn: Lsn,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u64, WriteError> {
        let _one_at_a_time = lock(&self.shared.checkpointing);
        let kept = *lock(&self.shared.kept);
        if kept.newest == Some(lsn) {
            return Ok(0);
        }
        let misplaced = WriteError::CheckpointPosition { lsn, newest: kept.newest.unwrap_or_default() };
        if lsn > self.shared.durable() || kept.newest.is_some_and(|newest| lsn < newest) {
            return Err(misplaced);
        }
        let chain = self.shared.chain_at(lsn).map_err(WriteError::Checkpoint)?.ok_or(misplaced)?;
        self.put(lsn, chain, write)
    }

    /// Writes a checkpoint that is newer than those there are. One at a time does.
    pub(crate) fn put(
        &self,
        lsn: Lsn,
        chain: u32,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u64, WriteError> {
        let layout = &self.shared.layout;
        let path = layout.checkpoint(lsn);
        let tmp = unfinished(&path);
        let bytes = self.write_file(&tmp, lsn, chain, write).map_err(|error| {
            // Left where it is, it would only be removed at the next start.
            let _ = self.shared.disk.remove(&tmp);
            WriteError::Checkpoint(error)
        })?;
        self.shared
            .disk
            .rename(&tmp, &path)
            .map_err(DiskError::at("rename", &tmp))
            .map_err(WriteError::Checkpoint)?;
        self.sync_dir().map_err(WriteError::Checkpoint)?;
        lock(&self.shared.superblock).update(|superblock| superblock.checkpoint = lsn)?;
        let superseded = {
            let mut kept = lock(&self.shared.kept);
            let older = kept.older;
            *kept = Kept { newest: Some(lsn), older: kept.newest };
            older
        };
        if let Some(superseded) = superseded {
            self.remove(superseded);
        }
        Ok(bytes)
    }

    /// Removes a checkpoint that is needed no more; if that fails, the next start does it.
    fn remove(&self, superseded: Lsn) {
        let path = self.shared.layout.checkpoint(superseded);
        if let Err(error) = self.shared.disk.remove(&path) {
            tracing::warn!(file = %path.display(), %error, "a superseded checkpoint could not be removed");
        }
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        let dir = &self.shared.layout.checkpoints;
        self.shared.disk.sync_dir(dir).map_err(DiskError::at("flush", dir))
    }

    fn write_file(
        &self,
        tmp: &std::path::Path,
        lsn: Lsn,
        chain: u32,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<u64, DiskError> {
        let failed = |source| DiskError { op: "write", path: tmp.to_owned(), source };
        let file = self.shared.disk.open(tmp, OpenMode::Create).map_err(DiskError::at("create", tmp))?;
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.put_u32(MAGIC);
        header.put_u32(VERSION);
        header.put_u32(self.shared.shard_tag);
        header.put_u32(chain);
        header.put_u64(lsn.0);
        let crc = crc32c(&header);
        header.put_u32(crc);
        file.write_at(&header, 0).map_err(failed)?;
        let mut blocks = Blocks { file: &file, position: HEADER_LEN as u64, state_len: 0, block: Vec::new() };
        write(&mut blocks).and_then(|()| blocks.finish()).map_err(failed)?;
        let position = blocks.position;
        file.sync().map_err(DiskError::at("flush", tmp))?;
        Ok(position)
    }
}

/// Cuts what is written into blocks with checksums.
struct Blocks<'f, F: DiskFile> {
    file: &'f F,
    position: u64,
    state_len: u64,
    block: Vec<u8>,
}

impl<F: DiskFile> Blocks<'_, F> {
    fn flush_block(&mut self) -> io::Result<()> {
        let mut head = Vec::with_capacity(8);
        head.put_u32(self.block.len() as u32);
        head.put_u32(crc32c(&self.block));
        self.file.write_at(&head, self.position)?;
        self.file.write_at(&self.block, self.position + head.len() as u64)?;
        self.position += (head.len() + self.block.len()) as u64;
        self.state_len += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        let mut trailer = Vec::with_capacity(TRAILER_LEN);
        trailer.put_u32(0);
        trailer.put_u64(self.state_len);
        let crc = crc32c(&trailer);
        trailer.put_u32(crc);
        self.file.write_at(&trailer, self.position)?;
        self.position += trailer.len() as u64;
        Ok(())
    }
}

impl<F: DiskFile> Write for Blocks<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.flush_block()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a checkpoint file is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointFault {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It was written by a later version.
    #[error("{} has format version {found}: use the release that wrote it, or a newer version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Its bytes are not what was written.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Reads and checks the checkpoint at `lsn`.
pub(crate) fn load<D: Disk>(
    disk: &D,
    layout: &Layout,
    shard_tag: u32,
    lsn: Lsn,
) -> Result<Checkpoint, CheckpointFault> {
    let path = layout.checkpoint(lsn);
    let read = || {
        let file = disk.open(&path, OpenMode::Read)?;
        let mut bytes = vec![0; file.length()? as usize];
        read_exact_at(&file, &mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().map_err(DiskError::at("read", &path))?;
    decode(bytes, shard_tag, lsn).map_err(|undecodable| match undecodable {
        Undecodable::Newer(found) => CheckpointFault::Newer { path, found },
        Undecodable::Damaged(reason) => CheckpointFault::Damaged { path, reason },
    })
}

/// Why the bytes of a checkpoint file are of no use.
pub(crate) enum Undecodable {
    /// They are of a later version.
    Newer(u32),
    /// They are not what was written.
    Damaged(&'static str),
}

impl From<&'static str> for Undecodable {
    fn from(reason: &'static str) -> Self {
        Self::Damaged(reason)
    }
}

/// Checks the bytes of the checkpoint file at `lsn`, and leaves of them what the state is. They may be half of what this
/// process has in memory: there is no second copy.
pub(crate) fn decode(mut bytes: Vec<u8>, shard_tag: u32, lsn: Lsn) -> Result<Checkpoint, Undecodable> {
    let (chain, blocks) = check(&bytes, shard_tag, lsn)?;
    let mut state_len = 0;
    for block in blocks {
        let len = block.len();
        bytes.copy_within(block, state_len);
        state_len += len;
    }
    bytes.truncate(state_len);
    Ok(Checkpoint { lsn, state: Bytes::from(bytes), chain })
}

/// The checksum that the header names, and where the blocks of the state lie.
fn check(bytes: &[u8], shard_tag: u32, lsn: Lsn) -> Result<(u32, Vec<Range<usize>>), Undecodable> {
    let mut reader = Reader::new(bytes);
    let short = |_: Malformed| "cut short";
    let header = reader.take(HEADER_LEN - 4, "header").map_err(short)?;
    if crc32c(header) != reader.u32("header crc").map_err(short)? {
        return Err("header checksum mismatch".into());
    }
    let mut fields = Reader::new(header);
    let mut field = || fields.u32("header").map_err(short);
    let (magic, version, tag, chain) = (field()?, field()?, field()?, field()?);
    let position = fields.u64("lsn").map_err(short)?;
    if magic == MAGIC && version > VERSION {
        return Err(Undecodable::Newer(version));
    }
    if magic != MAGIC || version != VERSION {
        return Err("unknown format".into());
    }
    if tag != shard_tag || position != lsn.0 {
        return Err("belongs to another shard or position".into());
    }
    let (mut blocks, mut found) = (Vec::new(), 0);
    loop {
        let len = reader.u32("block length").map_err(short)?;
        if len == 0 {
            break;
        }
        let crc = reader.u32("block crc").map_err(short)?;
        let block = reader.take(len as usize, "block").map_err(short)?;
        if crc32c(block) != crc {
            return Err("block checksum mismatch".into());
        }
        found += u64::from(len);
        blocks.push(reader.position() - block.len()..reader.position());
    }
    let state_len = reader.u64("state length").map_err(short)?;
    let crc = reader.u32("trailer crc").map_err(short)?;
    let mut trailer = vec![0; 4];
    trailer.put_u64(state_len);
    if crc != crc32c(&trailer) || state_len != found || !reader.is_empty() {
        return Err("wrong length".into());
    }
    Ok((chain, blocks))
}
