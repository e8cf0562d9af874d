//! The log from outside: recovery, faults, damage, and random histories on a simulated disk; a few on the real one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this crate is a test, its helpers too")]

mod copy;
mod damage;
mod faults;
mod fixture;
mod histories;
mod install;
mod real_disk;
mod repair;

use std::convert::Infallible;
use std::path::Path;

use rq_core::ids::{Epoch, LogTime, Lsn, ShardId};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{Disk, Log, OpenError, Options, Recovery, ReplayError, WriteError, open};

/// Small segments, so that tests roll often.
const SEGMENT: u64 = 1 << 20;
/// Where simulated disks have their log.
const DIR: &str = "/data";

type Records = Vec<(Lsn, Vec<u8>)>;

fn options() -> Options {
    Options {
        cluster: "test".to_owned(),
        shard: ShardId(0),
        segment_bytes: SEGMENT,
        prepared_segments: 1,
        tail_cache_bytes: 256 << 10,
        allow_unsafe_filesystem: true,
    }
}

/// Everything a recovery replays.
fn replay<D: Disk>(recovery: &mut Recovery<D>) -> Result<Records, OpenError> {
    let mut records = Vec::new();
    let replayed = recovery.replay(|frame| {
        records.extend(frame.records().map(|(lsn, record)| (lsn, record.to_vec())));
        Ok::<_, Infallible>(())
    });
    match replayed {
        Ok(()) => Ok(records),
        Err(ReplayError::Open(error)) => Err(error),
        Err(ReplayError::Refused { source, .. }) => match source {},
    }
}

/// Opens a log and gives what it replayed.
fn reopen<D: Disk>(disk: &D, dir: &Path) -> Result<(Log<D>, Records), OpenError> {
    let mut recovery = open(disk.clone(), dir, options())?;
    let records = replay(&mut recovery)?;
    Ok((recovery.finish()?, records))
}

fn reopen_simulated(disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Records), OpenError> {
    reopen(disk, Path::new(DIR))
}

/// Appends one record in a frame of its own.
fn append<D: Disk>(log: &mut Log<D>, record: &[u8]) -> Result<Lsn, WriteError> {
    let mut frame = log.begin(Epoch(1), LogTime(7), record.len())?;
    let lsn = frame.push(record);
    log.append(frame, log.durable())?;
    Ok(lsn)
}
