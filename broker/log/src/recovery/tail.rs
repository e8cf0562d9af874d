//! The end of the log after a crash: torn or damaged, and what has to be written again before it counts.
//!
//! Torn is only what was never known to be durable. What was recovered may be in the page cache alone (a failed flush
//! leaves it there, marked clean), so it is written again and flushed before anybody relies on it.

use rq_core::ids::Lsn;

use super::{Damaged, Disk, DiskError, OpenError, Recovery};
use crate::disk::{DiskFile as _, read_exact_at};
use crate::frame::{ALIGNMENT, Fault, HEADER_LEN, Header};
use crate::log::UNSYNCED_LIMIT;
use crate::prepare::ZEROES;
use crate::shared::Segment;

/// Bytes looked at, and written, at a time.
const CHUNK: u64 = 64 << 10;

/// Where the log ends.
pub(super) struct Tail {
    pub(super) end: Lsn,
    /// Header checksum of the last frame.
    pub(super) chain: u32,
    /// Everything below was known to be durable.
    known: Lsn,
    /// Positions of chunks behind the end that may not be all zero, with their ends.
    stale: Vec<(u64, u64)>,
}

impl Tail {
    pub(super) const fn candidate(end: Lsn, chain: u32, known: Lsn) -> Self {
        Self { end, chain, known, stale: Vec::new() }
    }

    /// The end of a log that is cut off there.
    pub(super) fn cut(end: Lsn, chain: u32, known: Lsn) -> Self {
        Self { end, chain, known: known.min(end), stale: Vec::new() }
    }
}

impl<D: Disk> Recovery<D> {
    /// Decides whether the invalid bytes at the end of `tail` are a torn tail, and finds what lies behind.
    pub(super) fn examine_tail(&self, mut tail: Tail, fault: Fault) -> Result<Tail, OpenError> {
        let base = tail.end.0 - tail.end.0 % self.identity.segment_bytes;
        let segment = self.segments.get(&base).ok_or_else(|| self.missing(tail.end))?;
        let damaged = |reason: String| {
            OpenError::from(Damaged { file: segment.path.clone(), position: tail.end, reason })
        };
        if fault == Fault::Unsupported {
            return Err(damaged(fault.to_string()));
        }
        if tail.end < tail.known {
            return Err(damaged(format!("{fault}, but the log was durable up to {}", tail.known)));
        }
        if self.superblock.clean && tail.end == self.superblock.sealed_end && fault == Fault::Blank {
            return Ok(tail);
        }
        let window_end = (tail.end.0 + UNSYNCED_LIMIT).min(base + self.identity.segment_bytes);
        let mut at = tail.end.0;
        let mut overlap = Vec::new();
        while at < window_end {
            let chunk_end = (at - at % CHUNK + CHUNK).min(window_end);
            let bytes = read_range(segment, at, chunk_end)?;
            if bytes[..] == ZEROES[..bytes.len()] && overlap.is_empty() {
                at = chunk_end;
                continue;
            }
            tail.stale.push((at, chunk_end));
            // A header may lie across two chunks.
            let from = at - overlap.len() as u64;
            overlap.extend_from_slice(&bytes);
            if let Some(proof) = self.later_frame(&overlap, from, Some(tail.end)) {
                let proven = format!("{fault}, but the frame at {proof} says that it was durable");
                return Err(damaged(proven));
            }
            let keep = overlap.len().min(HEADER_LEN - ALIGNMENT);
            overlap.drain(..overlap.len() - keep);
            if overlap.iter().all(|byte| *byte == 0) {
                overlap.clear();
            }
            at = chunk_end;
        }
        if let Some(next) = self.segments.get(&(base + self.identity.segment_bytes)) {
            let bytes = read_range(next, next.base, next.base + HEADER_LEN as u64)?;
            if self.later_frame(&bytes, next.base, None).is_some() {
                return Err(damaged(format!("{fault}, but the log goes on in {}", next.path.display())));
            }
        }
        if fault != Fault::Blank {
            tracing::warn!(position = %tail.end, %fault, "the log ends in a torn frame, which is cut off: nothing says that it was durable");
        }
        Ok(tail)
    }

    /// A frame in `bytes` (which lie at `from`), or one that was written when more than what is below `end` was durable.
    fn later_frame(&self, bytes: &[u8], from: u64, end: Option<Lsn>) -> Option<Lsn> {
        let starts = (0..bytes.len().saturating_sub(HEADER_LEN - 1)).step_by(ALIGNMENT);
        starts.into_iter().find_map(|start| {
            let bytes = bytes[start..start + HEADER_LEN].first_chunk::<HEADER_LEN>()?;
            if bytes[0] == 0 {
                return None;
            }
            let (header, _) = Header::decode(bytes).ok()?;
            let lsn = Lsn(from + start as u64);
            let ours = header.lsn == lsn && header.shard_tag == self.shard_tag;
            (ours && end.is_none_or(|end| self.superblock.proven(header.commit_lsn) > end)).then_some(lsn)
        })
    }

    /// Writes zeroes over all that lies behind the end, the newest first, so that a crash leaves a log that is longer but
    /// whole: it is cut off again then.
    pub(super) fn remove_behind(&self, tail: &Tail) -> Result<(), OpenError> {
        let behind = self.segments.values().rev().take_while(|segment| segment.base >= tail.end.0);
        for segment in behind {
            self.blank(segment, segment.base)?;
        }
        self.blank(self.segment_at(tail.end)?, tail.end.0)
    }

    /// Writes zeroes from `from` to the end of a segment, where there is anything else.
    fn blank(&self, segment: &Segment<D>, from: u64) -> Result<(), OpenError> {
        let segment_end = segment.base + self.identity.segment_bytes;
        let mut at = from;
        while at < segment_end {
            let end = (at - at % CHUNK + CHUNK).min(segment_end);
            if read_range(segment, at, end)?[..] != ZEROES[..(end - at) as usize] {
                write_at(segment, &ZEROES[..(end - at) as usize], at)?;
                // In order: behind a frame that is gone nothing may look like the log going on.
                sync(segment)?;
            }
            at = end;
        }
        Ok(())
    }

    /// Writes again what may be in the page cache alone, writes zeroes over what lies behind the end, and flushes.
    pub(super) fn make_durable(&self, tail: &Tail) -> Result<(), OpenError> {
        let segment_bytes = self.identity.segment_bytes;
        let mut at = tail.known.0;
        while at < tail.end.0 {
            let segment = self.segment_at(Lsn(at))?;
            let end = (segment.base + segment_bytes).min(tail.end.0);
            while at < end {
                let chunk_end = (at - at % CHUNK + CHUNK).min(end);
                let bytes = read_range(segment, at, chunk_end)?;
                write_at(segment, &bytes, at)?;
                at = chunk_end;
            }
            sync(segment)?;
        }
        let segment = self.segment_at(tail.end)?;
        for (from, to) in &tail.stale {
            write_at(segment, &vec![0; (to - from) as usize], *from)?;
        }
        sync(segment)?;
        Ok(())
    }

    fn segment_at(&self, lsn: Lsn) -> Result<&Segment<D>, OpenError> {
        let base = lsn.0 - lsn.0 % self.identity.segment_bytes;
        self.segments.get(&base).map(AsRef::as_ref).ok_or_else(|| self.missing(lsn))
    }
}

fn read_range<D: Disk>(segment: &Segment<D>, from: u64, to: u64) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; (to - from) as usize];
    read_exact_at(&segment.file, &mut bytes, from - segment.base)
        .map_err(DiskError::at("read", &segment.path))?;
    Ok(bytes)
}

fn write_at<D: Disk>(segment: &Segment<D>, bytes: &[u8], at: u64) -> Result<(), DiskError> {
    segment.file.write_at(bytes, at - segment.base).map_err(DiskError::at("write", &segment.path))
}

fn sync<D: Disk>(segment: &Segment<D>) -> Result<(), DiskError> {
    segment.file.sync().map_err(DiskError::at("flush", &segment.path))
}
