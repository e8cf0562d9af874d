//! Replication of the log: frames handed out as they lie in the file, and stored byte for byte by another replica.
//!
//! What is copied is verified like what is recovered: a frame that does not follow the one before it is not stored.

use bytes::Bytes;
use rq_core::ids::{Epoch, Lsn};
use thiserror::Error;

use crate::disk::{Disk, read_exact_at};
use crate::error::{DiskError, ReadError, WriteError};
use crate::frame::{Expected, Fault, Frame, FrameRef, HEADER_LEN};
use crate::log::{Log, UNSYNCED_LIMIT};
use crate::reader::LogReader;
use crate::shared::{lock, read};

/// Why frames of the master were not stored. Those before were.
#[derive(Debug, Error)]
pub enum CopyError<E> {
    /// They are damaged, or do not follow what is here.
    #[error("what the master sent for {lsn} cannot be stored: {fault}")]
    Invalid {
        /// Where the frame was to go.
        lsn: Lsn,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The disk is full or failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its records were refused; the frame is stored.
    #[error("the frame at {lsn} does not fit the state of this replica")]
    Refused {
        /// The frame.
        lsn: Lsn,
        /// What is wrong with it.
        #[source]
        source: E,
    },
}

impl<D: Disk> Log<D> {
    /// Stores whole frames that the master has at the end of this log, and gives each one to `each`, also
    /// those without records that fill a segment up.
    /// Tells where the log ends then. Durable after the next [`Log::sync`].
    pub fn copy<E>(
        &mut self,
        bytes: &Bytes,
        mut each: impl FnMut(FrameRef<'_>) -> Result<(), E>,
    ) -> Result<Lsn, CopyError<E>> {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            self.check()?;
            let segment_end = self.active.base + self.shared.identity.segment_bytes;
            let lsn = self.head.end;
            let invalid = |fault| CopyError::Invalid { lsn, fault };
            let expected = Expected {
                lsn,
                shard_tag: self.shared.shard_tag,
                chain: Some(self.head.chain),
                // The chain says which frame came before; that its epoch is no newer, that frame's writer made sure of.
                epoch: Epoch(0),
                room: segment_end - lsn.0,
            };
            let head = rest.first_chunk().ok_or_else(|| invalid(Fault::Length))?;
            let (header, chain) = expected.header(head).map_err(invalid)?;
            let len = header.written_len();
            if rest.len() < len || len as u64 > UNSYNCED_LIMIT {
                return Err(invalid(Fault::Length));
            }
            let bytes = rest.split_to(len);
            let frame = FrameRef::verify(&header, &bytes[HEADER_LEN..]).map_err(invalid)?;
            if frame.end().0 - self.durable.0 > UNSYNCED_LIMIT {
                self.sync()?;
            }
            if self.room() < self.shared.identity.segment_bytes / 2 {
                self.preparer.hurry();
            }
            // A log that ends with a full segment cannot be opened without the next one: no frame fills it before that is there.
            let fills = frame.end().0 == segment_end;
            let next = if fills { Some(self.preparer.take(segment_end)?) } else { None };
            if frame.commit_lsn > self.durable {
                self.stop_proving()?;
            }
            self.preparer.wait_zeroed(frame.end().0);
            self.write_frame(Frame { lsn, end: frame.end(), bytes: bytes.clone() }, chain)?;
            each(frame).map_err(|source| CopyError::Refused { lsn, source })?;
            if let Some(next) = next {
                self.go_on_in(segment_end, next)?;
            }
        }
        Ok(self.head.end)
    }

    /// What frames say of the commit proves that it was flushed here, as on a master and on a slave that it counts.
    /// To be called when this replica becomes one of those; until then [`Log::copy`] sees to it that what the loss of
    /// power takes from a replica that catches up is not taken for damage. Flushes the log if it matters.
    pub fn prove_again(&mut self) -> Result<(), WriteError> {
        if lock(&self.shared.superblock).current().unproven.is_none() {
            return Ok(());
        }
        self.sync()?;
        self.set_unproven(None)
    }

    /// The master commits without this replica: a frame may say so of bytes that are not flushed here.
    fn stop_proving(&mut self) -> Result<(), WriteError> {
        let from = self.durable;
        if lock(&self.shared.superblock).current().unproven.is_none() {
            self.set_unproven(Some(from))?;
        }
        Ok(())
    }

    fn set_unproven(&mut self, unproven: Option<Lsn>) -> Result<(), WriteError> {
        let recorded = lock(&self.shared.superblock).update(|superblock| superblock.unproven = unproven);
        self.poison_on_fatal(recorded)
    }
}

impl<D: Disk> LogReader<D> {
    /// Whole frames as they lie in the log, from the one that starts at `from` on: at least one, and more while they
    /// are together no longer than `bytes_max`. Nothing at the end of the log. Frames may not be flushed yet. What cannot be
    /// read ends them; it is an error if it is the first.
    pub fn frames(&self, from: Lsn, bytes_max: usize) -> Result<Vec<Frame>, ReadError> {
        let (start, end) = (self.shared.start(), self.shared.end());
        if from < start {
            return Err(ReadError::Dropped { lsn: from, start });
        }
        if from > end {
            return Err(ReadError::BeyondEnd { lsn: from, end });
        }
        let (mut frames, mut at, mut bytes) = (Vec::new(), from, 0);
        while at < end {
            let frame = match self.frame_at(at) {
                Err(_) if !frames.is_empty() => break,
                frame => frame?,
            };
            if !frames.is_empty() && bytes + frame.bytes.len() > bytes_max {
                break;
            }
            bytes += frame.bytes.len();
            at = frame.end;
            frames.push(frame);
        }
        Ok(frames)
    }

    /// As [`LogReader::frames`], as far as they are in memory. Does no IO.
    pub fn cached_frames(&self, from: Lsn, bytes_max: usize) -> Vec<Frame> {
        let (mut frames, mut at, mut bytes) = (Vec::new(), from, 0);
        let tail = read(&self.shared.tail);
        while let Some(frame) = tail.frame_at(at) {
            if !frames.is_empty() && bytes + frame.bytes.len() > bytes_max {
                break;
            }
            bytes += frame.bytes.len();
            at = frame.end;
            frames.push(frame);
        }
        frames
    }

    fn frame_at(&self, lsn: Lsn) -> Result<Frame, ReadError> {
        if let Some(frame) = read(&self.shared.tail).frame_at(lsn) {
            return Ok(frame);
        }
        let base = self.shared.base_of(lsn);
        let segment = read(&self.shared.segments).get(&base).cloned();
        let segment = segment.ok_or(ReadError::Dropped { lsn, start: self.shared.start() })?;
        let damaged = |fault| ReadError::Damaged { lsn, fault };
        let mut head = [0; HEADER_LEN];
        let at = lsn.0 - base;
        read_exact_at(&segment.file, &mut head, at).map_err(DiskError::at("read", &segment.path))?;
        let expected = Expected {
            lsn,
            shard_tag: self.shared.shard_tag,
            chain: None,
            epoch: Epoch(0),
            room: base + self.shared.identity.segment_bytes - lsn.0,
        };
        let (header, _) = expected.header(&head).map_err(damaged)?;
        let len = header.written_len();
        let mut bytes = vec![0; len];
        bytes[..HEADER_LEN].copy_from_slice(&head);
        read_exact_at(&segment.file, &mut bytes[HEADER_LEN..], at + HEADER_LEN as u64)
            .map_err(DiskError::at("read", &segment.path))?;
        let end = FrameRef::verify(&header, &bytes[HEADER_LEN..]).map_err(damaged)?.end();
        Ok(Frame { lsn, end, bytes: Bytes::from(bytes) })
    }
}
