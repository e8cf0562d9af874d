//! Frames: the unit of writing, checking and replicating. 64 bytes of header, then records.
//!
//! Encoding and decoding only; never touches a file. The layout is in `docs/formats.md` and may not change without a
//! new version number.

use bytes::Bytes;
use rq_core::codec::{Reader, Write as _, varint_len};
use rq_core::hash::crc32c;
use rq_core::ids::{Epoch, LogTime, Lsn};
use thiserror::Error;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 64;
/// Longest frame that takes a second record; a longer single record gets a frame of its own.
pub const FRAME_LIMIT: usize = 1 << 20;
/// Frames start and end at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// Version of the frame layout.
const VERSION: u8 = 1;
/// "RQF1" as it lies in the file.
const MAGIC: u32 = u32::from_le_bytes(*b"RQF1");
/// Flag of the frame that fills a segment up: no records, and its payload is never read.
const FLAG_PAD: u8 = 1;

/// What is wrong with the bytes where a frame was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Fault {
    /// Only zeroes: nothing was written there yet.
    #[error("no frame")]
    Blank,
    /// Something, but no frame.
    #[error("no frame header")]
    Magic,
    /// The header's checksum does not match.
    #[error("header checksum mismatch")]
    HeaderChecksum,
    /// The header says it belongs elsewhere.
    #[error("frame belongs to another position")]
    Position,
    /// The header says it belongs to another shard.
    #[error("frame belongs to another shard")]
    Shard,
    /// It does not follow the frame before it.
    #[error("frame does not follow the one before it")]
    Chain,
    /// Its epoch is older than that of the frame before it.
    #[error("epoch goes back")]
    Epoch,
    /// It is longer than its segment, or not aligned.
    #[error("impossible length")]
    Length,
    /// The payload's checksum does not match.
    #[error("payload checksum mismatch")]
    PayloadChecksum,
    /// The records do not fill the payload as they should.
    #[error("malformed records")]
    Records,
    /// A whole frame of a kind that this version does not know. Never a torn write.
    #[error("frame of an unknown version or kind: use a newer version of the broker")]
    Unsupported,
}

/// A frame's header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) pad: bool,
    pub(crate) epoch: Epoch,
    pub(crate) payload_len: u32,
    pub(crate) lsn: Lsn,
    pub(crate) commit_lsn: Lsn,
    pub(crate) log_time: LogTime,
    pub(crate) record_count: u32,
    pub(crate) chain: u32,
    pub(crate) shard_tag: u32,
    pub(crate) payload_crc: u32,
}

impl Header {
    /// The header's bytes and its own checksum, to which the next frame is chained.
    pub(crate) fn encode(&self) -> ([u8; HEADER_LEN], u32) {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.put_u32(MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(if self.pad { FLAG_PAD } else { 0 });
        bytes.put_u16(HEADER_LEN as u16);
        bytes.put_u32(self.epoch.0);
        bytes.put_u32(self.payload_len);
        bytes.put_u64(self.lsn.0);
        bytes.put_u64(self.commit_lsn.0);
        bytes.put_u64(self.log_time.0);
        bytes.put_u32(self.record_count);
        bytes.put_u32(self.chain);
        bytes.put_u32(self.shard_tag);
        bytes.put_u32(self.payload_crc);
        bytes.put_u32(0);
        let crc = crc32c(&bytes);
        bytes.put_u32(crc);
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&bytes);
        (header, crc)
    }

    /// Decodes a header and its checksum.
    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<(Self, u32), Fault> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Fault::Blank);
        }
        let (checked, crc) = bytes.split_at(HEADER_LEN - 4);
        let mut reader = Reader::new(bytes);
        let mut decode = || {
            let magic = reader.u32("magic")?;
            let (version, flags) = (reader.u8("version")?, reader.u8("flags")?);
            let header_len = reader.u16("header length")?;
            let header = Self {
                pad: flags & FLAG_PAD != 0,
                epoch: Epoch(reader.u32("epoch")?),
                payload_len: reader.u32("payload length")?,
                lsn: Lsn(reader.u64("lsn")?),
                commit_lsn: Lsn(reader.u64("commit lsn")?),
                log_time: LogTime(reader.u64("log time")?),
                record_count: reader.u32("record count")?,
                chain: reader.u32("chain")?,
                shard_tag: reader.u32("shard tag")?,
                payload_crc: reader.u32("payload crc")?,
            };
            let known = version == VERSION && flags & !FLAG_PAD == 0 && usize::from(header_len) == HEADER_LEN;
            Ok::<_, rq_core::codec::Malformed>((magic, known, header))
        };
        let (magic, known, header) = decode().map_err(|_| Fault::Length)?;
        if magic != MAGIC {
            return Err(Fault::Magic);
        }
        let computed = crc32c(checked);
        if computed.to_le_bytes() != crc {
            return Err(Fault::HeaderChecksum);
        }
        if known { Ok((header, computed)) } else { Err(Fault::Unsupported) }
    }

    /// Bytes of it that are written and copied: what the frame that fills a segment up covers stays zero.
    pub(crate) fn written_len(&self) -> usize {
        if self.pad { HEADER_LEN } else { self.frame_len() as usize }
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_len(&self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.payload_len)
    }
}

/// What a frame must fit to, where it is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) lsn: Lsn,
    pub(crate) shard_tag: u32,
    /// The header checksum of the frame before, where it is known.
    pub(crate) chain: Option<u32>,
    /// The epoch of the frame before.
    pub(crate) epoch: Epoch,
    /// Bytes left in the segment.
    pub(crate) room: u64,
}

impl Expected {
    /// Decodes a header and holds it against what is expected.
    pub(crate) fn header(&self, bytes: &[u8; HEADER_LEN]) -> Result<(Header, u32), Fault> {
        let (header, crc) = Header::decode(bytes)?;
        let aligned = (header.payload_len as usize).is_multiple_of(ALIGNMENT);
        let fills = !header.pad || header.frame_len() == self.room;
        match () {
            () if header.lsn != self.lsn || header.commit_lsn > header.lsn => Err(Fault::Position),
            () if header.shard_tag != self.shard_tag => Err(Fault::Shard),
            () if self.chain.is_some_and(|chain| chain != header.chain) => Err(Fault::Chain),
            () if header.epoch < self.epoch => Err(Fault::Epoch),
            () if header.frame_len() > self.room || !aligned || !fills => Err(Fault::Length),
            () => Ok((header, crc)),
        }
    }
}

/// A verified frame, borrowed from where it was read.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    /// The mastership that wrote it.
    pub epoch: Epoch,
    /// Its position.
    pub lsn: Lsn,
    /// What its writer knew to be committed when it was written.
    pub commit_lsn: Lsn,
    /// When it was written.
    pub log_time: LogTime,
    /// How many records it has. 0 only in the frame that fills a segment up.
    pub record_count: u32,
    end: Lsn,
    payload: &'a [u8],
}

impl<'a> FrameRef<'a> {
    /// Checks the payload against its header and takes both for a frame.
    pub(crate) fn verify(header: &Header, payload: &'a [u8]) -> Result<Self, Fault> {
        let frame = Self {
            epoch: header.epoch,
            lsn: header.lsn,
            commit_lsn: header.commit_lsn,
            log_time: header.log_time,
            record_count: header.record_count,
            end: header.lsn.plus(header.frame_len()),
            payload: if header.pad { &[] } else { payload },
        };
        if header.pad {
            return if header.record_count == 0 { Ok(frame) } else { Err(Fault::Records) };
        }
        if crc32c(payload) != header.payload_crc {
            return Err(Fault::PayloadChecksum);
        }
        let mut reader = Reader::new(payload);
        for _ in 0..header.record_count {
            reader.bytes("record").map_err(|_| Fault::Records)?;
        }
        let padding = reader.rest();
        if padding.len() < ALIGNMENT && padding.iter().all(|byte| *byte == 0) {
            Ok(frame)
        } else {
            Err(Fault::Records)
        }
    }

    /// The records with their positions: each is that of the record's length prefix.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.payload);
        let first = self.lsn.plus(HEADER_LEN as u64);
        (0..self.record_count).map_while(move |_| {
            let lsn = first.plus(reader.position() as u64);
            reader.bytes("record").ok().map(|record| (lsn, record))
        })
    }

    /// What it says about itself, and its payload.
    pub(crate) const fn into_parts(self) -> (FrameRef<'static>, &'a [u8]) {
        (self.with_payload(&[]), self.payload)
    }

    /// The same frame over another copy of its payload.
    pub(crate) const fn with_payload<'b>(&self, payload: &'b [u8]) -> FrameRef<'b> {
        FrameRef {
            epoch: self.epoch,
            lsn: self.lsn,
            commit_lsn: self.commit_lsn,
            log_time: self.log_time,
            record_count: self.record_count,
            end: self.end,
            payload,
        }
    }

    /// Where the next frame starts.
    pub const fn end(&self) -> Lsn {
        self.end
    }
}

/// A frame as it was written.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its position.
    pub lsn: Lsn,
    /// Where the next one starts.
    pub end: Lsn,
    /// All its bytes.
    pub bytes: Bytes,
}

/// A frame that is being filled. Begun by [`Log::begin`](crate::Log::begin), written by
/// [`Log::append`](crate::Log::append).
#[derive(Debug)]
pub struct FrameBuilder {
    pub(crate) epoch: Epoch,
    pub(crate) log_time: LogTime,
    pub(crate) lsn: Lsn,
    bytes: Vec<u8>,
    record_count: u32,
    room: u64,
}

impl FrameBuilder {
    /// A frame at `lsn` of at most `room` bytes, with memory for `capacity`.
    pub(crate) fn new(epoch: Epoch, log_time: LogTime, lsn: Lsn, room: u64, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity.max(HEADER_LEN));
        bytes.resize(HEADER_LEN, 0);
        Self { epoch, log_time, lsn, bytes, record_count: 0, room }
    }

    /// Adds a record and tells its position (that of its length prefix). Ask [`FrameBuilder::fits`] first: a frame that
    /// is too long is refused when it is appended.
    pub fn push(&mut self, record: &[u8]) -> Lsn {
        let lsn = self.lsn.plus(self.bytes.len() as u64);
        self.bytes.put_bytes(record);
        self.record_count += 1;
        lsn
    }

    /// Whether a record of this length may be added: within [`FRAME_LIMIT`] (unless it is the first) and within the
    /// segment.
    pub fn fits(&self, record_len: usize) -> bool {
        let len = framed_len(self.bytes.len(), record_len);
        len <= self.room && (len <= FRAME_LIMIT as u64 || self.is_empty())
    }

    /// Whether it has no record yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the frame so far, header and padding included.
    pub fn frame_len(&self) -> u64 {
        self.bytes.len().next_multiple_of(ALIGNMENT) as u64
    }

    pub(crate) const fn room(&self) -> u64 {
        self.room
    }

    /// Pads, fills in the header, and gives the frame and its header's checksum.
    pub(crate) fn seal(mut self, commit_lsn: Lsn, chain: u32, shard_tag: u32) -> (Frame, u32) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let payload_len = self.bytes.len() - HEADER_LEN;
        let (header, crc) = Header {
            pad: false,
            epoch: self.epoch,
            payload_len: payload_len as u32,
            lsn: self.lsn,
            commit_lsn,
            log_time: self.log_time,
            record_count: self.record_count,
            chain,
            shard_tag,
            payload_crc: crc32c(&self.bytes[HEADER_LEN..]),
        }
        .encode();
        self.bytes[..HEADER_LEN].copy_from_slice(&header);
        // What is kept in the tail cache should not be mostly unused memory.
        if self.bytes.capacity() > 2 * self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
        let end = self.lsn.plus(self.bytes.len() as u64);
        (Frame { lsn: self.lsn, end, bytes: Bytes::from(self.bytes) }, crc)
    }
}

/// Bytes of a frame that has `filled` already and gets one more record of `record_len`.
pub(crate) fn framed_len(filled: usize, record_len: usize) -> u64 {
    (filled + varint_len(record_len as u64) + record_len).next_multiple_of(ALIGNMENT) as u64
}

#[cfg(test)]
mod tests;
