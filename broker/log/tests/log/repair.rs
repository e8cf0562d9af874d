//! A sealed segment that was damaged behind the log's back: it is found, and replaced by another replica's copy; whatever
//! stops that on its way leaves the old one or the new one.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rq_core::ids::Lsn;
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{
    CheckError, Fault, HEADER_LEN, Log, OpenError, ReplaceError, Replacement, damaged_segment, replace_in,
};

use crate::{DIR, Records, SEGMENT, append, reopen_simulated};

type SimulatedLog = Log<SimulatedDisk>;

/// A log that ends in its fourth segment. Whoever is made with the same `first` has the same bytes.
fn log_with(seed: u64, first: u8) -> (SimulatedDisk, SimulatedLog, Records) {
    let disk = SimulatedDisk::new(seed);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    let mut records = vec![(append(&mut log, &[first]).unwrap(), vec![first])];
    while log.end().0 < SEGMENT * 7 / 2 {
        let record = vec![log.end().0 as u8; 1 + log.end().0 as usize * 7919 % 240_000];
        records.push((append(&mut log, &record).unwrap(), record));
        log.sync().unwrap();
    }
    (disk, log, records)
}

fn log(seed: u64) -> (SimulatedDisk, SimulatedLog, Records) {
    log_with(seed, 1)
}

fn segment(number: u64) -> PathBuf {
    Path::new(DIR).join(format!("log/{:020}.seg", number * SEGMENT))
}

fn base(number: u64) -> Lsn {
    Lsn(number * SEGMENT)
}

/// Flips a bit.
fn damage(disk: &SimulatedDisk, path: &Path, at: u64) {
    let mut bytes = disk.contents(path).unwrap();
    bytes[at as usize] ^= 4;
    disk.replace(path, &bytes);
}

/// The frames of a segment as another replica sends them, a few at a time.
fn frames(peer: &SimulatedLog, number: u64) -> Vec<Bytes> {
    let mut at = base(number);
    let mut parts = Vec::new();
    while at < base(number + 1) {
        for frame in peer.reader().frames(at, 100_000).unwrap() {
            if frame.lsn < base(number + 1) {
                at = frame.end;
                parts.push(frame.bytes);
            }
        }
    }
    parts
}

fn fill(mut replacement: Replacement<SimulatedDisk>, parts: &[Bytes]) -> Result<(), ReplaceError> {
    parts.iter().try_for_each(|part| replacement.write(part))?;
    replacement.finish()
}

fn repair(log: &SimulatedLog, number: u64, parts: &[Bytes]) -> Result<(), ReplaceError> {
    fill(log.reader().replace(base(number))?, parts)
}

fn whole(log: &SimulatedLog, number: u64) -> Result<(), CheckError> {
    log.reader().check(base(number), |_| true).map(drop)
}

fn no_leftovers(disk: &SimulatedDisk) -> bool {
    let beside = |file: &PathBuf| file.to_string_lossy().ends_with(".seg.tmp");
    // The one that is being prepared is no leftover.
    disk.files().iter().filter(|file| beside(file)).count() == 0
}

#[test]
fn copies_of_a_segment_have_the_same_sum_and_others_another() {
    let ((_, one, _), (_, two, _), (_, other, _)) = (log(1), log(2), log_with(3, 9));
    let sums = |log: &SimulatedLog| {
        let reader = log.reader();
        let sums = reader.full_segments().into_iter().map(|base| reader.check(base, |_| true).unwrap());
        sums.collect::<Vec<_>>()
    };
    assert_eq!(sums(&one).iter().map(|sum| sum.base).collect::<Vec<_>>(), [base(0), base(1), base(2)]);
    assert_eq!(sums(&one), sums(&two));
    assert!(sums(&one).iter().zip(sums(&other)).all(|(one, other)| one.sum != other.sum));
}

#[test]
fn a_flipped_bit_anywhere_in_a_frame_of_a_full_segment_is_found() {
    let (disk, log, records) = log(1);
    let frames: Vec<_> = log.reader().frames(base(1), SEGMENT as usize).unwrap();
    let pad = frames.iter().find(|frame| frame.end == base(2)).unwrap();
    for at in (0..pad.lsn.0 - base(1).0 + HEADER_LEN as u64).step_by(4_099).chain([0, 63, 64]) {
        damage(&disk, &segment(1), at);
        let found = whole(&log, 1).unwrap_err();
        assert!(found.is_damage(), "byte {at}: {found}");
        damage(&disk, &segment(1), at);
    }
    whole(&log, 1).unwrap();
    assert!(records.iter().all(|(lsn, record)| log.reader().read_record(*lsn).unwrap() == record));
}

#[test]
fn a_segment_that_is_gone_or_cut_short_is_found_and_the_active_one_is_left_alone() {
    let (disk, log, _) = log(1);
    let bytes = disk.contents(&segment(0)).unwrap();
    disk.replace(&segment(0), &bytes[..bytes.len() / 2]);
    assert!(whole(&log, 0).unwrap_err().is_damage());
    disk.lose(&segment(0));
    assert!(whole(&log, 0).unwrap_err().is_damage());
    assert!(matches!(whole(&log, 3), Err(CheckError::NotSealed(_))));
    assert!(matches!(repair(&log, 3, &[]), Err(ReplaceError::NotSealed(_))));
    assert!(matches!(log.reader().check(base(1), |_| false).map(drop), Ok(()) | Err(CheckError::GivenUp)));
}

#[test]
fn a_damaged_segment_is_replaced_while_the_log_is_read_and_written() {
    let ((disk, mut log, mut records), (_, peer, _)) = (log(1), log(2));
    for number in [0, 1, 2] {
        let long = |(lsn, record): &&(Lsn, Vec<u8>)| *lsn > base(number) && record.len() > 100;
        let (lsn, record) = records.iter().find(long).unwrap().clone();
        damage(&disk, &segment(number), lsn.0 + 50 - base(number).0);
        let reader = log.reader();
        assert_ne!(reader.read_record(lsn).unwrap(), record);
        repair(&log, number, &frames(&peer, number)).unwrap();
        assert_eq!(reader.read_record(lsn).unwrap(), record);
        whole(&log, number).unwrap();
    }
    records.push((append(&mut log, b"after").unwrap(), b"after".to_vec()));
    log.sync().unwrap();
    drop(log);
    disk.cut_power();
    assert_eq!(reopen_simulated(&disk).unwrap().1, records);
    assert!(no_leftovers(&disk));
}

#[test]
fn whatever_stops_a_repair_leaves_the_old_segment_or_the_new_one() {
    let (_, peer, records) = log(2);
    let parts = frames(&peer, 1);
    let (mut old, mut new) = (0, 0);
    for stop_at in 0.. {
        let (disk, log, _) = log(stop_at);
        damage(&disk, &segment(1), 70);
        disk.stop_after(stop_at);
        let repaired = repair(&log, 1, &parts).is_ok();
        drop(log);
        if stop_at % 3 == 0 {
            disk.kill();
        } else {
            disk.cut_power();
        }
        let bytes = disk.contents(&segment(1)).unwrap();
        match reopen_simulated(&disk) {
            Ok((_, replayed)) => {
                assert_eq!(replayed, records, "{stop_at}");
                new += 1;
            }
            Err(OpenError::Damaged(damaged)) => {
                assert!(!repaired, "it was confirmed: {stop_at}");
                assert_eq!((damaged.position, bytes.len() as u64), (base(1), SEGMENT));
                old += 1;
            }
            Err(error) => panic!("{stop_at}: {error}"),
        }
        if repaired {
            break;
        }
    }
    assert!(old > 5 && new > 0, "{old} {new}");
}

#[test]
fn a_copy_that_is_not_what_lay_there_is_refused_and_changes_nothing() {
    let ((disk, log, _), (_, peer, _), (_, other, _)) = (log(1), log(2), log_with(3, 9));
    damage(&disk, &segment(1), 70);
    let before = disk.contents(&segment(1));
    let parts = frames(&peer, 1);
    assert!(matches!(repair(&log, 1, &parts[..2]), Err(ReplaceError::Incomplete { .. })));
    assert!(matches!(repair(&log, 1, &parts[1..]), Err(ReplaceError::Invalid { .. })));
    let mut torn = parts[1].to_vec();
    torn[100] ^= 1;
    let torn = [parts[0].clone(), torn.into()];
    let refused = repair(&log, 1, &torn);
    assert!(matches!(refused, Err(ReplaceError::Invalid { fault: Fault::PayloadChecksum, .. })));
    assert!(matches!(repair(&log, 1, &frames(&other, 1)), Err(ReplaceError::OtherLog { .. })));
    assert_eq!(disk.contents(&segment(1)), before);
    assert!(no_leftovers(&disk));
    repair(&log, 1, &parts).unwrap();
    whole(&log, 1).unwrap();
}

#[test]
fn of_two_damaged_neighbours_the_later_one_proves_the_earlier_one() {
    let ((disk, log, records), (_, peer, _)) = (log(1), log(2));
    damage(&disk, &segment(1), 70);
    damage(&disk, &segment(2), 8);
    assert!(matches!(repair(&log, 1, &frames(&peer, 1)), Err(ReplaceError::Unproven(_))));
    repair(&log, 2, &frames(&peer, 2)).unwrap();
    repair(&log, 1, &frames(&peer, 1)).unwrap();
    assert!(records.iter().all(|(lsn, record)| log.reader().read_record(*lsn).unwrap() == record));
}

#[test]
fn a_segment_that_was_dropped_meanwhile_does_not_come_back() {
    let ((disk, mut log, _), (_, peer, _)) = (log(1), log(2));
    let mut replacement = log.reader().replace(base(0)).unwrap();
    for part in &frames(&peer, 0) {
        replacement.write(part).unwrap();
    }
    for record in [b"one", b"two"] {
        append(&mut log, record).unwrap();
        let end = log.sync().unwrap();
        log.checkpoints().write(end, |file| file.write_all(b"state")).unwrap();
    }
    assert!(log.drop_below(log.end()).unwrap() > base(0));
    assert!(matches!(replacement.finish(), Err(ReplaceError::NotSealed(_))));
    assert!(disk.contents(&segment(0)).is_none() && no_leftovers(&disk));
}

#[test]
fn a_log_that_cannot_be_opened_for_a_damaged_segment_can_be_once_that_is_replaced() {
    let ((disk, log, records), (_, peer, _)) = (log(1), log(2));
    let store = log.identity().store_id;
    drop(log);
    disk.cut_power();
    let refusal = |disk: &SimulatedDisk| damaged_segment(&reopen_simulated(disk).map(drop).unwrap_err());
    let mend = |number| {
        let replacement = replace_in(&disk, Path::new(DIR), base(number)).unwrap();
        assert_eq!((replacement.store(), replacement.end()), (store, base(number + 1)));
        fill(replacement, &frames(&peer, number)).unwrap();
    };
    damage(&disk, &segment(2), 70);
    assert_eq!(refusal(&disk), Some(base(2)));
    mend(2);
    disk.lose(&segment(1));
    assert_eq!(refusal(&disk), Some(base(1)));
    mend(1);
    let (log, replayed) = reopen_simulated(&disk).unwrap();
    assert_eq!(replayed, records);
    assert_eq!(log.identity().store_id, store);
    let refused = replace_in(&disk, Path::new(DIR), base(1)).map(drop);
    assert!(matches!(refused, Err(ReplaceError::Open(OpenError::Locked(_)))), "somebody uses it");
    drop(log);
    let active = replace_in(&disk, Path::new(DIR), base(3)).map(drop);
    assert!(matches!(active, Err(ReplaceError::NotSealed(_))));
}
