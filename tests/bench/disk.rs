//! The bare disk: what a flushed write costs without any broker.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// One write: the smallest that the broker's log does.
const WRITE_BYTES: usize = 4 << 10;
/// Size of the file, written with zeroes beforehand like the broker's segments.
const FILE_BYTES: u64 = 64 << 20;

/// A file that was written and flushed as a whole; removed in the end.
#[derive(Debug)]
pub(crate) struct PreparedFile {
    file: File,
    end: u64,
}

impl PreparedFile {
    /// Makes one in `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory).context("make a file on the disk to measure")?;
        let zeroes = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeroes.len()) {
            file.write_all_at(&zeroes, at).context("fill the file")?;
        }
        file.sync_all().context("flush the file")?;
        Ok(Self { file, end: 0 })
    }

    /// Writes and flushes one after the other for so long; the median of one write with its flush, in microseconds.
    pub(crate) fn flushed_write_us(&mut self, window: Duration) -> Result<f64> {
        let block = vec![0xA5; WRITE_BYTES];
        let mut took = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < window {
            let started = Instant::now();
            self.file.write_all_at(&block, self.end).context("write")?;
            self.file.sync_data().context("flush")?;
            took.push(started.elapsed());
            self.end = (self.end + WRITE_BYTES as u64) % FILE_BYTES;
        }
        took.sort_unstable();
        let median = took.get(took.len() / 2).context("no write ended in time")?;
        Ok(median.as_secs_f64() * 1e6)
    }
}
