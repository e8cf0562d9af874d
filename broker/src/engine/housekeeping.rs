//! What need not hold up the log thread: writing checkpoints, and finding out which segments can go.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rq_core::codec::Write;
use rq_core::ids::Lsn;
use rq_core::queue::request::{Relocation, Request, Retain};
use rq_core::queue::retention::{Owed, Policy, SealedSegment, owed_below};
use rq_core::queue::{State, checkpoint};
use rq_log::{Checkpoints, Disk, LogReader};

use super::figures::Published;
use super::frames::fail;
use super::inbox::{Inbox, Work};
use super::log_thread::Chore;

/// The housekeeping thread.
pub(super) struct Housekeeping<D: Disk> {
    pub(super) checkpoints: Checkpoints<D>,
    pub(super) reader: LogReader<D>,
    pub(super) segment_bytes: u64,
    pub(super) retention: Policy,
    pub(super) inbox: Arc<Inbox>,
    pub(super) published: Arc<Published>,
    pub(super) chores: Receiver<Chore>,
}

impl<D: Disk> Housekeeping<D> {
    /// Works until the log thread is gone.
    pub(super) fn run(self) {
        while let Ok(mut chore) = self.chores.recv() {
            // Of several that wait only the newest is of use.
            while let Ok(newer) = self.chores.try_recv() {
                chore = newer;
            }
            let Chore::Checkpoint(state) = chore;
            self.checkpoint(&state);
            self.retain(&state);
        }
    }

    fn checkpoint(&self, state: &State) {
        let started = Instant::now();
        let written = self.checkpoints.write(state.applied(), |file| {
            let mut out = Encoding { file, buffer: Vec::with_capacity(1 << 20), failed: None };
            checkpoint::encode(state, &mut out);
            out.finish()
        });
        match written {
            Ok(bytes) => {
                self.published.checkpointed(state.applied());
                tracing::debug!(lsn = state.applied().0, bytes, took = ?started.elapsed(), "checkpoint written");
            }
            Err(error) if error.is_fatal() => fail(&error),
            // The log goes on; the next start replays more of it.
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "no checkpoint was written: recovery will take longer");
            }
        }
    }
}

impl<D: Disk> Housekeeping<D> {
    /// Proposes to drop the oldest segments that retention lets go of. The log thread checks again.
    fn retain(&self, state: &State) {
        let figures = self.published.figures();
        let disk_full = !figures.accepts_messages;
        let needed_from = self.checkpoints.oldest_kept();
        let mut policy = self.retention;
        let mut found: Option<Retain> = None;
        for segment in self.reader.sealed() {
            let log_bytes = figures.durable.0.saturating_sub(segment.base.0);
            let sealed = SealedSegment { end: segment.end, newest: segment.newest };
            let old = policy.lets_go(sealed, state.log_time(), log_bytes);
            if !(old || disk_full) || segment.end > needed_from {
                break;
            }
            policy.keep_unclaimed |= !old;
            let Some(relocate) = self.owed(state, segment.end, &policy) else { break };
            found = Some(Retain { below: segment.end, relocate, policy });
        }
        if let Some(retain) = found {
            let (below, relocated) = (retain.below.0, retain.relocate.len());
            tracing::info!(below, relocated, "retention lets segments go");
            self.inbox.push(Work::Internal(Request::Retain(retain)));
        }
    }

    /// What is still owed below a position, with its bytes; None where that is too much to copy.
    fn owed(&self, state: &State, below: Lsn, policy: &Policy) -> Option<Vec<Relocation>> {
        let worth_it = self.segment_bytes / 1000 * u64::from(self.retention.relocate_below_permille);
        // On a full disk the copies must not take what acks need.
        let mut room = worth_it.min(self.published.figures().available_bytes / 4);
        let mut relocate = Vec::new();
        for owed in owed_below(state, below, policy, RELOCATED_MAX)? {
            let record = match self.reader.read_record(owed.lsn) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(lsn = owed.lsn.0, %error, "a message that is still owed cannot be read");
                    return None;
                }
            };
            room = room.checked_sub(record.len() as u64)?;
            let Owed { topic, queue, offset, lsn } = owed;
            relocate.push(Relocation { topic, queue, offset, from: lsn, record });
        }
        Some(relocate)
    }
}

/// Most messages to copy at a time: they are one batch of the log thread.
const RELOCATED_MAX: usize = 10_000;

/// Encodes into a file through a buffer, keeping the first error for the end.
struct Encoding<'a> {
    file: &'a mut dyn io::Write,
    buffer: Vec<u8>,
    failed: Option<io::Error>,
}

impl Write for Encoding<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 1 << 20 {
            self.flush();
        }
    }
}

impl Encoding<'_> {
    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(&self.buffer).err();
        }
        self.buffer.clear();
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.failed.map_or(Ok(()), Err)
    }
}
