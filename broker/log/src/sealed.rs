//! Which segments are full, oldest first, for whoever decides what may be dropped.

use rq_core::ids::{LogTime, Lsn};

use crate::disk::{Disk, read_exact_at};
use crate::frame::{HEADER_LEN, Header};
use crate::reader::LogReader;
use crate::shared::read;

/// A segment that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Where it begins.
    pub base: Lsn,
    /// Where the next one begins.
    pub end: Lsn,
    /// Log time of the first frame after it: no frame in it is newer.
    pub newest: LogTime,
}

impl<D: Disk> LogReader<D> {
    /// The full segments, oldest first. One whose successor has no frame yet, or cannot be read, is left out.
    pub fn sealed(&self) -> Vec<Sealed> {
        let segments: Vec<_> = read(&self.shared.segments).values().cloned().collect();
        let pairs = segments.iter().zip(segments.iter().skip(1));
        let sealed = pairs.filter_map(|(segment, next)| {
            let mut header = [0; HEADER_LEN];
            read_exact_at(&next.file, &mut header, 0).ok()?;
            let (first, _) = Header::decode(&header).ok()?;
            Some(Sealed { base: Lsn(segment.base), end: Lsn(next.base), newest: first.log_time })
        });
        sealed.collect()
    }
}
