//! On a real directory, with its threads and maps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rq_core::ids::{Epoch, LogTime, Lsn};
use rq_log::inspect::SegmentState;
use rq_log::{HEADER_LEN, Inspection, LogReader, OpenError, Options, ReadError, StdDisk, inspect, open};

use crate::{append, options, reopen};

#[test]
fn what_was_synced_is_there_after_opening_again_across_segments_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, records) = reopen(&StdDisk, dir.path()).unwrap();
    assert!(records.is_empty());
    let mut written = Vec::new();
    for number in 0..400_u32 {
        let record = number.to_le_bytes().repeat(2500);
        written.push((append(&mut log, &record).unwrap(), record));
        log.sync().unwrap();
    }
    for (lsn, record) in &written {
        assert_eq!(&log.reader().read_record(*lsn).unwrap(), record);
    }
    drop(log);
    let (log, records) = reopen(&StdDisk, dir.path()).unwrap();
    assert_eq!(records, written);
    for (lsn, record) in &written {
        assert!(log.reader().cached(*lsn).is_none());
        assert_eq!(&log.reader().read_record(*lsn).unwrap(), record);
    }
    log.close().unwrap();
    let (mut log, records) = reopen(&StdDisk, dir.path()).unwrap();
    assert_eq!(records, written);
    let reader = log.reader();
    let end = log.end();
    log.checkpoints().write(end, |file| file.write_all(b"state")).unwrap();
    assert_eq!(log.drop_below(end).unwrap(), Lsn(0), "one checkpoint alone lets nothing go");
    let more = append(&mut log, b"more").unwrap();
    let end = log.sync().unwrap();
    log.checkpoints().write(end, |file| file.write_all(b"state2")).unwrap();
    assert_eq!(log.drop_below(end).unwrap(), Lsn(3 << 20));
    assert!(matches!(reader.read_record(written[0].0), Err(ReadError::Dropped { .. })));
    assert!(matches!(reader.read_record(end), Err(ReadError::BeyondEnd { .. })));
    drop((log, reader));
    let mut recovery = open(StdDisk, dir.path(), options()).unwrap();
    let checkpoint = recovery.checkpoint().unwrap().unwrap();
    assert_eq!((checkpoint.lsn, checkpoint.state.as_ref()), (end, &b"state2"[..]));
    let log = recovery.finish().unwrap();
    assert_eq!((log.end(), log.start()), (end, Lsn(3 << 20)));
    assert_eq!(log.reader().read_record(more).unwrap(), &b"more"[..]);
}

#[test]
fn a_fresh_log_of_full_size_serves_at_once_and_is_not_overwritten_by_its_preparation() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let sized = Options { segment_bytes: 64 << 20, ..options() };
    let mut log = open(StdDisk, dir.path(), sized.clone()).unwrap().finish().unwrap();
    let record = vec![0xa5; 1 << 20];
    let first = append(&mut log, &record).unwrap();
    log.sync().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    let mut positions = vec![first];
    positions.extend((0..50).map(|_| append(&mut log, &record).unwrap()));
    log.sync().unwrap();
    drop(log);
    let log = open(StdDisk, dir.path(), sized).unwrap().finish().unwrap();
    for lsn in positions {
        assert_eq!(log.reader().read_record(lsn).unwrap(), record);
    }
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = reopen(&StdDisk, dir.path()).unwrap();
    assert!(matches!(open(StdDisk, dir.path(), options()), Err(OpenError::Locked(_))));
    drop(log);
    assert!(open(StdDisk, dir.path(), options()).is_ok());
}

#[test]
fn a_file_system_that_forgets_is_refused_unless_allowed() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        assert!(std::env::var_os("CI").is_none(), "this test needs a tmpfs at /dev/shm");
        return;
    };
    let careful = Options { allow_unsafe_filesystem: false, ..options() };
    let refused = open(StdDisk, dir.path(), careful).map(drop).unwrap_err();
    assert!(matches!(&refused, OpenError::UnsafeFilesystem { file_system, .. } if file_system == "tmpfs"));
    assert!(open(StdDisk, dir.path(), options()).is_ok());
}

#[test]
fn an_inspection_tells_what_is_in_a_directory_beside_a_running_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = reopen(&StdDisk, dir.path()).unwrap();
    let record = vec![7; 300_000];
    let written: Vec<_> = (0..5).map(|_| append(&mut log, &record).unwrap()).collect();
    log.sync().unwrap();
    let inspection: Inspection = inspect(dir.path()).unwrap();
    assert_eq!(inspection.identity, *log.identity());
    let reports: Vec<_> = inspection.segments.iter().map(|file| inspection.examine(file).unwrap()).collect();
    assert_eq!(reports[0].state, SegmentState::Full);
    assert_eq!((reports[0].frames, reports[0].records), (3, 3));
    assert_eq!(reports[1].state, SegmentState::Active);
    assert_eq!((reports[1].end, reports[1].first.unwrap().epoch), (log.end(), Epoch(1)));
    assert!(reports.iter().all(|report| report.damage.is_none()));
    let frames: Vec<_> = inspection.frames(Lsn(0)).map(|frame| frame.unwrap()).collect();
    let found: Vec<_> = frames.iter().flat_map(|frame| frame.frame().records().map(|(lsn, _)| lsn)).collect();
    assert_eq!(found, written);
}

#[test]
fn readers_in_other_threads_find_every_record_that_is_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = reopen(&StdDisk, dir.path()).unwrap();
    let written: Mutex<Vec<Lsn>> = Mutex::new(Vec::new());
    let (writing, dropped) = (AtomicBool::new(true), AtomicU64::new(0));
    let record = |lsn: Lsn| lsn.0.to_le_bytes().repeat(1000);
    let read_on = |reader: LogReader<StdDisk>| {
        let mut found = 0_u64;
        for turn in 1_usize.. {
            if !writing.load(Ordering::Acquire) && found > 1000 {
                break;
            }
            let position = {
                let written = written.lock().unwrap();
                written.get((turn * 7919) % written.len().max(1)).copied()
            };
            match position.map(|lsn| (lsn, reader.read_record(lsn))) {
                None => {}
                Some((lsn, Ok(bytes))) => {
                    assert_eq!(bytes, record(lsn));
                    found += 1;
                }
                Some((lsn, Err(ReadError::Dropped { .. }))) => {
                    assert!(lsn.0 < dropped.load(Ordering::Acquire), "{lsn} was not dropped");
                }
                Some((_, Err(error))) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        let readers = [log.reader(), log.reader()].map(|reader| scope.spawn(|| read_on(reader)));
        for turn in 0..3000 {
            let mut frame = log.begin(Epoch(1), LogTime(turn), 8000).unwrap();
            let lsn = Lsn(log.end().0 + HEADER_LEN as u64);
            assert_eq!(frame.push(&record(lsn)), lsn);
            log.append(frame, log.durable()).unwrap();
            written.lock().unwrap().push(lsn);
            if turn % 100 == 99 {
                let end = log.sync().unwrap();
                log.checkpoints().write(end, |file| file.write_all(b"state")).unwrap();
                let below = Lsn(end.0.saturating_sub(8 << 20));
                // Before the log says so, for the readers' check.
                dropped.store(below.0, Ordering::Release);
                log.drop_below(below).unwrap();
            }
        }
        writing.store(false, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    let sealed = log.reader().sealed();
    assert_eq!(sealed.first().map(|segment| segment.base), Some(log.start()));
    assert!(sealed.is_sorted_by_key(|segment| (segment.base, segment.newest)));
    // Each turn wrote one record, at its own time.
    let written = written.lock().unwrap();
    for turn in (1..written.len()).rev().step_by(37) {
        let since = log.reader().since(LogTime(turn as u64)).unwrap();
        if written[turn] < log.start() {
            assert_eq!(since, log.start(), "turn {turn} is dropped");
        } else {
            assert!(written[turn - 1] < since && since < written[turn], "turn {turn}: {since}");
        }
    }
    assert_eq!(log.reader().since(LogTime(u64::MAX)).unwrap(), log.end());
}

#[test]
fn an_inspection_tells_damage_from_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = reopen(&StdDisk, dir.path()).unwrap();
    let written: Vec<_> = (0..3)
        .map(|_| {
            let lsn = append(&mut log, &[1; 1000]).unwrap();
            log.sync().unwrap();
            lsn
        })
        .collect();
    drop(log);
    let segment = dir.path().join("log/00000000000000000000.seg");
    let intact = std::fs::read(&segment).unwrap();
    let examine = |wrong: Lsn| {
        let mut bytes = intact.clone();
        bytes[wrong.0 as usize + 9] ^= 1;
        std::fs::write(&segment, &bytes).unwrap();
        let inspection = inspect(dir.path()).unwrap();
        let whole = inspection.frames(Lsn(0)).flatten().count();
        (inspection.examine(&inspection.segments[0]).unwrap(), whole)
    };
    let (torn, whole) = examine(written[2]);
    assert_eq!((torn.state, torn.frames, whole), (SegmentState::Active, 2, 2));
    assert!(torn.damage.unwrap().position >= torn.known_durable);
    std::fs::write(dir.path().join("META.b"), b"").unwrap();
    std::fs::write(&segment, &intact[..1 << 19]).unwrap();
    let inspection = inspect(dir.path()).unwrap();
    let cut_short = inspection.examine(&inspection.segments[0]).unwrap();
    assert_eq!((cut_short.state, cut_short.frames), (SegmentState::Damaged, 3));
    assert!(cut_short.damage.unwrap().reason.contains("524288 bytes"));
}

/// Not a check but a measurement: `cargo test --release -p rq-log -- --ignored --nocapture recovery_speed`.
#[test]
#[ignore = "a measurement"]
fn recovery_speed() {
    let dir = tempfile::tempdir().unwrap();
    let sized = Options { segment_bytes: 256 << 20, ..options() };
    let mut log = open(StdDisk, dir.path(), sized.clone()).unwrap().finish().unwrap();
    let record = vec![0x5a; 1024];
    while log.end() < Lsn(900 << 20) {
        let mut frame = log.begin(Epoch(1), LogTime(1), record.len()).unwrap();
        while frame.fits(record.len()) && frame.frame_len() < 64 << 10 {
            frame.push(&record);
        }
        log.append(frame, log.durable()).unwrap();
    }
    let end = log.sync().unwrap();
    drop(log);
    for _ in 0..3 {
        let started = Instant::now();
        let mut recovery = open(StdDisk, dir.path(), sized.clone()).unwrap();
        let mut records = 0_u64;
        recovery
            .replay(|frame| {
                records += frame.records().count() as u64;
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap();
        let replayed = started.elapsed();
        drop(recovery.finish().unwrap());
        let mib = end.0 as f64 / f64::from(1 << 20);
        eprintln!(
            "{records} records, {mib:.0} MiB: replay {:.0} MiB/s, open to serving {:?}",
            mib / replayed.as_secs_f64(),
            started.elapsed()
        );
    }
}

/// Not a check but a measurement: `cargo test --release -p rq-log -- --ignored --nocapture flush_latency`.
#[test]
#[ignore = "a measurement"]
fn flush_latency() {
    use std::os::unix::fs::FileExt as _;
    const ROUND: Duration = Duration::from_secs(3);
    fn report(what: &str, times: &mut [Duration]) {
        times.sort_unstable();
        let at = |permille: usize| times[(times.len() - 1) * permille / 1000];
        eprintln!("{what}: {} times, p50 {:?}, p99 {:?}, p99.9 {:?}", times.len(), at(500), at(990), at(999));
    }
    fn time(mut act: impl FnMut()) -> Duration {
        let before = Instant::now();
        act();
        before.elapsed()
    }
    let dir = tempfile::tempdir().unwrap();
    let bare = std::fs::File::create(dir.path().join("bare")).unwrap();
    bare.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    bare.sync_all().unwrap();
    let sized = Options { segment_bytes: 256 << 20, prepared_segments: 2, ..options() };
    let started = Instant::now();
    let mut log = open(StdDisk, &dir.path().join("data"), sized).unwrap().finish().unwrap();
    eprintln!("fresh log open after {:?}", started.elapsed());
    let record = vec![1; 1024];
    let mut at = 0;
    for round in 0..6 {
        let (mut log_times, mut bare_times) = (Vec::new(), Vec::new());
        let started = Instant::now();
        while started.elapsed() < ROUND {
            log_times.push(time(|| {
                append(&mut log, &record).unwrap();
                log.sync().unwrap();
            }));
            bare_times.push(time(|| {
                bare.write_all_at(&[1; 4096], at).unwrap();
                bare.sync_data().unwrap();
            }));
            at = (at + 4096) % (64 << 20);
        }
        report(if round < 3 { "append and sync, preparing" } else { "append and sync" }, &mut log_times);
        report("bare 4 KiB pwrite and fdatasync", &mut bare_times);
    }
}
