//! The superblock: the few facts about a log that change and are not in the log itself.
//!
//! Both slots are written and flushed on every change, one after the other, so that a write is never torn in both and
//! the loss of either slot later loses nothing. Never written without both flushes.

use std::path::PathBuf;

use rq_core::codec::{Malformed, Reader, Write as _};
use rq_core::hash::crc32c;
use rq_core::ids::{Epoch, Lsn};

use crate::disk::{Disk, DiskFile as _, OpenMode, read_exact_at};
use crate::error::{Damaged, DiskError, OpenError, WriteError};
use crate::layout::{Layout, SUPERBLOCKS};

/// Bytes of a slot: one sector.
const SLOT_LEN: usize = 512;
const MAGIC: u32 = u32::from_le_bytes(*b"RQSB");
const VERSION: u32 = 1;

/// What the superblock says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Superblock {
    /// Number of the write; the higher one is the newer.
    pub sequence: u64,
    /// The store acts in no older epoch.
    pub promised_epoch: Epoch,
    /// How often the store was opened for writing.
    pub incarnation: u64,
    /// The log's first position; everything below was dropped.
    pub log_start: Lsn,
    /// Everything below was durable when this was written: the end of the last full segment, or of the log if it was
    /// closed cleanly.
    pub sealed_end: Lsn,
    /// The newest checkpoint; 0 if there is none.
    pub checkpoint: Lsn,
    /// Whether the log was closed cleanly and not opened since.
    pub clean: bool,
    /// From here on frames may say that more was committed than was flushed here: they were copied from a master that
    /// does not count this replica. None if what frames say of the commit was flushed here before they were written.
    pub unproven: Option<Lsn>,
    /// The log is the beginning of a copy, and incomplete until it reaches this position, that of its checkpoint. Opened
    /// before, it is of no use and is emptied.
    pub installing: Option<Lsn>,
}

impl Superblock {
    /// Everything below was durable when this was written.
    pub(crate) fn known_durable(&self) -> Lsn {
        // The checkpoint of a log that is being copied is there before the frames that led to it.
        if self.installing.is_some() { self.sealed_end } else { self.sealed_end.max(self.checkpoint) }
    }

    /// How much of what a frame says to be committed was flushed here for certain.
    pub(crate) fn proven(&self, commit: Lsn) -> Lsn {
        self.unproven.map_or(commit, |from| commit.min(from))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_LEN);
        bytes.put_u32(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put_u64(self.sequence);
        bytes.put_u32(self.promised_epoch.0);
        bytes.put_u64(self.incarnation);
        bytes.put_u64(self.log_start.0);
        bytes.put_u64(self.sealed_end.0);
        bytes.put_u64(self.checkpoint.0);
        bytes.put_u8(u8::from(self.clean));
        bytes.put_u64(self.unproven.map_or(0, |from| from.0 + 1));
        bytes.put_u64(self.installing.map_or(0, |until| until.0 + 1));
        bytes.resize(SLOT_LEN - 4, 0);
        let crc = crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let (checked, crc) = bytes.split_at(SLOT_LEN - 4);
        if crc32c(checked).to_le_bytes() != crc {
            return Err(Undecodable::Damaged);
        }
        let mut reader = Reader::new(checked);
        let mut head = || Ok::<_, Malformed>((reader.u32("magic")?, reader.u32("version")?));
        match head() {
            Ok((MAGIC, VERSION)) => {}
            Ok((MAGIC, version)) if version > VERSION => return Err(Undecodable::Newer(version)),
            _ => return Err(Undecodable::Damaged),
        }
        let mut body = || {
            Ok::<_, Malformed>(Self {
                sequence: reader.u64("sequence")?,
                promised_epoch: Epoch(reader.u32("promised epoch")?),
                incarnation: reader.u64("incarnation")?,
                log_start: Lsn(reader.u64("log start")?),
                sealed_end: Lsn(reader.u64("sealed end")?),
                checkpoint: Lsn(reader.u64("checkpoint")?),
                clean: reader.u8("clean")? != 0,
                unproven: reader.u64("unproven")?.checked_sub(1).map(Lsn),
                installing: reader.u64("installing")?.checked_sub(1).map(Lsn),
            })
        };
        body().map_err(|_| Undecodable::Damaged)
    }

    /// Reads the newer of the slots that are whole. One of a later version is refused even beside one of ours: the
    /// later release was here last.
    pub(crate) fn read<D: Disk>(disk: &D, layout: &Layout) -> Result<Self, OpenError> {
        let mut newest: Option<Self> = None;
        for name in SUPERBLOCKS {
            let path = layout.dir.join(name);
            let found = match disk.open(&path, OpenMode::Read) {
                Ok(file) => {
                    let mut slot = [0; SLOT_LEN];
                    match read_exact_at(&file, &mut slot, 0) {
                        Ok(()) => match Self::decode(&slot) {
                            Ok(superblock) => Some(superblock),
                            Err(Undecodable::Damaged) => None,
                            Err(Undecodable::Newer(found)) => {
                                return Err(OpenError::NewerFormat { file: path, found, supported: VERSION });
                            }
                        },
                        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
                        Err(error) => return Err(DiskError::at("read", &path)(error).into()),
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(DiskError::at("open", &path)(error).into()),
            };
            if found.is_none() {
                tracing::warn!(file = %path.display(), "superblock slot is damaged, the other one is used");
            }
            newest = newer(newest, found);
        }
        let lost = || Damaged {
            file: layout.dir.join(SUPERBLOCKS[0]),
            position: Lsn(0),
            reason: "neither superblock slot is whole".to_owned(),
        };
        newest.ok_or_else(|| lost().into())
    }
}

enum Undecodable {
    Newer(u32),
    Damaged,
}

fn newer(one: Option<Superblock>, two: Option<Superblock>) -> Option<Superblock> {
    match (one, two) {
        (Some(one), Some(two)) => Some(if two.sequence > one.sequence { two } else { one }),
        (one, two) => one.or(two),
    }
}

/// The superblock's files, opened for writing.
#[derive(Debug)]
pub(crate) struct SuperblockFile<D: Disk> {
    slots: [(PathBuf, D::File); 2],
    current: Superblock,
    failed: bool,
}

impl<D: Disk> SuperblockFile<D> {
    /// Opens both slots, making a missing one anew, to go on from `current`.
    pub(crate) fn open(disk: &D, layout: &Layout, current: Superblock) -> Result<Self, DiskError> {
        let open = |name: &str| {
            let path = layout.dir.join(name);
            let file = match disk.open(&path, OpenMode::Write) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    disk.open(&path, OpenMode::Create)
                }
                other => other,
            };
            file.map(|file| (path.clone(), file)).map_err(DiskError::at("open", &path))
        };
        let mut slots = [open(SUPERBLOCKS[0])?, open(SUPERBLOCKS[1])?];
        let mut first = [0; SLOT_LEN];
        let whole = read_exact_at(&slots[0].1, &mut first, 0).is_ok();
        if whole && Self::decodes_to(&first, &current) {
            // The slot that holds the present state is written last.
            slots.swap(0, 1);
        }
        Ok(Self { slots, current, failed: false })
    }

    pub(crate) const fn current(&self) -> &Superblock {
        &self.current
    }

    fn decodes_to(slot: &[u8], expected: &Superblock) -> bool {
        Superblock::decode(slot).is_ok_and(|found| found == *expected)
    }

    /// Writes the first superblock of a fresh directory.
    pub(crate) fn initialise(&mut self) -> Result<(), DiskError> {
        self.write(Superblock { sequence: 1, ..Superblock::default() })
    }

    /// Changes the superblock durably. After a failure nobody knows what is on the disk: it never works again.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<(), WriteError> {
        if self.failed {
            return Err(WriteError::Poisoned);
        }
        let mut next = self.current;
        change(&mut next);
        if next == self.current {
            return Ok(());
        }
        next.sequence += 1;
        self.write(next).map_err(WriteError::Failed)
    }

    fn write(&mut self, next: Superblock) -> Result<(), DiskError> {
        self.failed = true;
        let bytes = next.encode();
        for (path, file) in &self.slots {
            file.write_at(&bytes, 0).map_err(DiskError::at("write", path))?;
            file.sync().map_err(DiskError::at("flush", path))?;
        }
        self.failed = false;
        self.current = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is put right, or nothing would get past it.
    #[test]
    fn fuzzed_slots_are_refused_or_read_back() {
        rq_fuzz::fuzz([Superblock::default().encode()[..64].to_vec()], |input| {
            let mut slot = input.to_vec();
            slot.resize(SLOT_LEN - 4, 0);
            let crc = crc32c(&slot);
            slot.put_u32(crc);
            match Superblock::decode(&slot) {
                Ok(superblock) => {
                    assert!(Superblock::decode(&superblock.encode()).is_ok_and(|again| again == superblock));
                    (0, superblock.clean, superblock.unproven.is_some(), superblock.installing.is_some())
                }
                Err(Undecodable::Newer(_)) => (1, false, false, false),
                Err(Undecodable::Damaged) => (2, false, false, false),
            }
        });
    }
}
