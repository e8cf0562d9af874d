//! What need not hold up the log thread: writing checkpoints.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rq_core::codec::Write;
use rq_core::queue::{State, checkpoint};
use rq_log::{Checkpoints, Disk};

use super::figures::Published;
use super::frames::fail;
use super::log_thread::Chore;

/// The housekeeping thread.
pub(super) struct Housekeeping<D: Disk> {
    pub(super) checkpoints: Checkpoints<D>,
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
