//! A log on a real directory: what was synced is there after opening it again.

use std::convert::Infallible;
use std::path::Path;

use rq_core::ids::{Epoch, LogTime, Lsn, ShardId};
use rq_log::{Log, Options, StdDisk, open};

fn options() -> Options {
    Options {
        cluster: "test".to_owned(),
        shard: ShardId(0),
        segment_bytes: 1 << 20,
        allow_unsafe_filesystem: true,
        ..Options::default()
    }
}

fn reopen(dir: &Path) -> (Log<StdDisk>, Vec<(Lsn, Vec<u8>)>) {
    let mut recovery = open(StdDisk, dir, options()).unwrap();
    let mut records = Vec::new();
    recovery
        .replay(|frame| {
            records.extend(frame.records().map(|(lsn, record)| (lsn, record.to_vec())));
            Ok::<_, Infallible>(())
        })
        .unwrap();
    (recovery.finish().unwrap(), records)
}

fn append(log: &mut Log<StdDisk>, record: &[u8]) -> Lsn {
    let mut frame = log.begin(Epoch(1), LogTime(7), record.len()).unwrap();
    let lsn = frame.push(record);
    log.append(frame, Lsn(0)).unwrap();
    lsn
}

#[test]
fn what_was_synced_is_there_after_opening_again_across_segments_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, records) = reopen(dir.path());
    assert!(records.is_empty());
    let mut written = Vec::new();
    for number in 0..400_u32 {
        let record = number.to_le_bytes().repeat(2500);
        written.push((append(&mut log, &record), record));
        log.sync().unwrap();
    }
    for (lsn, record) in &written {
        assert_eq!(&log.reader().read_record(*lsn).unwrap(), record);
    }
    drop(log);
    let (log, records) = reopen(dir.path());
    assert_eq!(records, written);
    for (lsn, record) in &written {
        assert!(log.reader().cached(*lsn).is_none());
        assert_eq!(&log.reader().read_record(*lsn).unwrap(), record);
    }
    log.close().unwrap();
    let (mut log, records) = reopen(dir.path());
    assert_eq!(records, written);
    let end = log.end();
    log.checkpoints().write(end, |file| file.write_all(b"state")).unwrap();
    assert_eq!(log.drop_below(end).unwrap(), Lsn(0), "one checkpoint alone lets nothing go");
    let more = append(&mut log, b"more");
    let end = log.sync().unwrap();
    log.checkpoints().write(end, |file| file.write_all(b"state2")).unwrap();
    assert_eq!(log.drop_below(end).unwrap(), Lsn(3 << 20));
    drop(log);
    let mut recovery = open(StdDisk, dir.path(), options()).unwrap();
    let checkpoint = recovery.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.lsn, checkpoint.state.as_ref()), (end, &b"state2"[..]));
    let log = recovery.finish().unwrap();
    assert_eq!((log.end(), log.start()), (end, Lsn(3 << 20)));
    assert_eq!(log.reader().read_record(more).unwrap(), &b"more"[..]);
}
