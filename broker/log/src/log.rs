//! The log as its one writer has it: begin a frame, fill it, append it, flush.
//!
//! The first failed write or flush ends it for good: what was not durable then is unknown until the next recovery, so
//! nothing may be retried or answered any more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rq_core::ids::{Epoch, LogTime, Lsn};

use crate::checkpoint::Checkpoints;
use crate::disk::{Disk, DiskFile as _, DiskSpace};
use crate::error::{DiskError, WriteError};
use crate::frame::{FRAME_LIMIT, Frame, FrameBuilder, HEADER_LEN, Header, framed_len};
use crate::identity::Identity;
use crate::prepare::Preparer;
use crate::reader::LogReader;
use crate::shared::{Head, Segment, Shared, lock, write};

/// Bytes that may be written and not flushed; an append beyond flushes first. What a crash can leave behind the end of
/// the log lies within this, so recovery need not search further.
pub const UNSYNCED_LIMIT: u64 = 32 << 20;
/// Longest record.
pub const RECORD_LIMIT: usize = 16 << 20;
/// How old the figures of [`Log::space`] may be.
const SPACE_AGE: Duration = Duration::from_secs(1);

const _: () =
    assert!(RECORD_LIMIT as u64 * 2 <= UNSYNCED_LIMIT, "one frame must fit into what may be unflushed");

/// Room for the log, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// What can still be written: the rest of the active segment, prepared segments, and the whole segments for which the
    /// file system has room.
    pub available_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// A log that is open for writing. One thread owns it.
pub struct Log<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) preparer: Preparer<D>,
    pub(crate) active: Arc<Segment<D>>,
    pub(crate) head: Head,
    pub(crate) durable: Lsn,
    /// What the newest frame that was appended says of the commit.
    committed: Lsn,
    /// Length of the last frame: what the next one probably needs.
    usual_len: usize,
    poisoned: bool,
    /// Until the log reaches this position, it is the beginning of a copy.
    installing: Option<Lsn>,
    space: Option<AskedSpace>,
}

/// What the file system said last.
struct AskedSpace {
    at: Instant,
    /// How many segments were prepared then: another number means that the room was used.
    stocked: u64,
    disk: DiskSpace,
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>, preparer: Preparer<D>, active: Arc<Segment<D>>) -> Self {
        let head = *lock(&shared.head);
        let durable = shared.durable();
        let installing = lock(&shared.superblock).current().installing;
        Self {
            shared,
            preparer,
            active,
            head,
            durable,
            committed: Lsn(0),
            usual_len: 0,
            poisoned: false,
            installing,
            space: None,
        }
    }

    /// Begins a frame whose first record has `first_record_len` bytes; goes to the next segment if it does not fit
    /// into this one. `log_time` and `epoch` must not go back. Nothing is written before [`Log::append`], except what
    /// closes a full segment.
    pub fn begin(
        &mut self,
        epoch: Epoch,
        log_time: LogTime,
        first_record_len: usize,
    ) -> Result<FrameBuilder, WriteError> {
        self.check()?;
        let need = framed_len(HEADER_LEN, first_record_len);
        let limit = self.shared.identity.segment_bytes - HEADER_LEN as u64;
        if first_record_len > RECORD_LIMIT || need > limit {
            return Err(WriteError::TooLarge { len: need, limit: limit.min(RECORD_LIMIT as u64) });
        }
        if need > self.room() {
            self.roll(epoch, log_time)?;
        } else if self.room() < self.shared.identity.segment_bytes / 2 {
            self.preparer.hurry();
        }
        let capacity = (need as usize).max(self.usual_len.min(FRAME_LIMIT));
        Ok(FrameBuilder::new(epoch, log_time, self.head.end, self.room(), capacity))
    }

    /// Writes a frame at its place. `commit` is everything that is known to be committed; the header carries it (no
    /// more of it than is durable here) so that recovery knows what can only be missing by damage. Durable after the
    /// next [`Log::sync`].
    pub fn append(&mut self, frame: FrameBuilder, commit: Lsn) -> Result<Frame, WriteError> {
        self.check()?;
        if frame.lsn != self.head.end {
            return Err(WriteError::OutOfPlace { begun: frame.lsn, end: self.head.end });
        }
        let len = frame.frame_len();
        let limit = frame.room().min(UNSYNCED_LIMIT);
        if len > limit {
            return Err(WriteError::TooLarge { len, limit });
        }
        let end = self.head.end.plus(len);
        if end.0 - self.durable.0 > UNSYNCED_LIMIT {
            self.sync()?;
        }
        self.preparer.wait_zeroed(end.0);
        self.committed = commit.min(self.durable);
        let (frame, chain) = frame.seal(self.committed, self.head.chain, self.shared.shard_tag);
        self.usual_len = frame.bytes.len();
        self.write_frame(frame.clone(), chain)?;
        Ok(frame)
    }

    /// Makes everything appended durable and tells up to where.
    pub fn sync(&mut self) -> Result<Lsn, WriteError> {
        self.check()?;
        if self.durable < self.head.end {
            let synced = self.active.file.sync();
            self.fatal("flush", synced)?;
            self.durable = self.head.end;
            self.shared.durable.store(self.durable.0, Ordering::Release);
        }
        if self.installing.is_some_and(|until| until <= self.durable) {
            let recorded = lock(&self.shared.superblock).update(|superblock| superblock.installing = None);
            self.poison_on_fatal(recorded)?;
            self.installing = None;
        }
        Ok(self.durable)
    }

    /// Where the next frame goes.
    pub fn end(&self) -> Lsn {
        self.head.end
    }

    /// Everything below is durable here.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Everything below was dropped.
    pub fn start(&self) -> Lsn {
        self.shared.start()
    }

    /// Whose log it is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The oldest epoch this store still acts in.
    pub fn promised_epoch(&self) -> Epoch {
        lock(&self.shared.superblock).current().promised_epoch
    }

    /// How often this store was opened, this time included.
    pub fn incarnation(&self) -> u64 {
        lock(&self.shared.superblock).current().incarnation
    }

    /// Promises durably to act in no epoch older than this. An older promise than the present one changes nothing.
    pub fn promise(&mut self, epoch: Epoch) -> Result<(), WriteError> {
        self.check()?;
        let promised = lock(&self.shared.superblock)
            .update(|superblock| superblock.promised_epoch = superblock.promised_epoch.max(epoch));
        self.poison_on_fatal(promised)
    }

    /// Reads records, from any thread.
    pub fn reader(&self) -> LogReader<D> {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// Writes checkpoints, from any thread.
    pub fn checkpoints(&self) -> Checkpoints<D> {
        Checkpoints::new(Arc::clone(&self.shared))
    }

    /// Room for the log. Asks the file system about once a second; 0 when it gives no answer.
    pub fn space(&mut self) -> Space {
        let stocked = self.preparer.stocked() as u64;
        let current = self.space.take_if(|asked| asked.at.elapsed() < SPACE_AGE && asked.stocked == stocked);
        let asked = current.unwrap_or_else(|| self.ask_space(stocked));
        let segment_bytes = self.shared.identity.segment_bytes;
        // A file system is of use in whole segments only.
        let unmade = asked.disk.available - asked.disk.available % segment_bytes;
        let available_bytes = self.room() + stocked * segment_bytes + unmade;
        let total_bytes = asked.disk.total;
        self.space = Some(asked);
        Space { available_bytes, total_bytes }
    }

    fn ask_space(&self, stocked: u64) -> AskedSpace {
        let disk = self.shared.disk.space(&self.shared.layout.dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "the file system does not tell its free space");
            DiskSpace { available: 0, total: 0 }
        });
        AskedSpace { at: Instant::now(), stocked, disk }
    }

    /// Removes the segments that lie wholly below `lsn`, as far as no checkpoint needs them, and tells where the log
    /// starts then.
    pub fn drop_below(&mut self, lsn: Lsn) -> Result<Lsn, WriteError> {
        self.check()?;
        let needed = lsn.min(self.checkpoints().oldest_kept()).min(self.durable);
        let start = Lsn(self.shared.base_of(needed));
        if start <= self.shared.start() {
            return Ok(self.shared.start());
        }
        let recorded = lock(&self.shared.superblock).update(|superblock| superblock.log_start = start);
        self.poison_on_fatal(recorded)?;
        self.shared.start.store(start.0, Ordering::Release);
        let dropped = {
            let mut segments = write(&self.shared.segments);
            let kept = segments.split_off(&start.0);
            std::mem::replace(&mut *segments, kept)
        };
        for segment in dropped.values() {
            // The log starts after it already; if it cannot be removed now, the next start removes it.
            if let Err(error) = self.shared.disk.remove(&segment.path) {
                tracing::warn!(file = %segment.path.display(), %error, "a dropped segment could not be removed");
            }
        }
        self.space = None;
        self.preparer.nudge();
        Ok(start)
    }

    /// Flushes and records that nothing needs to be recovered.
    pub fn close(mut self) -> Result<(), WriteError> {
        let end = self.sync()?;
        lock(&self.shared.superblock).update(|superblock| {
            superblock.sealed_end = end;
            superblock.clean = true;
        })
    }

    /// Bytes that a frame may take in the active segment: the header of the frame that fills it up stays free.
    pub(crate) fn room(&self) -> u64 {
        let end = self.active.base + self.shared.identity.segment_bytes;
        (end - self.head.end.0).saturating_sub(HEADER_LEN as u64)
    }

    /// Fills the active segment up, flushes it, and goes on in the next. Nothing is written if there is none.
    fn roll(&mut self, epoch: Epoch, log_time: LogTime) -> Result<(), WriteError> {
        let base = self.active.base + self.shared.identity.segment_bytes;
        let next = self.preparer.take(base)?;
        if self.head.end.0 < base {
            self.preparer.wait_zeroed(base);
            let (bytes, chain) = Header {
                pad: true,
                epoch,
                payload_len: (base - self.head.end.0 - HEADER_LEN as u64) as u32,
                lsn: self.head.end,
                // What is flushed here need not be committed.
                commit_lsn: self.committed,
                log_time,
                record_count: 0,
                chain: self.head.chain,
                shard_tag: self.shared.shard_tag,
                payload_crc: 0,
            }
            .encode();
            let pad = Frame { lsn: self.head.end, end: Lsn(base), bytes: Bytes::copy_from_slice(&bytes) };
            self.write_frame(pad, chain)?;
        }
        self.go_on_in(base, next)
    }

    /// Goes on in the next segment; the active one is full.
    pub(crate) fn go_on_in(&mut self, base: u64, next: Arc<Segment<D>>) -> Result<(), WriteError> {
        // From here on an invalid frame in the full segment can only be damage.
        self.sync()?;
        let recorded = lock(&self.shared.superblock).update(|superblock| superblock.sealed_end = Lsn(base));
        self.poison_on_fatal(recorded)?;
        write(&self.shared.segments).insert(base, Arc::clone(&next));
        self.active = next;
        Ok(())
    }

    /// Writes a whole frame at the end of the log and keeps it in memory for readers.
    pub(crate) fn write_frame(&mut self, frame: Frame, chain: u32) -> Result<(), WriteError> {
        self.write_active(&frame.bytes, frame.lsn)?;
        self.move_head(Head { end: frame.end, chain });
        write(&self.shared.tail).push(frame);
        Ok(())
    }

    fn write_active(&mut self, bytes: &[u8], lsn: Lsn) -> Result<(), WriteError> {
        let written = self.active.file.write_at(bytes, lsn.0 - self.active.base);
        self.fatal("write", written)
    }

    fn move_head(&mut self, head: Head) {
        self.head = head;
        *lock(&self.shared.head) = head;
    }

    pub(crate) const fn check(&self) -> Result<(), WriteError> {
        if self.poisoned { Err(WriteError::Poisoned) } else { Ok(()) }
    }

    fn fatal(&mut self, op: &'static str, done: std::io::Result<()>) -> Result<(), WriteError> {
        let path: &Path = &self.active.path;
        let done = done.map_err(DiskError::at(op, path)).map_err(WriteError::Failed);
        self.poison_on_fatal(done)
    }

    pub(crate) fn poison_on_fatal(&mut self, done: Result<(), WriteError>) -> Result<(), WriteError> {
        self.poisoned |= done.as_ref().is_err_and(WriteError::is_fatal);
        done
    }
}
