//! One fault at a time: failed flushes, a full disk, a read-only disk, directories of others, lost files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rq_core::ids::{Epoch, LogTime, Lsn, ShardId};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{Inspection, OpenError, Options, RECORD_LIMIT, WriteError, open};

use crate::{DIR, SEGMENT, append, options, reopen_simulated, replay};

fn file(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

#[test]
fn what_recovery_found_after_a_failed_flush_survives_a_power_cut_after_it() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = reopen_simulated(&disk).unwrap();
        append(&mut log, &[1; 3000]).unwrap();
        log.sync().unwrap();
        append(&mut log, &[2; 3000]).unwrap();
        append(&mut log, &[3; 3000]).unwrap();
        disk.fail_next_sync(".seg");
        assert!(matches!(log.sync(), Err(WriteError::Failed(_))));
        // Reads still show the records, and a second flush would succeed: the log must not try.
        assert!(matches!(log.sync(), Err(WriteError::Poisoned)));
        assert!(matches!(log.begin(Epoch(1), LogTime(1), 1), Err(WriteError::Poisoned)));
        disk.kill();
        let (log, recovered) = reopen_simulated(&disk).unwrap();
        assert_eq!(recovered.len(), 3, "the page cache still has everything");
        assert_eq!(log.durable(), log.end());
        disk.cut_power();
        let (_, after) = reopen_simulated(&disk).unwrap();
        assert_eq!(after, recovered, "seed {seed}");
    }
}

#[test]
fn a_failed_write_ends_the_log_for_good() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    disk.fail_next_write(".seg");
    assert!(append(&mut log, b"x").unwrap_err().is_fatal());
    assert!(matches!(append(&mut log, b"x"), Err(WriteError::Poisoned)));
    assert!(matches!(log.close(), Err(WriteError::Poisoned)));
}

#[test]
fn a_failed_superblock_ends_the_log_for_good() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    disk.fail_next_sync("META");
    assert!(log.promise(Epoch(3)).unwrap_err().is_fatal());
    assert!(matches!(append(&mut log, b"x"), Err(WriteError::Poisoned)));
}

#[test]
fn a_full_disk_is_a_definite_refusal_and_the_log_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    let record = vec![1; 400_000];
    let mut written = vec![append(&mut log, &record).unwrap(), append(&mut log, &record).unwrap()];
    disk.set_capacity(SEGMENT + (SEGMENT / 2));
    let end = log.end();
    for _ in 0..3 {
        let refused = log.begin(Epoch(1), LogTime(1), record.len()).map(drop).unwrap_err();
        assert!(matches!(refused, WriteError::NoSpace) && refused.is_no_space() && !refused.is_fatal());
    }
    assert_eq!(log.end(), end, "nothing was written");
    let space = log.space();
    assert!(space.available_bytes < SEGMENT / 2, "half a segment is of no use: {space:?}");
    written.push(append(&mut log, b"a small one still fits").unwrap());
    log.sync().unwrap();
    let durable = log.durable();
    let full = log.checkpoints().write(durable, |file| file.write_all(&record)).unwrap();
    assert!(full > 400_000);
    append(&mut log, b"b").unwrap();
    let durable = log.sync().unwrap();
    let refused = log.checkpoints().write(durable, |file| file.write_all(&record)).unwrap_err();
    assert!(refused.is_no_space() && !refused.is_fatal());
    disk.set_capacity(u64::MAX);
    written.push(append(&mut log, &record).unwrap());
    log.checkpoints().write(durable, |file| file.write_all(&record)).unwrap();
    for lsn in written {
        log.reader().read_record(lsn).unwrap();
    }
}

#[test]
fn a_read_only_disk_is_named() {
    let disk = SimulatedDisk::new(1);
    drop(reopen_simulated(&disk).unwrap());
    disk.set_read_only(true);
    assert!(matches!(reopen_simulated(&disk).map(drop), Err(OpenError::ReadOnly(_))));
    disk.set_read_only(false);
    assert!(reopen_simulated(&disk).is_ok());
}

#[test]
fn a_directory_of_another_cluster_or_shard_is_refused() {
    let disk = SimulatedDisk::new(1);
    drop(reopen_simulated(&disk).unwrap());
    let other = Options { cluster: "other".to_owned(), ..options() };
    let refused = open(disk.clone(), Path::new(DIR), other).map(drop).unwrap_err();
    assert!(matches!(&refused, OpenError::OtherCluster { found, .. } if found == "test"), "{refused}");
    let other = Options { shard: ShardId(1), ..options() };
    assert!(matches!(open(disk, Path::new(DIR), other).map(drop), Err(OpenError::OtherShard { .. })));
}

/// Writes version 9 into the header of a file, whose checksum is at `crc_at`.
fn make_newer(disk: &SimulatedDisk, name: &str, crc_at: Option<usize>) {
    let mut bytes = disk.contents(&file(name)).unwrap();
    bytes[4] = 9;
    let crc_at = crc_at.unwrap_or(bytes.len() - 4);
    let crc = rq_core::hash::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    disk.replace(&file(name), &bytes);
}

#[test]
fn a_directory_with_a_file_of_a_newer_format_is_refused_as_such_and_left_alone() {
    const CHECKPOINT_CRC_AT: usize = 24;
    for (name, crc_at) in [
        ("IDENTITY", None),
        ("META.a", None),
        ("META.b", None),
        ("ckpt/00000000000000000072.ckpt", Some(CHECKPOINT_CRC_AT)),
    ] {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = reopen_simulated(&disk).unwrap();
        append(&mut log, b"x").unwrap();
        let end = log.sync().unwrap();
        log.checkpoints().write(end, |file| file.write_all(b"state")).unwrap();
        log.close().unwrap();
        let original = disk.contents(&file(name)).unwrap();
        make_newer(&disk, name, crc_at);
        for _ in 0..2 {
            let refused = reopen_simulated(&disk).map(drop).unwrap_err();
            assert!(matches!(refused, OpenError::NewerFormat { found: 9, supported: 1, .. }), "{refused}");
            let text = refused.to_string();
            assert!(text.contains(name) && text.contains("use the release that wrote it"), "{text}");
        }
        disk.replace(&file(name), &original);
        assert_eq!(reopen_simulated(&disk).unwrap().1, [], "all is in the checkpoint, as before");
    }
}

#[test]
fn a_look_into_a_directory_tells_a_newer_checkpoint_from_a_damaged_one() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    append(&mut log, b"x").unwrap();
    let end = log.sync().unwrap();
    log.checkpoints().write(end, |file| file.write_all(b"state")).unwrap();
    log.close().unwrap();
    make_newer(&disk, "ckpt/00000000000000000072.ckpt", Some(24));
    let inspection = Inspection::of(disk.clone(), Path::new(DIR)).unwrap();
    let checkpoint = &inspection.checkpoints[0];
    assert_eq!((checkpoint.newer_format, &checkpoint.damage), (Some(9), &None));
    make_newer(&disk, "META.a", None);
    let refused = Inspection::of(disk, Path::new(DIR)).map(drop).unwrap_err();
    assert!(refused.to_string().contains("format version 9"), "{refused}");
}

#[test]
fn a_directory_with_data_and_no_identity_is_not_formatted() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    append(&mut log, b"x").unwrap();
    log.close().unwrap();
    disk.lose(&file("IDENTITY"));
    assert!(matches!(reopen_simulated(&disk).map(drop), Err(OpenError::IdentityMissing(_))));
}

#[test]
fn one_lost_superblock_slot_costs_nothing_and_two_are_damage() {
    for lost in ["META.a", "META.b"] {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = reopen_simulated(&disk).unwrap();
        log.promise(Epoch(5)).unwrap();
        log.promise(Epoch(4)).unwrap();
        drop(log);
        disk.replace(&file(lost), &[0xff; 512]);
        let (log, _) = reopen_simulated(&disk).unwrap();
        assert_eq!((log.promised_epoch(), log.incarnation()), (Epoch(5), 2));
        drop(log);
        disk.replace(&file("META.a"), b"");
        disk.lose(&file("META.b"));
        assert!(matches!(reopen_simulated(&disk).map(drop), Err(OpenError::Damaged(_))));
    }
}

#[test]
fn a_lost_segment_is_damage_wherever_it_lay() {
    for lost in 0..3 {
        let disk = SimulatedDisk::new(1);
        let (mut log, _) = reopen_simulated(&disk).unwrap();
        while log.end().0 < 2 * SEGMENT + 100 {
            append(&mut log, &vec![1; 100_000]).unwrap();
        }
        log.close().unwrap();
        disk.lose(&file(&format!("log/{:020}.seg", lost * SEGMENT)));
        let refused = reopen_simulated(&disk).map(drop).unwrap_err();
        assert!(refused.to_string().contains("the segment is missing"), "{refused}");
    }
}

#[test]
fn a_damaged_checkpoint_is_put_aside_for_the_one_before() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    let mut ends = Vec::new();
    for state in ["one", "two", "three"] {
        append(&mut log, state.as_bytes()).unwrap();
        ends.push(log.sync().unwrap());
        log.checkpoints().write(ends[ends.len() - 1], |file| file.write_all(state.as_bytes())).unwrap();
    }
    assert_eq!((log.checkpoints().newest(), log.checkpoints().oldest_kept()), (ends[2], ends[1]));
    drop(log);
    let newest = file(&format!("ckpt/{:020}.ckpt", ends[2].0));
    let mut bytes = disk.contents(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.replace(&newest, &bytes);
    let mut recovery = open(disk.clone(), Path::new(DIR), options()).unwrap();
    let checkpoint = recovery.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.lsn, checkpoint.state.as_ref()), (ends[1], &b"two"[..]));
    let records = replay(&mut recovery).unwrap();
    assert_eq!(records.iter().map(|(_, record)| record.as_slice()).collect::<Vec<_>>(), [b"three"]);
    recovery.finish().unwrap();
    assert!(disk.files().contains(&file(&format!("quarantine/{:020}.ckpt", ends[2].0))));
}

#[test]
fn a_checkpoint_is_only_written_where_a_durable_frame_ends() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    let record = append(&mut log, b"x").unwrap();
    let checkpoints = log.checkpoints();
    let write = |lsn| checkpoints.write(lsn, |file| file.write_all(b"state"));
    let unflushed = log.end();
    assert!(matches!(write(unflushed), Err(WriteError::CheckpointPosition { .. })));
    log.sync().unwrap();
    assert!(matches!(write(record), Err(WriteError::CheckpointPosition { .. })));
    assert!(write(unflushed).unwrap() > 0);
    assert_eq!(write(unflushed).unwrap(), 0, "it is there already");
    assert!(matches!(write(Lsn(0)), Err(WriteError::CheckpointPosition { .. })));
}

#[test]
fn a_checkpoint_whose_writer_fails_leaves_nothing_behind() {
    let disk = SimulatedDisk::new(1);
    let (log, _) = reopen_simulated(&disk).unwrap();
    let files = disk.files();
    let failing = |_: &mut dyn Write| Err(io::Error::other("no state"));
    assert!(matches!(log.checkpoints().write(Lsn(0), failing), Err(WriteError::Checkpoint(_))));
    assert_eq!(disk.files(), files);
}

#[test]
fn a_record_of_any_length_up_to_the_limit_fits_and_a_longer_one_is_refused() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = reopen_simulated(&disk).unwrap();
    let most = SEGMENT as usize - 2 * rq_log::HEADER_LEN - 3;
    let records: Vec<_> = [0, 1, 127, 128, 16_383, 16_384, most].map(|len| vec![0xee; len]).into();
    let positions: Vec<_> = records.iter().map(|record| append(&mut log, record).unwrap()).collect();
    for (lsn, record) in positions.iter().zip(&records) {
        assert_eq!(&log.reader().read_record(*lsn).unwrap(), record);
    }
    for too_long in [most + 1, SEGMENT as usize, RECORD_LIMIT + 1] {
        let refused = log.begin(Epoch(1), LogTime(1), too_long).map(drop);
        assert!(matches!(refused, Err(WriteError::TooLarge { .. })), "{too_long}");
    }
    let mut unfair = log.begin(Epoch(1), LogTime(1), 1).unwrap();
    unfair.push(&vec![0; SEGMENT as usize]);
    assert!(matches!(log.append(unfair, Lsn(0)), Err(WriteError::TooLarge { .. })));
    let (first, second) =
        (log.begin(Epoch(1), LogTime(1), 1).unwrap(), log.begin(Epoch(1), LogTime(1), 1).unwrap());
    log.append(first, Lsn(0)).unwrap();
    assert!(matches!(log.append(second, Lsn(0)), Err(WriteError::OutOfPlace { .. })));
}

#[test]
fn files_of_others_stay_and_ours_that_do_not_belong_are_put_aside() {
    let disk = SimulatedDisk::new(1);
    drop(reopen_simulated(&disk).unwrap());
    for name in ["log/notes.txt", "log/00000000000000000007.seg", "log/00000000000001048576.seg.tmp"] {
        use rq_log::Disk as _;
        disk.open(&file(name), rq_log::disk::OpenMode::Create).unwrap();
    }
    reopen_simulated(&disk).unwrap();
    let files = disk.files();
    assert!(files.contains(&file("log/notes.txt")));
    assert!(files.contains(&file("quarantine/00000000000000000007.seg")));
    assert!(!files.contains(&file("log/00000000000001048576.seg.tmp")));
}
