//! Which part of the log is older than a time: log times never fall from one frame to the next.

use std::sync::Arc;

use rq_core::ids::{LogTime, Lsn};

use crate::disk::{Disk, DiskFile as _, read_exact_at};
use crate::error::DiskError;
use crate::frame::{HEADER_LEN, Header};
use crate::reader::LogReader;
use crate::shared::{Segment, read};

/// Bytes read at a time: many headers where frames are small, and little besides one where they are large.
const WINDOW: usize = 64 << 10;

impl<D: Disk> LogReader<D> {
    /// A position before which every frame is older than `time`: that of the first one that is not, or where a header cannot be
    /// read before it; the end of the log if all are older. Reads a header a segment and those of one segment, from the disk.
    pub fn since(&self, time: LogTime) -> Result<Lsn, DiskError> {
        let (start, end) = (self.shared.start(), self.shared.end());
        let segments: Vec<Arc<Segment<D>>> = read(&self.shared.segments).values().cloned().collect();
        // One that begins later, or that does not say when it begins, cannot vouch for those before it.
        let older = segments.partition_point(|segment| {
            let mut header = [0; HEADER_LEN];
            read_exact_at(&segment.file, &mut header, 0).is_ok()
                && Header::decode(&header).is_ok_and(|(first, _)| first.log_time < time)
        });
        match older.checked_sub(1).and_then(|last| segments.get(last)) {
            Some(segment) => self.since_in(segment, time, end),
            None => Ok(start),
        }
    }

    /// Goes from header to header.
    fn since_in(&self, segment: &Segment<D>, time: LogTime, end: Lsn) -> Result<Lsn, DiskError> {
        let full = segment.base + self.shared.identity.segment_bytes;
        let (mut at, mut window, mut read_from) = (segment.base, Vec::new(), 0);
        while at < full.min(end.0) {
            let in_window = |window: &[u8], read_from: u64| {
                let from = usize::try_from(at.checked_sub(read_from)?).ok()?;
                window.get(from..from + HEADER_LEN).and_then(|header| header.try_into().ok())
            };
            let mut header: Option<[u8; HEADER_LEN]> = in_window(&window, read_from);
            if header.is_none() {
                window.resize(WINDOW, 0);
                let read = segment.file.read_at(&mut window, at - segment.base);
                window.truncate(read.map_err(DiskError::at("read", &segment.path))?);
                read_from = at;
                header = in_window(&window, read_from);
            }
            match header.map(|header| Header::decode(&header)) {
                Some(Ok((header, _))) if header.lsn.0 == at && header.log_time < time => {
                    at += header.frame_len();
                }
                _ => break,
            }
        }
        Ok(Lsn(at))
    }
}
