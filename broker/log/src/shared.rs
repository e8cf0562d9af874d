//! What the log, its readers and its checkpoint writers hold together. The log thread alone moves the ends.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use rq_core::ids::Lsn;

use crate::cache::TailCache;
use crate::disk::{Disk, read_exact_at};
use crate::error::DiskError;
use crate::frame::{HEADER_LEN, Header};
use crate::identity::Identity;
use crate::layout::Layout;
use crate::superblock::SuperblockFile;

/// One file of the log.
pub(crate) struct Segment<D: Disk> {
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: D::File,
    /// Made when it is first read after it was sealed; `None` inside where the disk has no maps.
    pub(crate) map: OnceLock<Option<Bytes>>,
}

impl<D: Disk> Segment<D> {
    pub(crate) fn new(base: u64, path: PathBuf, file: D::File) -> Self {
        Self { base, path, file, map: OnceLock::new() }
    }
}

/// The state behind [`Log`](crate::Log), [`LogReader`](crate::LogReader) and [`Checkpoints`](crate::Checkpoints).
pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) layout: Layout,
    pub(crate) identity: Identity,
    pub(crate) shard_tag: u32,
    /// By base; the last one is being written.
    pub(crate) segments: RwLock<BTreeMap<u64, Arc<Segment<D>>>>,
    pub(crate) start: AtomicU64,
    pub(crate) durable: AtomicU64,
    pub(crate) head: Mutex<Head>,
    pub(crate) tail: RwLock<TailCache>,
    pub(crate) superblock: Mutex<SuperblockFile<D>>,
    pub(crate) kept: Mutex<Kept>,
    /// Held by who writes a checkpoint.
    pub(crate) checkpointing: Mutex<()>,
    /// Held as long as anything may write or read.
    pub(crate) _lock: D::Lock,
}

/// The checkpoints on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) newest: Option<Lsn>,
    pub(crate) older: Option<Lsn>,
}

/// Where the next frame goes and what it is chained to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) end: Lsn,
    pub(crate) chain: u32,
}

impl<D: Disk> Shared<D> {
    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn start(&self) -> Lsn {
        Lsn(self.start.load(Ordering::Acquire))
    }

    pub(crate) fn end(&self) -> Lsn {
        lock(&self.head).end
    }

    pub(crate) const fn base_of(&self, lsn: Lsn) -> u64 {
        lsn.0 - lsn.0 % self.identity.segment_bytes
    }

    /// The header checksum of the frame before `lsn`; `None` if no frame starts or is to start there.
    pub(crate) fn chain_at(&self, lsn: Lsn) -> Result<Option<u32>, DiskError> {
        let head = *lock(&self.head);
        if lsn == head.end {
            return Ok(Some(head.chain));
        }
        let cached = read(&self.tail).frame_at(lsn);
        let mut header = [0; HEADER_LEN];
        if let Some(frame) = cached {
            header.copy_from_slice(&frame.bytes[..HEADER_LEN]);
        } else {
            let base = self.base_of(lsn);
            let Some(segment) = read(&self.segments).get(&base).cloned() else { return Ok(None) };
            match read_exact_at(&segment.file, &mut header, lsn.0 - base) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(DiskError::at("read", &segment.path)(error)),
            }
        }
        let found = Header::decode(&header).ok().filter(|(header, _)| header.lsn == lsn);
        Ok(found.map(|(header, _)| header.chain))
    }
}

/// Locks, also after a panic of another holder: everything guarded here is valid between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Like [`lock`], for reading.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Like [`lock`], for writing.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
