//! Walking the frames of a segment in order, verifying each. Reads only.

use std::io;

use rq_core::ids::{Epoch, Lsn};

use crate::disk::DiskFile;
use crate::frame::{Expected, Fault, FrameRef, HEADER_LEN, Header};

/// Bytes read at a time.
const CHUNK: usize = 4 << 20;

/// What was found next.
pub(crate) enum Step<'a> {
    /// A verified frame; for the one that fills the segment up, without records.
    Frame(FrameRef<'a>),
    /// The segment is full.
    Full,
    /// Whatever is here, it is no frame that follows the one before.
    Invalid(Fault),
}

/// A walk through one segment.
pub(crate) struct Scan<F: DiskFile> {
    file: F,
    base: u64,
    segment_bytes: u64,
    shard_tag: u32,
    /// Position of the next frame.
    position: u64,
    chain: Option<u32>,
    epoch: Epoch,
    buffer: Vec<u8>,
    buffered: std::ops::Range<u64>,
}

/// Where a walk starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanFrom {
    pub(crate) base: u64,
    pub(crate) position: Lsn,
    /// Header checksum of the frame before, where it is known.
    pub(crate) chain: Option<u32>,
    pub(crate) epoch: Epoch,
}

impl<F: DiskFile> Scan<F> {
    pub(crate) fn new(file: F, from: ScanFrom, segment_bytes: u64, shard_tag: u32) -> Self {
        Self {
            file,
            base: from.base,
            segment_bytes,
            shard_tag,
            position: from.position.0,
            chain: from.chain,
            epoch: from.epoch,
            buffer: Vec::new(),
            buffered: 0..0,
        }
    }

    /// Where the next frame is expected.
    pub(crate) const fn position(&self) -> Lsn {
        Lsn(self.position)
    }

    /// Header checksum of the last frame.
    pub(crate) const fn chain(&self) -> Option<u32> {
        self.chain
    }

    /// Epoch of the last frame.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    const fn end(&self) -> u64 {
        self.base + self.segment_bytes
    }

    /// Makes sure that `len` bytes from the position on are in the buffer, and tells where they start there.
    fn fill(&mut self, len: usize) -> io::Result<usize> {
        let (from, to) = (self.position, self.position + len as u64);
        if self.buffered.start > from || self.buffered.end < to {
            let left = usize::try_from(self.end() - from).unwrap_or(usize::MAX);
            self.buffer.resize(len.max(CHUNK).min(left), 0);
            let count = self.file.read_at(&mut self.buffer, from - self.base)?;
            self.buffered = from..from + count as u64;
            if count < len {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok((from - self.buffered.start) as usize)
    }

    fn header(&mut self) -> io::Result<Result<(Header, u32), Fault>> {
        let at = self.fill(HEADER_LEN)?;
        let expected = Expected {
            lsn: Lsn(self.position),
            shard_tag: self.shard_tag,
            chain: self.chain,
            epoch: self.epoch,
            room: self.end() - self.position,
        };
        let mut bytes = [0; HEADER_LEN];
        bytes.copy_from_slice(&self.buffer[at..at + HEADER_LEN]);
        Ok(expected.header(&bytes))
    }

    /// Goes one frame on. After [`Step::Invalid`] it stays where it is.
    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        if self.end() - self.position < HEADER_LEN as u64 {
            let full = self.position == self.end();
            return Ok(if full { Step::Full } else { Step::Invalid(Fault::Length) });
        }
        let (header, crc) = match self.header()? {
            Ok(found) => found,
            Err(fault) => return Ok(Step::Invalid(fault)),
        };
        let payload = if header.pad {
            &[][..]
        } else {
            let len = header.frame_len() as usize;
            let at = self.fill(len)?;
            &self.buffer[at + HEADER_LEN..at + len]
        };
        match FrameRef::verify(&header, payload) {
            Ok(frame) => {
                self.position = frame.end().0;
                self.chain = Some(crc);
                self.epoch = frame.epoch;
                Ok(Step::Frame(frame))
            }
            Err(fault) => Ok(Step::Invalid(fault)),
        }
    }
}
