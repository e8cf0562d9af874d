//! Reading records by position, from any thread, while the log goes on.
//!
//! Positions must come from the log (a frame's records, a builder's `push`): a reader checks that a record lies within
//! its segment, not its bytes, so what must be right carries a checksum of its own.

use std::sync::Arc;

use bytes::Bytes;
use rq_core::codec::Reader;
use rq_core::ids::Lsn;

use crate::disk::{Disk, read_exact_at};
use crate::error::{DiskError, ReadError};
use crate::shared::{Segment, Shared, read};

/// Bytes read at first from a segment that has no map; enough for most records.
const FIRST_READ: u64 = 8 << 10;

/// Reads records. Cheap to clone.
pub struct LogReader<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<D: Disk> LogReader<D> {
    pub(crate) const fn new(shared: Arc<Shared<D>>) -> Self {
        Self { shared }
    }

    /// The record whose length prefix is at `lsn`, if it is in memory. Does no IO.
    pub fn cached(&self, lsn: Lsn) -> Option<Bytes> {
        read(&self.shared.tail).record(lsn)
    }

    /// The record whose length prefix is at `lsn`. May block on the disk.
    pub fn read_record(&self, lsn: Lsn) -> Result<Bytes, ReadError> {
        if let Some(record) = self.cached(lsn) {
            return Ok(record);
        }
        let (start, end) = (self.shared.start(), self.shared.end());
        if lsn < start {
            return Err(ReadError::Dropped { lsn, start });
        }
        if lsn >= end {
            return Err(ReadError::BeyondEnd { lsn, end });
        }
        let base = self.shared.base_of(lsn);
        let (segment, active) = {
            let segments = read(&self.shared.segments);
            let segment =
                segments.get(&base).ok_or(ReadError::Dropped { lsn, start: self.shared.start() })?;
            (Arc::clone(segment), segments.last_key_value().is_some_and(|(last, _)| *last == base))
        };
        let map = if active { None } else { self.map(&segment)? };
        match map {
            Some(map) => mapped(&map, lsn, base),
            None => self.unmapped(&segment, lsn, end),
        }
    }

    fn map(&self, segment: &Segment<D>) -> Result<Option<Bytes>, DiskError> {
        if let Some(map) = segment.map.get() {
            return Ok(map.clone());
        }
        let map = self.shared.disk.map(&segment.file).map_err(DiskError::at("map", &segment.path))?;
        Ok(segment.map.get_or_init(|| map).clone())
    }

    fn unmapped(&self, segment: &Segment<D>, lsn: Lsn, end: Lsn) -> Result<Bytes, ReadError> {
        let at = lsn.0 - segment.base;
        let room = end.0.min(segment.base + self.shared.identity.segment_bytes) - lsn.0;
        let fetch = |len: u64| {
            let mut bytes = vec![0; len as usize];
            read_exact_at(&segment.file, &mut bytes, at)
                .map_err(DiskError::at("read", &segment.path))
                .map(|()| Bytes::from(bytes))
        };
        let bytes = fetch(FIRST_READ.min(room))?;
        let mut prefix = Reader::new(&bytes);
        let len = prefix.varint("length").map_err(|_| ReadError::Malformed { lsn, reason: "no length" })?;
        let from = prefix.position() as u64;
        let to = from.saturating_add(len);
        if to > room {
            return Err(ReadError::Malformed { lsn, reason: "longer than the log" });
        }
        let bytes = if to > bytes.len() as u64 { fetch(to)? } else { bytes };
        Ok(bytes.slice(from as usize..to as usize))
    }
}

fn mapped(map: &Bytes, lsn: Lsn, base: u64) -> Result<Bytes, ReadError> {
    let rest = map.get((lsn.0 - base) as usize..).unwrap_or_default();
    let record = Reader::new(rest)
        .bytes("record")
        .map_err(|_| ReadError::Malformed { lsn, reason: "longer than its segment" })?;
    Ok(map.slice_ref(record))
}
