//! Puts records into frames and frames into the log, for the length of one batch.

use std::time::Duration;

use rq_core::ids::{Epoch, LogTime, Lsn};
use rq_core::queue::Append;
use rq_core::record::{self, Record};
use rq_log::{Disk, FrameBuilder, Log, WriteError};

/// How long to wait before asking again for a segment.
const NO_SEGMENT_PAUSE: Duration = Duration::from_millis(100);

/// The log as the shard appends to it. The first failure of the log ends the process: see [`fail`].
pub(super) struct Frames<D: Disk> {
    pub(super) log: Log<D>,
    epoch: Epoch,
    time: LogTime,
    /// Everything that is committed; goes into each frame.
    commit: Lsn,
    frame: Option<FrameBuilder>,
    scratch: Vec<u8>,
}

impl<D: Disk> Frames<D> {
    /// Over an open log; nothing is appended before [`Frames::lead`].
    pub(super) fn new(log: Log<D>, commit: Lsn) -> Self {
        Self { log, epoch: Epoch(0), time: LogTime(0), commit, frame: None, scratch: Vec::new() }
    }

    /// Appends in this epoch from now on.
    pub(super) fn lead(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Everything below is committed.
    pub(super) fn committed(&mut self, commit: Lsn) {
        self.commit = commit;
    }

    /// Begins a batch: all its frames carry this time.
    pub(super) fn at(&mut self, time: LogTime) {
        self.time = time;
    }

    /// Writes what was appended, and tells where the log ends then. Durable after the log's next sync.
    pub(super) fn write(&mut self) -> Lsn {
        self.write_frame();
        self.log.end()
    }

    /// Where the log ends; only between frames.
    pub(super) fn end(&self) -> Lsn {
        self.log.end()
    }

    fn write_frame(&mut self) {
        if let Some(frame) = self.frame.take()
            && let Err(error) = self.log.append(frame, self.commit)
        {
            fail(&error);
        }
    }

    fn begin(&mut self, first_record_len: usize) -> FrameBuilder {
        loop {
            match self.log.begin(self.epoch, self.time, first_record_len) {
                Ok(frame) => return frame,
                // Admission keeps enough free for what was admitted, so something else filled the disk, or the next
                // segment could not be made. What the state holds already must reach the log before anything is
                // answered: wait for it.
                Err(error @ (WriteError::NoSpace | WriteError::NoSegment(_))) => {
                    tracing::error!(%error, "no segment to write to: nothing is answered until there is one");
                    std::thread::sleep(NO_SEGMENT_PAUSE);
                }
                Err(error) => fail(&error),
            }
        }
    }
}

impl<D: Disk> Append for Frames<D> {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        record::encode(record, &mut scratch);
        if self.frame.as_ref().is_some_and(|frame| !frame.fits(scratch.len())) {
            self.write_frame();
        }
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.begin(scratch.len()),
        };
        let lsn = frame.push(&scratch);
        self.frame = Some(frame);
        self.scratch = scratch;
        lsn
    }
}

/// Ends the process. What was written and not confirmed as durable is unknown: no answer may leave any more, and
/// only the recovery of the next start finds out. Aborting runs nothing that could answer.
pub(super) fn fail(error: &WriteError) -> ! {
    let error: &(dyn std::error::Error + 'static) = error;
    tracing::error!(error, "the log failed: the broker ends and recovers at its next start");
    std::process::abort()
}
