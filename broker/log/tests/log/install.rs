//! A replica that begins anew with a checkpoint of another one: it ends up with the same log, and whatever stops it on the
//! way leaves a directory that opens and can begin anew again.

use std::convert::Infallible;
use std::path::Path;

use rq_core::ids::{Epoch, Lsn, StoreId};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{
    Checkpoint, Inspection, InstallError, Log, Options, Snapshot, SnapshotError, SnapshotHead, open,
};

use crate::{DIR, Records, SEGMENT, append, options, replay};

type SimulatedLog = Log<SimulatedDisk>;

/// A replica's disk after a recovery.
struct Opened {
    log: SimulatedLog,
    checkpoint: Option<Checkpoint>,
    replayed: Records,
}

fn opened(disk: &SimulatedDisk) -> Opened {
    let mut recovery = open(disk.clone(), Path::new(DIR), options()).unwrap();
    let checkpoint = recovery.checkpoint().unwrap();
    let replayed = replay(&mut recovery).unwrap();
    Opened { log: recovery.finish().unwrap(), checkpoint, replayed }
}

/// A log that starts with its third segment, has its newest checkpoint in the fifth, and ends in the seventh. And its
/// records from the checkpoint on.
fn master() -> (SimulatedLog, Records) {
    let mut log = opened(&SimulatedDisk::new(1)).log;
    let mut records = Records::new();
    let mut fill = |log: &mut SimulatedLog, to: u64| {
        while log.end().0 < to {
            let record = vec![log.end().0 as u8; 1 + log.end().0 as usize * 7919 % 240_000];
            records.push((append(log, &record).unwrap(), record));
        }
        log.sync().unwrap()
    };
    for position in [SEGMENT * 5 / 2, SEGMENT * 9 / 2] {
        let end = fill(&mut log, position);
        log.checkpoints().write(end, |file| write!(file, "all below {end}")).unwrap();
    }
    fill(&mut log, SEGMENT * 13 / 2);
    assert_eq!(log.drop_below(log.end()).unwrap(), Lsn(SEGMENT * 2));
    let checkpoint = log.checkpoints().newest();
    records.retain(|(lsn, _)| *lsn >= checkpoint);
    (log, records)
}

/// What travels: read in small pieces.
fn sent(master: &SimulatedLog) -> (SnapshotHead, Vec<u8>) {
    let file = master.reader().snapshot().unwrap().unwrap();
    let mut bytes = Vec::new();
    loop {
        let piece = file.read(bytes.len() as u64, 7).unwrap();
        if piece.is_empty() {
            return (file.head(), bytes);
        }
        bytes.extend_from_slice(&piece);
    }
}

fn snapshot(master: &SimulatedLog) -> Snapshot {
    let (head, bytes) = sent(master);
    Snapshot::new("test", options().shard, head, bytes).unwrap()
}

/// Begins anew and copies everything, unless the disk stops on the way.
fn begin_anew(disk: &SimulatedDisk, master: &SimulatedLog) -> Option<SimulatedLog> {
    let recovery = open(disk.clone(), Path::new(DIR), options()).ok()?;
    let mut log = recovery.install(&snapshot(master)).ok()?;
    while log.end() < master.end() {
        for frame in master.reader().frames(log.end(), 300_000).unwrap() {
            log.copy(&frame.bytes, |_| Ok::<_, Infallible>(())).ok()?;
        }
        log.sync().ok()?;
    }
    Some(log)
}

/// All bytes of both logs.
fn same(one: &SimulatedLog, two: &SimulatedLog) -> bool {
    let all = |log: &SimulatedLog| {
        let frames = log.reader().frames(log.start(), usize::MAX).unwrap();
        frames.into_iter().map(|frame| frame.bytes).collect::<Vec<_>>().concat()
    };
    (one.start(), all(one)) == (two.start(), all(two))
}

/// A replica with a log of its own, which is of no use to the master's. Gives its store.
fn slave(disk: &SimulatedDisk) -> StoreId {
    let mut log = opened(disk).log;
    for number in 0..80 {
        append(&mut log, &vec![number; 30_000]).unwrap();
    }
    let end = log.sync().unwrap();
    log.checkpoints().write(end, |file| file.write_all(b"its own")).unwrap();
    log.promise(Epoch(9)).unwrap();
    log.identity().store_id
}

/// That it has all that the master has, and keeps it.
fn is_a_copy(disk: &SimulatedDisk, (master, records): &(SimulatedLog, Records)) -> bool {
    let Opened { log, checkpoint, replayed } = opened(disk);
    let checkpoint = checkpoint.unwrap();
    let state = format!("all below {}", master.checkpoints().newest());
    same(&log, master) && checkpoint.state == state && replayed == *records
}

#[test]
fn a_replica_that_begins_anew_has_the_masters_log_from_its_start_and_the_checkpoint() {
    let (master, records) = master();
    let disk = SimulatedDisk::new(2);
    let store = slave(&disk);
    let log = begin_anew(&disk, &master).unwrap();
    assert!(same(&log, &master));
    assert_eq!((log.identity().store_id, log.promised_epoch()), (store, Epoch(9)));
    drop(log);
    disk.cut_power();
    assert!(is_a_copy(&disk, &(master, records)));
}

#[test]
fn what_stops_a_copy_on_its_way_leaves_a_directory_that_can_begin_anew() {
    let master = master();
    let checkpoint = master.0.checkpoints().newest();
    let (mut as_before, mut emptied, mut whole) = (0, 0, 0);
    for stop_at in 0.. {
        if whole == 6 {
            break;
        }
        let disk = SimulatedDisk::new(stop_at);
        let store = slave(&disk);
        disk.stop_after(stop_at);
        let copied = begin_anew(&disk, &master.0).is_some();
        if stop_at % 3 == 0 {
            disk.kill();
        } else {
            disk.cut_power();
        }
        let Opened { log, checkpoint: found, replayed } = opened(&disk);
        assert_eq!((log.identity().store_id, log.promised_epoch()), (store, Epoch(9)), "{stop_at}");
        match found {
            Some(found) if found.state == b"its own"[..] => {
                assert!(replayed.is_empty() && log.end() == found.lsn, "its own, whole: {stop_at}");
                as_before += 1;
            }
            Some(found) => {
                assert!(
                    found.lsn == checkpoint && log.end() >= checkpoint,
                    "no longer a beginning: {stop_at}"
                );
                assert!(log.start() == master.0.start() && master.1.starts_with(&replayed), "{stop_at}");
                whole += 1;
            }
            None => {
                assert!(log.start() == Lsn(0) && log.end() == Lsn(0) && replayed.is_empty(), "{stop_at}");
                emptied += 1;
            }
        }
        assert!(!copied || whole > 0, "nothing stopped it, and it is not whole");
        drop(log);
        let log = begin_anew(&disk, &master.0).unwrap();
        assert!(same(&log, &master.0), "{stop_at}");
        drop(log);
        disk.cut_power();
        assert!(is_a_copy(&disk, &master), "{stop_at}");
    }
    assert!(as_before > 1 && emptied > 20, "{as_before} {emptied} {whole}");
}

#[test]
fn a_copy_is_emptied_until_it_has_reached_its_checkpoint_even_after_a_clean_stop() {
    let (master, _) = master();
    let disk = SimulatedDisk::new(2);
    slave(&disk);
    let mut log = open(disk.clone(), Path::new(DIR), options()).unwrap().install(&snapshot(&master)).unwrap();
    let frame = &master.reader().frames(log.end(), 1).unwrap()[0];
    log.copy(&frame.bytes, |_| Ok::<_, Infallible>(())).unwrap();
    log.close().unwrap();
    let inspection = Inspection::of(disk.clone(), Path::new(DIR)).unwrap();
    assert_eq!(inspection.superblock.installing, Some(master.checkpoints().newest()));
    let report = inspection.examine(&inspection.segments[0]).unwrap();
    assert!(report.damage.is_none() && report.end == frame.end, "{report:?}");
    let Opened { log, checkpoint, .. } = opened(&disk);
    assert!(log.end() == Lsn(0) && checkpoint.is_none());
    assert!(log.reader().snapshot().unwrap().is_none(), "nothing to hand on");
}

#[test]
fn what_is_not_the_checkpoint_that_was_sent_is_refused() {
    let (head, bytes) = sent(&master().0);
    let received =
        |cluster: &str, head, bytes: &[u8]| Snapshot::new(cluster, options().shard, head, bytes.to_vec());
    assert!(received("test", head, &bytes).is_ok());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(received("test", head, &damaged).is_err(), "byte {at}");
    }
    assert!(received("test", head, &bytes[..bytes.len() - 1]).is_err());
    assert!(matches!(received("other", head, &bytes), Err(SnapshotError::Damaged(_))));
    let gap = SnapshotHead { start: head.checkpoint.plus(8), ..head };
    assert!(matches!(received("test", gap, &bytes), Err(SnapshotError::Gap { .. })));
}

#[test]
fn a_copy_for_other_segments_is_refused_and_changes_nothing() {
    let (master, _) = master();
    let disk = SimulatedDisk::new(2);
    let larger = Options { segment_bytes: 4 * SEGMENT, ..options() };
    drop(open(disk.clone(), Path::new(DIR), larger.clone()).unwrap().finish().unwrap());
    let files = disk.files();
    let refused = open(disk.clone(), Path::new(DIR), larger).unwrap().install(&snapshot(&master));
    assert!(matches!(refused.map(drop), Err(InstallError::OtherSegments { .. })));
    assert_eq!(disk.files(), files);
}
