//! The IDENTITY file: whose data directory this is. Written once, when the directory is formatted, never changed.

use std::path::Path;

use rq_core::codec::{Reader, Write as _};
use rq_core::hash::crc32c;
use rq_core::ids::{Lsn, ShardId, StoreId};

use crate::disk::{Disk, DiskFile as _, OpenMode, read_exact_at};
use crate::error::{Damaged, DiskError, OpenError};
use crate::layout::{IDENTITY, Layout, unfinished};

/// Version of the whole directory's format. Raised only when an older broker must not touch the directory.
pub const FORMAT_VERSION: u32 = 1;
const MAGIC: u32 = u32::from_le_bytes(*b"RQID");

/// Whose data directory it is, and what cannot be changed about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Version of the directory's format.
    pub format_version: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// The shard.
    pub shard: ShardId,
    /// The store.
    pub store_id: StoreId,
    /// Bytes that a segment covers.
    pub segment_bytes: u64,
}

/// See [`Identity::shard_tag`].
pub(crate) fn shard_tag(cluster: &str, shard: ShardId) -> u32 {
    let mut bytes = Vec::new();
    bytes.put_bytes(cluster.as_bytes());
    bytes.put_u16(shard.0);
    crc32c(&bytes)
}

impl Identity {
    /// What every frame of this shard carries, so that a frame of another is recognised. The same on all replicas.
    pub(crate) fn shard_tag(&self) -> u32 {
        shard_tag(&self.cluster, self.shard)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(MAGIC);
        bytes.put_u32(self.format_version);
        bytes.put_bytes(self.cluster.as_bytes());
        bytes.put_u16(self.shard.0);
        bytes.put_u128(self.store_id.0);
        bytes.put_u64(self.segment_bytes);
        let crc = crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut reader = Reader::new(bytes);
        let mut head =
            || Ok::<_, rq_core::codec::Malformed>((reader.u32("magic")?, reader.u32("format version")?));
        let (magic, format_version) = head().map_err(|_| Undecodable::Damaged)?;
        if magic != MAGIC {
            return Err(Undecodable::Damaged);
        }
        let body_len = bytes.len().saturating_sub(4);
        let checked = crc32c(&bytes[..body_len]).to_le_bytes() == bytes[body_len..];
        if format_version > FORMAT_VERSION && checked {
            return Err(Undecodable::Newer(format_version));
        }
        let mut body = || {
            Ok::<_, rq_core::codec::Malformed>(Self {
                format_version,
                cluster: reader.str("cluster")?.to_owned(),
                shard: ShardId(reader.u16("shard")?),
                store_id: StoreId(reader.u128("store id")?),
                segment_bytes: reader.u64("segment bytes")?,
            })
        };
        body().ok().filter(|_| checked).ok_or(Undecodable::Damaged)
    }

    /// Reads the directory's identity; `None` if it has none.
    pub(crate) fn read<D: Disk>(disk: &D, layout: &Layout) -> Result<Option<Self>, OpenError> {
        let path = layout.dir.join(IDENTITY);
        let file = match disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::at("open", &path)(error).into()),
        };
        let read = || {
            let mut bytes = vec![0; file.length()?.min(MAX_LEN) as usize];
            read_exact_at(&file, &mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = read().map_err(DiskError::at("read", &path))?;
        Self::decode(&bytes).map(Some).map_err(|reason| match reason {
            Undecodable::Newer(found) => {
                OpenError::NewerFormat { file: path, found, supported: FORMAT_VERSION }
            }
            Undecodable::Damaged => {
                Damaged { file: path, position: Lsn(0), reason: "checksum mismatch".to_owned() }.into()
            }
        })
    }

    /// Writes the identity for good: the last step of formatting a directory.
    pub(crate) fn write<D: Disk>(&self, disk: &D, layout: &Layout) -> Result<(), DiskError> {
        let path = layout.dir.join(IDENTITY);
        write_durably(disk, &path, &self.encode())?;
        disk.sync_dir(&layout.dir).map_err(DiskError::at("flush", &layout.dir))
    }
}

/// Longest IDENTITY file that is read.
const MAX_LEN: u64 = 64 << 10;

enum Undecodable {
    Newer(u32),
    Damaged,
}

/// Writes a whole file under another name, flushes it and gives it its name. The caller flushes the directory.
pub(crate) fn write_durably<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let tmp = unfinished(path);
    let file = disk.open(&tmp, OpenMode::Create).map_err(DiskError::at("create", &tmp))?;
    file.write_at(bytes, 0).map_err(DiskError::at("write", &tmp))?;
    file.sync().map_err(DiskError::at("flush", &tmp))?;
    disk.rename(&tmp, path).map_err(DiskError::at("rename", &tmp))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is put right, or nothing would get past it.
    #[test]
    fn fuzzed_identities_are_refused_or_read_back() {
        let identity = Identity {
            format_version: FORMAT_VERSION,
            cluster: "orders".to_owned(),
            shard: ShardId(0),
            store_id: StoreId(7),
            segment_bytes: 1 << 28,
        };
        let bytes = identity.encode();
        rq_fuzz::fuzz([bytes[..bytes.len() - 4].to_vec()], |input| {
            let checked = [input, &crc32c(input).to_le_bytes()].concat();
            // A damaged checksum takes the other way.
            drop(Identity::decode(input));
            match Identity::decode(&checked) {
                Ok(identity) => {
                    let again = Identity::decode(&identity.encode());
                    assert!(again.is_ok_and(|again| again.cluster == identity.cluster));
                    identity.cluster.len()
                }
                Err(Undecodable::Newer(_)) => 1_000,
                Err(Undecodable::Damaged) => 2_000,
            }
        });
    }
}
