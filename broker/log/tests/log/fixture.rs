//! Directories of released formats stay readable. The files under `fixtures/` are never written again; a changed format
//! gets a new folder beside them.

use std::fs;
use std::path::{Path, PathBuf};

use rq_core::ids::{Epoch, LogTime, Lsn, ShardId};
use rq_log::{Log, Options, StdDisk, open};

use crate::{SEGMENT, replay};

fn options() -> Options {
    Options { cluster: "fixture".to_owned(), shard: ShardId(0), ..crate::options() }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1")
}

/// Copies the fixture; its segments are kept without the zeroes at their ends.
fn copy_of_fixture(to: &Path) {
    for folder in ["", "log", "ckpt"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(fixture().join(folder)).unwrap() {
            let from = entry.unwrap().path();
            if from.is_dir() {
                continue;
            }
            let copy = to.join(folder).join(from.file_name().unwrap());
            fs::copy(&from, &copy).unwrap();
            if from.extension().is_some_and(|extension| extension == "seg") {
                fs::File::options().write(true).open(&copy).unwrap().set_len(SEGMENT).unwrap();
            }
        }
    }
}

#[test]
fn a_directory_of_format_1_is_read_and_written_on() {
    let dir = tempfile::tempdir().unwrap();
    copy_of_fixture(dir.path());
    let mut recovery = open(StdDisk, dir.path(), options()).unwrap();
    let identity = recovery.identity();
    assert_eq!((identity.format_version, identity.segment_bytes), (1, SEGMENT));
    assert_eq!(recovery.promised_epoch(), Epoch(2));
    let checkpoint = recovery.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.lsn, checkpoint.state.as_ref()), (Lsn(72), &b"the state after one"[..]));
    let found = replay(&mut recovery).unwrap();
    let expected: Vec<(Lsn, Vec<u8>)> = vec![
        (Lsn(136), b"two".to_vec()),
        (Lsn(140), Vec::new()),
        (Lsn(208), vec![0xf7; 200]),
        (Lsn(SEGMENT + 64), b"after the roll".to_vec()),
    ];
    assert_eq!(found, expected);
    let mut log = recovery.finish().unwrap();
    assert_eq!(log.reader().read_record(Lsn(64)).unwrap(), &b"one"[..]);
    let mut frame = log.begin(Epoch(3), LogTime(9), 3).unwrap();
    frame.push(b"new");
    log.append(frame, Lsn(0)).unwrap();
    log.close().unwrap();
}

fn write_frame(log: &mut Log<StdDisk>, epoch: Epoch, first_len: usize, records: &[&[u8]]) {
    let mut frame = log.begin(epoch, LogTime(1_700_000_000_000), first_len).unwrap();
    for record in records {
        frame.push(record);
    }
    log.append(frame, log.durable()).unwrap();
    log.sync().unwrap();
}

/// How the fixture was made. It would not be the same again: the store id is random.
#[test]
#[ignore = "writes a new fixture; never for a format that has one"]
fn write_the_fixture() {
    let to = fixture();
    assert!(!to.exists(), "a released format's fixture is never written again");
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(StdDisk, dir.path(), options()).unwrap().finish().unwrap();
    write_frame(&mut log, Epoch(1), 3, &[b"one"]);
    let end = log.durable();
    log.checkpoints().write(end, |file| file.write_all(b"the state after one")).unwrap();
    write_frame(&mut log, Epoch(1), 3, &[b"two", b""]);
    write_frame(&mut log, Epoch(1), 200, &[&[0xf7; 200]]);
    log.promise(Epoch(2)).unwrap();
    // Asks for more room than is left, to get into the next segment early.
    write_frame(&mut log, Epoch(2), SEGMENT as usize - 300, &[b"after the roll"]);
    drop(log);
    for file in ["IDENTITY", "META.a", "META.b", "ckpt/00000000000000000072.ckpt"] {
        let copy = to.join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(dir.path().join(file), copy).unwrap();
    }
    fs::create_dir_all(to.join("log")).unwrap();
    for base in [0, SEGMENT] {
        let name = format!("log/{base:020}.seg");
        let mut bytes = fs::read(dir.path().join(&name)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes.truncate(used);
        fs::write(to.join(name), bytes).unwrap();
    }
}
