//! A second replica: it has the same bytes, refuses others, and cuts off what its master does not have.

use std::convert::Infallible;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use rq_core::ids::{Epoch, LogTime, Lsn};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{CopyError, Frame, FrameRef, Log, ReadError, WriteError, open};

use crate::{DIR, Records, SEGMENT, append, options, reopen_simulated, replay};

type SimulatedLog = Log<SimulatedDisk>;

fn fresh(seed: u64) -> (SimulatedDisk, SimulatedLog) {
    let disk = SimulatedDisk::new(seed);
    let (log, _) = reopen_simulated(&disk).unwrap();
    (disk, log)
}

/// Records of many sizes, over several segments.
fn fill(log: &mut SimulatedLog, count: usize) -> Records {
    let record = |number: usize| vec![number as u8; 1 + number * 7919 % 60_000];
    let records = (0..count).map(|number| (append(log, &record(number)).unwrap(), record(number))).collect();
    log.sync().unwrap();
    records
}

fn bytes(frames: Vec<Frame>) -> Vec<Bytes> {
    frames.into_iter().map(|frame| frame.bytes).collect()
}

fn store(log: &mut SimulatedLog, frames: &[Bytes]) -> Records {
    let mut records = Vec::new();
    for frame in frames {
        let stored = log.copy(frame, |frame| {
            records.extend(frame.records().map(|(lsn, record)| (lsn, record.to_vec())));
            Ok::<_, Infallible>(())
        });
        stored.unwrap();
    }
    records
}

/// Copies all that `to` lacks, some bytes at a time.
fn catch_up(from: &SimulatedLog, to: &mut SimulatedLog, bytes_max: usize) -> Records {
    let mut records = Vec::new();
    while to.end() < from.end() {
        records.extend(store(to, &bytes(from.reader().frames(to.end(), bytes_max).unwrap())));
    }
    to.sync().unwrap();
    records
}

/// All bytes of both logs.
fn same(one: &SimulatedLog, two: &SimulatedLog) -> bool {
    let all = |log: &SimulatedLog| bytes(log.reader().frames(log.start(), usize::MAX).unwrap()).concat();
    all(one) == all(two)
}

#[test]
fn a_copy_has_the_same_bytes_and_gives_the_same_records() {
    let (_, mut master) = fresh(1);
    let written = fill(&mut master, 150);
    assert!(master.end().0 > 3 * SEGMENT, "several segments");
    let (disk, mut slave) = fresh(2);
    assert_eq!(catch_up(&master, &mut slave, 100_000), written);
    assert!(same(&master, &slave));
    drop(slave);
    disk.cut_power();
    let (slave, recovered) = reopen_simulated(&disk).unwrap();
    assert_eq!(recovered, written, "and keeps them");
    assert_eq!(slave.end(), master.end());
}

#[test]
fn frames_without_records_that_fill_segments_are_given_too() {
    let (_, mut master) = fresh(1);
    fill(&mut master, 150);
    let frames = master.reader().frames(Lsn(0), usize::MAX).unwrap();
    let written: Vec<_> = frames.iter().map(|frame| frame.lsn).collect();
    let (disk, mut slave) = fresh(2);
    let mut copied = Vec::new();
    for frame in &frames {
        let each = |frame: FrameRef<'_>| {
            copied.push(frame.lsn);
            Ok::<_, Infallible>(())
        };
        slave.copy(&frame.bytes, each).unwrap();
    }
    assert_eq!(copied, written);
    slave.sync().unwrap();
    drop(slave);
    let mut replayed = Vec::new();
    let mut recovery = open(disk, Path::new(DIR), options()).unwrap();
    recovery
        .replay(|frame| {
            replayed.push(frame.lsn);
            Ok::<_, Infallible>(())
        })
        .unwrap();
    assert_eq!(replayed, written);
}

#[test]
fn a_frame_that_fills_a_segment_calls_nothing_committed_that_is_only_flushed() {
    let (_, mut master) = fresh(1);
    let committed = append(&mut master, b"committed").unwrap();
    master.sync().unwrap();
    while master.end().0 < SEGMENT {
        let mut frame = master.begin(Epoch(1), LogTime(7), 50_000).unwrap();
        frame.push(&vec![7; 50_000]);
        master.append(frame, committed).unwrap();
        master.sync().unwrap();
    }
    let (_, mut slave) = fresh(2);
    for frame in master.reader().frames(Lsn(0), usize::MAX).unwrap() {
        let each = |frame: FrameRef<'_>| {
            assert!(frame.commit_lsn <= committed, "{} of {}", frame.commit_lsn, frame.lsn);
            Ok::<_, Infallible>(())
        };
        slave.copy(&frame.bytes, each).unwrap();
    }
    assert!(slave.end().0 > SEGMENT);
}

#[test]
fn a_copy_that_ends_with_a_full_segment_can_be_opened() {
    let (_, mut master) = fresh(1);
    fill(&mut master, 60);
    let frames = master.reader().frames(Lsn(0), usize::MAX).unwrap();
    let full = frames.iter().position(|frame| frame.end == Lsn(SEGMENT)).expect("a segment is full");
    let (disk, mut slave) = fresh(2);
    store(&mut slave, &bytes(frames[..=full].to_vec()));
    drop(slave);
    disk.kill();
    let (mut slave, _) = reopen_simulated(&disk).unwrap();
    assert_eq!(slave.end(), Lsn(SEGMENT));
    catch_up(&master, &mut slave, 1 << 20);
    assert!(same(&master, &slave));
}

#[test]
fn a_frame_that_fills_a_segment_waits_for_room_for_the_next_one() {
    let (_, mut master) = fresh(1);
    fill(&mut master, 60);
    let frames = master.reader().frames(Lsn(0), usize::MAX).unwrap();
    let full = frames.iter().position(|frame| frame.end == Lsn(SEGMENT)).expect("a segment is full");
    let (disk, mut slave) = fresh(2);
    store(&mut slave, &bytes(frames[..full].to_vec()));
    disk.set_capacity(SEGMENT + (64 << 10));
    let stored = slave.copy(&frames[full].bytes, |_| Ok::<_, Infallible>(()));
    assert!(matches!(stored, Err(CopyError::Write(WriteError::NoSpace))), "{stored:?}");
    drop(slave);
    disk.kill();
    let (mut slave, _) = reopen_simulated(&disk).unwrap();
    assert_eq!(slave.end(), frames[full].lsn);
    disk.set_capacity(u64::MAX);
    catch_up(&master, &mut slave, 1 << 20);
    assert!(same(&master, &slave));
}

#[test]
fn frames_that_do_not_follow_or_are_damaged_are_not_stored() {
    let (_, mut master) = fresh(1);
    fill(&mut master, 5);
    let frames = bytes(master.reader().frames(Lsn(0), usize::MAX).unwrap());
    let (_, mut slave) = fresh(2);
    let refused = |slave: &mut SimulatedLog, frame: &Bytes| {
        let stored = slave.copy(frame, |_| Ok::<_, Infallible>(()));
        matches!(stored, Err(CopyError::Invalid { .. }))
    };
    assert!(refused(&mut slave, &frames[1]), "the first one is missing");
    store(&mut slave, &frames[..1]);
    for at in [0, 30, 63, 64, frames[1].len() - 9] {
        let mut damaged = frames[1].to_vec();
        damaged[at] ^= 1;
        assert!(refused(&mut slave, &damaged.into()), "byte {at}");
    }
    assert!(refused(&mut slave, &frames[1].slice(..frames[1].len() - 8)), "cut short");
    store(&mut slave, &frames[1..]);
    assert!(same(&master, &slave));
    assert!(
        matches!(slave.reader().frames(Lsn(8), 1), Err(ReadError::Damaged { .. })),
        "no frame starts there"
    );
}

/// Opens the log and cuts it off at `end`, perhaps without power to the end.
fn cut(disk: &SimulatedDisk, end: Lsn) -> Option<SimulatedLog> {
    let mut recovery = open(disk.clone(), Path::new(DIR), options()).ok()?;
    recovery.cut(end).unwrap();
    replay(&mut recovery).ok()?;
    recovery.finish().ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The slave went on alone, comes back, and loses power again and again while it cuts off what nobody else has.
    #[test]
    fn a_replica_that_parted_cuts_off_and_follows(shared in 1_usize..60, own in 1_usize..80, newer in 0_usize..60, cuts in proptest::collection::vec(1_u64..120, 0..4), seed: u64) {
        let (_, mut master) = fresh(seed);
        let (disk, mut slave) = fresh(seed ^ 1);
        let mut written = fill(&mut master, shared);
        catch_up(&master, &mut slave, 1 << 20);
        let parted = master.end();
        fill(&mut slave, own);
        drop(slave);
        for number in 0..newer {
            let record = vec![!(number as u8); 1 + number * 104_729 % 50_000];
            let mut frame = master.begin(Epoch(2), LogTime(9), record.len()).unwrap();
            written.push((frame.push(&record), record));
            master.append(frame, parted).unwrap();
        }
        for writes in cuts {
            disk.stop_after(writes);
            drop(cut(&disk, parted));
            disk.cut_power();
            // Without the cut it is a whole log, as far as it goes.
            let (longer, records) = reopen_simulated(&disk).unwrap();
            prop_assert!(longer.end() >= parted);
            prop_assert_eq!(&records[..shared], &written[..shared]);
        }
        let mut slave = cut(&disk, parted).unwrap();
        prop_assert_eq!(slave.end(), parted);
        catch_up(&master, &mut slave, 1 << 20);
        prop_assert!(same(&master, &slave));
        drop(slave);
        disk.cut_power();
        let (_, recovered) = reopen_simulated(&disk).unwrap();
        prop_assert_eq!(recovered, written);
    }
}
