//! The disk of the other tests, tested alone: a power cut keeps what was synced and nothing else. Without this, a
//! passed power-loss test would prove nothing.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use rq_tests::disk::LoopDisk;
use rq_tests::requirement::{Requirement, can_run};

#[test]
fn a_power_cut_keeps_what_was_synced_and_loses_what_was_not() -> Result<()> {
    if !can_run("power cut", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    let disk = LoopDisk::new(32)?;
    let (synced, unsynced) = (disk.path().join("synced"), disk.path().join("unsynced"));
    let mut file = File::create(&synced)?;
    file.write_all(b"first version")?;
    file.sync_all()?;
    File::open(disk.path())?.sync_all()?;
    file.write_all_at(b"lost!", 0)?;
    File::create(&unsynced)?.write_all(b"never synced")?;

    disk.cut_power()?;
    ensure!(file.write_all_at(b"x", 0).is_err(), "a disk without power took a write");
    ensure!(file.sync_data().is_err(), "a disk without power was synced");
    drop(file);
    disk.power_on()?;

    let kept = std::fs::read(&synced).context("read what was synced")?;
    ensure!(kept == b"first version", "the synced file reads {:?}", String::from_utf8_lossy(&kept));
    ensure!(!unsynced.exists(), "the unsynced file survived: the power cut is none");
    Ok(())
}

#[test]
fn a_full_disk_refuses_and_has_room_again_after_a_removal() -> Result<()> {
    if !can_run("full disk", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    let disk = LoopDisk::new(16)?;
    let ballast = disk.path().join("ballast");
    let mut file = File::create(&ballast)?;
    let block = vec![7; 1 << 20];
    let full = std::iter::repeat_with(|| file.write_all(&block)).take(64).find_map(Result::err);
    ensure!(
        full.is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull),
        "the disk never filled up"
    );
    drop(file);
    std::fs::remove_file(&ballast)?;
    File::create(disk.path().join("small"))?.write_all(&block).context("write after a removal")
}
