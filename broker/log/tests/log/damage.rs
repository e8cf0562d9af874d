//! A small log cut at every byte and with every bit flipped: the exact prefix, or a loud error, never anything else.

use std::path::{Path, PathBuf};

use rq_core::ids::Lsn;
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{Damaged, HEADER_LEN, OpenError};

use crate::{DIR, Records, append, reopen_simulated};

struct SmallLog {
    disk: SimulatedDisk,
    segment: PathBuf,
    bytes: Vec<u8>,
    records: Records,
    end: Lsn,
    /// Everything below is said to be durable by a later frame.
    proven: Lsn,
}

/// Five frames flushed one by one, then three that were not flushed before the process died.
fn small_log() -> SmallLog {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    let mut records = Vec::new();
    for number in 0..5_u8 {
        let record = vec![number + 1; 9];
        records.push((append(&mut log, &record).unwrap(), record));
        log.sync().unwrap();
    }
    let proven = log.durable();
    for number in 5..8_u8 {
        let record = vec![number + 1; 9];
        records.push((append(&mut log, &record).unwrap(), record));
    }
    let end = log.end();
    disk.kill();
    let segment = Path::new(DIR).join("log/00000000000000000000.seg");
    let bytes = disk.contents(&segment).unwrap();
    SmallLog { disk, segment, bytes, records, end, proven }
}

impl SmallLog {
    /// Opens the log with other bytes in its segment, and puts everything back afterwards.
    fn recover(&self, bytes: &[u8]) -> Result<Records, OpenError> {
        self.disk.kill();
        self.disk.replace(&self.segment, bytes);
        reopen_simulated(&self.disk).map(|(_, records)| records)
    }

    /// What must be found when the first wrong byte is at `at`.
    fn check(&self, bytes: &[u8], at: u64) {
        let whole = self.records.iter().filter(|(lsn, _)| frame_end(*lsn) <= at).count();
        let torn_from = self.records.get(whole).map_or(self.end, |(lsn, _)| frame_start(*lsn));
        match self.recover(bytes) {
            Ok(records) => {
                assert_eq!(records, self.records[..whole], "wrong byte at {at}");
                assert!(torn_from >= self.proven, "damage at {at} was taken for a torn tail");
            }
            Err(OpenError::Damaged(Damaged { position, .. })) => {
                assert_eq!(position, torn_from);
                assert!(torn_from < self.proven, "the torn tail at {at} was taken for damage");
            }
            Err(error) => panic!("wrong byte at {at}: {error}"),
        }
    }
}

fn frame_start(record: Lsn) -> Lsn {
    Lsn(record.0 - HEADER_LEN as u64)
}

/// Records have 9 bytes and a prefix of one, padded to 16.
fn frame_end(record: Lsn) -> u64 {
    record.0 + 16
}

#[test]
fn a_log_cut_at_any_byte_is_a_prefix_or_refused() {
    let log = small_log();
    for at in 0..log.end.0 {
        let mut bytes = log.bytes.clone();
        bytes[at as usize..].fill(0);
        // The cut shows where the first byte that was not zero is missing. Later frames are gone with it, so that
        // nothing is left to prove that the cut ones were durable, but what the earlier ones say.
        let first = (at..log.end.0).find(|at| log.bytes[*at as usize] != 0).unwrap_or(log.end.0);
        let whole = log.records.iter().filter(|(lsn, _)| frame_end(*lsn) <= first).count();
        assert_eq!(log.recover(&bytes).unwrap(), log.records[..whole], "cut at {at}");
    }
}

#[test]
fn a_log_cut_at_any_byte_is_refused_when_a_checkpoint_or_a_clean_end_proves_more() {
    let log = small_log();
    let (mut opened, _) = reopen_simulated(&log.disk).unwrap();
    let end = opened.sync().unwrap();
    opened.close().unwrap();
    for at in (0..end.0).step_by(7) {
        let mut bytes = log.bytes.clone();
        bytes[at as usize..].fill(0);
        let first = (at..log.end.0).find(|at| log.bytes[*at as usize] != 0);
        let recovered = log.recover(&bytes);
        match first {
            Some(first) => {
                assert!(matches!(recovered, Err(OpenError::Damaged(_))), "byte {first} is missing");
            }
            None => assert_eq!(recovered.unwrap(), log.records),
        }
    }
}

#[test]
fn a_log_with_any_bit_flipped_is_a_prefix_or_refused() {
    let log = small_log();
    for at in 0..log.end.0 {
        for bit in 0..8 {
            let mut bytes = log.bytes.clone();
            bytes[at as usize] ^= 1 << bit;
            log.check(&bytes, at);
        }
    }
}

#[test]
fn garbage_behind_the_end_is_gone_after_recovery() {
    let log = small_log();
    let mut bytes = log.bytes.clone();
    for (at, byte) in bytes.iter_mut().enumerate().skip(log.end.0 as usize) {
        *byte = (at % 251) as u8;
    }
    assert_eq!(log.recover(&bytes).unwrap(), log.records);
    log.disk.cut_power();
    let cleaned = log.disk.contents(&log.segment).unwrap();
    assert!(cleaned[log.end.0 as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_file_cut_short_is_refused_as_damage() {
    let log = small_log();
    let refused = log.recover(&log.bytes[..log.bytes.len() - 1]).unwrap_err();
    assert!(refused.to_string().contains("has 1048575 bytes instead of 1048576"), "{refused}");
}

#[test]
fn a_whole_frame_of_a_later_version_is_refused_and_never_cut_off() {
    let log = small_log();
    let (last, _) = log.records[7];
    let start = frame_start(last).0 as usize;
    let mut bytes = log.bytes.clone();
    bytes[start + 4] = 2;
    let crc = rq_core::hash::crc32c(&bytes[start..start + HEADER_LEN - 4]);
    bytes[start + HEADER_LEN - 4..start + HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    let refused = log.recover(&bytes).unwrap_err();
    assert!(refused.to_string().contains("newer version"), "{refused}");
}
