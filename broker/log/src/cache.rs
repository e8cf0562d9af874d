//! The newest frames in memory, so that what was just written is read without a system call or a copy.

use std::collections::VecDeque;

use bytes::Bytes;
use rq_core::codec::Reader;
use rq_core::ids::Lsn;

use crate::frame::Frame;

/// A queue of frames, oldest first, bounded by their bytes.
pub(crate) struct TailCache {
    frames: VecDeque<Frame>,
    bytes: usize,
    limit: usize,
}

impl TailCache {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, limit }
    }

    /// Adds the newest frame and lets go of the oldest beyond the limit.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.bytes > self.limit {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    fn frame(&self, lsn: Lsn) -> Option<&Frame> {
        let after = self.frames.partition_point(|frame| frame.lsn <= lsn);
        self.frames.get(after.checked_sub(1)?).filter(|frame| lsn < frame.end)
    }

    /// The record at `lsn`, sharing the frame's memory.
    pub(crate) fn record(&self, lsn: Lsn) -> Option<Bytes> {
        let frame = self.frame(lsn)?;
        let at = (lsn.0 - frame.lsn.0) as usize;
        let record = Reader::new(frame.bytes.get(at..)?).bytes("record").ok()?;
        Some(frame.bytes.slice_ref(record))
    }

    /// The frame that starts at `lsn`.
    pub(crate) fn frame_at(&self, lsn: Lsn) -> Option<Frame> {
        self.frame(lsn).filter(|frame| frame.lsn == lsn).cloned()
    }
}
