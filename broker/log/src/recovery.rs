//! Opening a data directory: lock it, make sure whose it is, load the newest checkpoint, verify and replay what
//! follows, make the tail durable again, and only then let the log be written.
//!
//! A torn tail (never flushed) is cut off; damage below what was known to be durable is refused. Until
//! [`Recovery::finish`] nothing on the disk changes, unless the directory was empty and is formatted, or holds the beginning
//! of a copy and is emptied.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

use rq_core::ids::{Epoch, Lsn, ShardId};

use crate::cache::TailCache;
use crate::checkpoint::{self, Checkpoint};
use crate::disk::{Disk, OpenMode};
use crate::error::{Damaged, DiskError, OpenError, ReplayError, WriteError};
use crate::frame::FrameRef;
use crate::identity::Identity;
use crate::layout::{LOCK, Layout};
use crate::log::Log;
use crate::prepare::{Preparer, Unzeroed, Workshop};
use crate::scan::{Scan, ScanFrom, Step};
use crate::shared::{Head, Kept, Segment, Shared};
use crate::superblock::{Superblock, SuperblockFile};

mod contents;
mod format;
mod install;
mod tail;

use contents::Contents;
use tail::Tail;

/// Smallest segment. A simulated log goes through many in the short time that it lives.
pub const MIN_SEGMENT_BYTES: u64 = if cfg!(feature = "simulation") { 64 << 10 } else { 1 << 20 };
/// Largest segment.
pub const MAX_SEGMENT_BYTES: u64 = 1 << 30;
/// Segments start and end at multiples of this.
const SEGMENT_ALIGNMENT: u64 = 4 << 10;

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the cluster; a directory of another one is refused.
    pub cluster: String,
    /// The shard; a directory of another one is refused.
    pub shard: ShardId,
    /// Bytes of a segment, 1 MiB to 1 GiB, a multiple of 4 KiB. Fixed when the directory is formatted, ignored after.
    pub segment_bytes: u64,
    /// Segments to prepare ahead, at least 1.
    pub prepared_segments: usize,
    /// Bytes of the newest frames that are kept in memory.
    pub tail_cache_bytes: usize,
    /// Whether to use a file system that may lose what it has acknowledged.
    pub allow_unsafe_filesystem: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            shard: ShardId(0),
            segment_bytes: 256 << 20,
            prepared_segments: 2,
            tail_cache_bytes: 128 << 20,
            allow_unsafe_filesystem: false,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let segment_fits = (MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(SEGMENT_ALIGNMENT);
        if !segment_fits {
            return Err(OpenError::InvalidOptions(
                "segment_bytes must be 1 MiB to 1 GiB and a multiple of 4 KiB",
            ));
        }
        if self.prepared_segments == 0 {
            return Err(OpenError::InvalidOptions("prepared_segments must be at least 1"));
        }
        Ok(())
    }
}

/// A data directory that is locked and identified, and whose log is still to be replayed.
pub struct Recovery<D: Disk> {
    disk: D,
    layout: Layout,
    options: Options,
    identity: Identity,
    shard_tag: u32,
    superblock: Superblock,
    lock: D::Lock,
    segments: BTreeMap<u64, Arc<Segment<D>>>,
    checkpoint: Option<Checkpoint>,
    kept: Kept,
    /// Files of ours that are of no use any more.
    leftovers: Vec<PathBuf>,
    /// Files of ours that are not what they should be.
    suspects: Vec<PathBuf>,
    /// How far the first segment was written with zeroes, if it was made just now.
    formatted: Option<u64>,
    /// The log shall end here.
    cut: Option<Lsn>,
    tail: Option<Tail>,
}

/// Opens the data directory `dir`, formatting it if it is empty.
pub fn open<D: Disk>(disk: D, dir: &Path, options: Options) -> Result<Recovery<D>, OpenError> {
    options.check()?;
    let layout = Layout::new(dir);
    check_file_system(&disk, &layout, &options)?;
    for dir in [&layout.dir, &layout.log, &layout.checkpoints] {
        disk.create_dir(dir).map_err(DiskError::at("create", dir))?;
    }
    let lock_path = layout.dir.join(LOCK);
    let lock = disk.lock(&lock_path).map_err(DiskError::at("lock", &lock_path))?;
    let lock = lock.ok_or_else(|| OpenError::Locked(layout.dir.clone()))?;
    let (identity, formatted) = match Identity::read(&disk, &layout)? {
        Some(identity) => (identity, None),
        None => {
            format::format(&disk, &layout, &options).map(|(identity, zeroed)| (identity, Some(zeroed)))?
        }
    };
    if identity.cluster != options.cluster {
        let (found, expected) = (identity.cluster, options.cluster);
        return Err(OpenError::OtherCluster { dir: layout.dir, found, expected });
    }
    if identity.shard != options.shard {
        return Err(OpenError::OtherShard {
            dir: layout.dir,
            found: identity.shard,
            expected: options.shard,
        });
    }
    let mut superblock = Superblock::read(&disk, &layout)?;
    let mut formatted = formatted;
    if superblock.installing.is_some() {
        let (emptied, zeroed) = format::empty(&disk, &layout, &identity, superblock)?;
        (superblock, formatted) = (emptied, Some(zeroed));
    }
    let shard_tag = identity.shard_tag();
    let contents = Contents::list(&disk, &layout, &identity, &superblock)?;
    Ok(Recovery {
        shard_tag,
        superblock,
        lock,
        segments: contents.segments,
        checkpoint: contents.checkpoint,
        kept: contents.kept,
        leftovers: contents.leftovers,
        suspects: contents.suspects,
        formatted,
        cut: None,
        tail: None,
        disk,
        layout,
        options,
        identity,
    })
}

/// Before anything is made: a directory that is not there yet will be on the file system of the one that it goes into.
fn check_file_system<D: Disk>(disk: &D, layout: &Layout, options: &Options) -> Result<(), OpenError> {
    let mut dir = layout.dir.as_path();
    let file_system = loop {
        match (disk.file_system(dir), dir.parent()) {
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                dir = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            }
            (found, _) => break found.map_err(DiskError::at("examine", dir))?,
        }
    };
    if file_system.keeps_promises {
        return Ok(());
    }
    if !options.allow_unsafe_filesystem {
        return Err(OpenError::UnsafeFilesystem { dir: layout.dir.clone(), file_system: file_system.name });
    }
    tracing::warn!(
        dir = %layout.dir.display(),
        file_system = file_system.name,
        "unsafe file system: acknowledged messages may be lost with the machine"
    );
    Ok(())
}

fn superblock_failed(layout: &Layout, error: WriteError) -> OpenError {
    match error {
        WriteError::Failed(error) => error.into(),
        other => DiskError::at("write the superblock in", &layout.dir)(io::Error::other(other)).into(),
    }
}

impl<D: Disk> Recovery<D> {
    /// Whose data directory it is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The oldest epoch this store still acts in.
    pub const fn promised_epoch(&self) -> Epoch {
        self.superblock.promised_epoch
    }

    /// Whether the log was closed cleanly.
    pub const fn was_clean(&self) -> bool {
        self.superblock.clean
    }

    /// The newest checkpoint that is whole. Everything below its position is in its state, and nothing else.
    pub fn checkpoint(&mut self) -> Result<Option<Checkpoint>, OpenError> {
        Ok(self.checkpoint.clone())
    }

    /// Lets the log end at `end`, which is the start of a frame: what follows is not replayed, and [`Recovery::finish`]
    /// removes it. For what this replica wrote and the master's log does not have; never below what is committed, so
    /// never below the checkpoint.
    pub fn cut(&mut self, end: Lsn) -> Result<(), OpenError> {
        let oldest = self.checkpoint.as_ref().map_or(self.superblock.log_start, |checkpoint| checkpoint.lsn);
        if end < oldest {
            let reason = format!("it was to be cut off at {end}, but is committed up to {oldest} at least");
            return Err(Damaged { file: self.layout.dir.clone(), position: end, reason }.into());
        }
        self.cut = Some(end);
        Ok(())
    }

    /// Gives every frame, verified, in order: from the checkpoint (or the start of the log) to the end. One that fills a
    /// segment up has no records.
    pub fn replay<E>(
        &mut self,
        mut each: impl FnMut(FrameRef<'_>) -> Result<(), E>,
    ) -> Result<(), ReplayError<E>> {
        let (start, mut chain) = match &self.checkpoint {
            Some(checkpoint) => (checkpoint.lsn, Some(checkpoint.chain)),
            None => (self.superblock.log_start, (self.superblock.log_start == Lsn(0)).then_some(0)),
        };
        let segment_bytes = self.identity.segment_bytes;
        let mut known = start.max(self.superblock.known_durable());
        let (mut position, mut epoch) = (start, Epoch(0));
        loop {
            let base = position.0 - position.0 % segment_bytes;
            let segment = self.segments.get(&base).ok_or_else(|| self.missing(position))?;
            let from = ScanFrom { base, position, chain, epoch };
            let mut scan = Scan::new(&segment.file, from, segment_bytes, self.shard_tag);
            let fault = loop {
                if let Some(cut) = self.cut.filter(|cut| scan.position() >= *cut) {
                    let (end, chain) = (scan.position(), scan.chain().unwrap_or_default());
                    if end > cut {
                        let reason = format!("no frame starts at {cut}, where it was to be cut off");
                        return Err(OpenError::from(Damaged {
                            file: segment.path.clone(),
                            position: cut,
                            reason,
                        })
                        .into());
                    }
                    self.tail = Some(Tail::cut(end, chain, known));
                    return Ok(());
                }
                match scan.step().map_err(DiskError::at("read", &segment.path)).map_err(OpenError::from)? {
                    Step::Frame(frame) => {
                        known = known.max(self.superblock.proven(frame.commit_lsn));
                        each(frame).map_err(|source| ReplayError::Refused { lsn: frame.lsn, source })?;
                    }
                    Step::Full => break None,
                    Step::Invalid(fault) => break Some(fault),
                }
            };
            (position, chain, epoch) = (scan.position(), scan.chain(), scan.epoch());
            if let Some(fault) = fault {
                let end = Tail::candidate(position, chain.unwrap_or_default(), known);
                self.tail = Some(self.examine_tail(end, fault)?);
                return Ok(());
            }
        }
    }

    fn missing(&self, position: Lsn) -> OpenError {
        let base = position.0 - position.0 % self.identity.segment_bytes;
        let reason = "the segment is missing".to_owned();
        Damaged { file: self.layout.segment(base), position, reason }.into()
    }

    /// Makes the end of the log durable again and opens the log for writing after it.
    pub fn finish(mut self) -> Result<Log<D>, OpenError> {
        if self.tail.is_none() {
            let replayed = self.replay(|_| Ok::<_, std::convert::Infallible>(()));
            replayed.map_err(|error| match error {
                ReplayError::Open(error) => error,
                ReplayError::Refused { source, .. } => match source {},
            })?;
        }
        let Some(tail) = self.tail.take() else { return Err(self.missing(self.superblock.log_start)) };
        let base = tail.end.0 - tail.end.0 % self.identity.segment_bytes;
        let mut superblock = SuperblockFile::open(&self.disk, &self.layout, self.superblock)?;
        if self.cut.is_some() {
            // First of all it is no longer known that more was durable; what is there until it is gone is valid.
            superblock
                .update(|superblock| {
                    superblock.sealed_end = superblock.sealed_end.min(tail.end);
                    superblock.clean = false;
                })
                .map_err(|error| superblock_failed(&self.layout, error))?;
            self.remove_behind(&tail)?;
        }
        self.make_durable(&tail)?;
        for dir in [&self.layout.log, &self.layout.checkpoints, &self.layout.dir] {
            self.disk.sync_dir(dir).map_err(DiskError::at("flush", dir))?;
        }
        superblock
            .update(|superblock| {
                superblock.incarnation += 1;
                // All of it is flushed now.
                superblock.unproven = None;
                superblock.clean = false;
                superblock.sealed_end = superblock.sealed_end.max(Lsn(base));
                superblock.checkpoint = self.kept.newest.unwrap_or_default();
            })
            .map_err(|error| superblock_failed(&self.layout, error))?;
        self.tidy()?;
        self.start(&tail, base, superblock)
    }

    /// Puts away what does not belong to the log.
    fn tidy(&self) -> Result<(), OpenError> {
        for path in &self.leftovers {
            self.disk.remove(path).map_err(DiskError::at("remove", path))?;
        }
        for path in &self.suspects {
            let quarantine = &self.layout.quarantine;
            self.disk.create_dir(quarantine).map_err(DiskError::at("create", quarantine))?;
            let Some(name) = path.file_name() else { continue };
            tracing::warn!(file = %path.display(), "not part of the log, moved to quarantine");
            self.disk.rename(path, &quarantine.join(name)).map_err(DiskError::at("move", path))?;
        }
        Ok(())
    }

    fn start(mut self, tail: &Tail, base: u64, superblock: SuperblockFile<D>) -> Result<Log<D>, OpenError> {
        let segment_bytes = self.identity.segment_bytes;
        let ready: VecDeque<_> = self.segments.split_off(&(base + 1)).into_values().collect();
        let next_base = ready.back().map_or(base, |last| last.base) + segment_bytes;
        let active = self.segments.get(&base).cloned().ok_or_else(|| self.missing(tail.end))?;
        let workshop = Workshop { disk: self.disk.clone(), layout: self.layout.clone(), segment_bytes };
        let unzeroed = self.formatted.filter(|zeroed| *zeroed < segment_bytes);
        let unzeroed = unzeroed.map(|from| Unzeroed { segment: Arc::clone(&active), from });
        let preparer = Preparer::start(workshop, self.options.prepared_segments, ready, next_base, unzeroed)
            .map_err(DiskError::at("start the thread that prepares segments in", &self.layout.log))?;
        let shared = Shared {
            shard_tag: self.shard_tag,
            segments: RwLock::new(self.segments),
            start: AtomicU64::new(self.superblock.log_start.0),
            durable: AtomicU64::new(tail.end.0),
            head: Mutex::new(Head { end: tail.end, chain: tail.chain }),
            tail: RwLock::new(TailCache::new(self.options.tail_cache_bytes)),
            superblock: Mutex::new(superblock),
            kept: Mutex::new(self.kept),
            checkpointing: Mutex::new(()),
            _lock: self.lock,
            disk: self.disk,
            layout: self.layout,
            identity: self.identity,
        };
        Ok(Log::new(Arc::new(shared), preparer, active))
    }
}
