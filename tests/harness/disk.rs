//! A journalled ext4 file system of its own for one test: in an image file, loop-mounted, so that it can lose power,
//! fill up or turn read-only without touching the machine. It is unmounted and removed when dropped, also on a
//! panic; what a killed test left mounted is removed by the next one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::power;

/// Begins the name of each disk's directory; the id of the test process follows.
const PREFIX: &str = "rq-test-disk-";
/// How long an unmount may find the file system busy: a killed process is torn down in the background.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(20);

/// A mounted loop disk.
#[derive(Debug)]
pub struct LoopDisk {
    home: tempfile::TempDir,
}

impl LoopDisk {
    /// Makes and mounts a disk of `mebibytes`.
    pub fn new(mebibytes: u64) -> Result<Self> {
        remove_left_behind();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let home =
            tempfile::Builder::new().prefix(&prefix).tempdir().context("make a directory for the disk")?;
        let disk = Self { home };
        let image = std::fs::File::create(disk.image()).context("create the disk image")?;
        image.set_len(mebibytes << 20).context("size the disk image")?;
        std::fs::create_dir(disk.path()).context("create the mount point")?;
        // No reserved blocks: what statvfs calls free is free. Journalled as on any real volume.
        let options =
            ["-q", "-F", "-m", "0", "-O", "has_journal", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(options).arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("disk.img")
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(self.image()).arg(self.path()))
    }

    /// Cuts the power: what was not synced is lost, everything fails until [`LoopDisk::power_on`].
    pub fn cut_power(&self) -> Result<()> {
        power::cut(&self.path())
    }

    /// Mounts anew after a power cut, with the journal's recovery. Nothing may have files open there any more.
    pub fn power_on(&self) -> Result<()> {
        unmount(&self.path())?;
        self.mount()
    }

    /// Turns the mount read-only, or writable again. Fails while a file is open for writing.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        run(Command::new("mount").args(["-o", mode]).arg(self.path()))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path()) {
            eprintln!("{error:#}: detaching it instead");
            run(Command::new("umount").arg("--lazy").arg(self.path()))
                .unwrap_or_else(|error| eprintln!("{error:#}"));
        }
    }
}

/// An overlay over a loop disk, as the root of a container is one.
#[derive(Debug)]
pub struct Overlay {
    disk: LoopDisk,
}

impl Overlay {
    /// Makes and mounts an overlay.
    pub fn new() -> Result<Self> {
        let overlay = Self { disk: LoopDisk::new(128)? };
        let base = overlay.disk.path();
        for layer in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(base.join(layer)).context("create a layer")?;
        }
        let at = |layer: &str| base.join(layer).display().to_string();
        let layers = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        run(Command::new("mount").args(["-t", "overlay", "-o", &layers, "overlay"]).arg(overlay.path()))?;
        Ok(overlay)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.disk.path().join("merged")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // Before the disk below, whose own drop follows.
        if let Err(error) = unmount(&self.path()) {
            eprintln!("{error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Unmounting frees the loop device too: `mount -o loop` sets it to clear itself.
fn unmount(mount_point: &Path) -> Result<()> {
    let deadline = Instant::now() + UNMOUNT_DEADLINE;
    loop {
        match run(Command::new("umount").arg(mount_point)) {
            Err(error) if Instant::now() < deadline && is_mounted(mount_point) => {
                eprintln!("{error:#}: trying again");
                std::thread::sleep(Duration::from_millis(200));
            }
            outcome => return outcome,
        }
    }
}

fn is_mounted(mount_point: &Path) -> bool {
    mount_points().iter().any(|mounted| mounted == mount_point)
}

fn mount_points() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from).collect()
}

/// Unmounts and removes the disks of test processes that are gone: they were killed before they could.
fn remove_left_behind() {
    for mount_point in mount_points() {
        let Some(home) = mount_point.parent() else { continue };
        let name = home.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{owner}")).exists() {
            eprintln!("removing {}, left by a killed test", home.display());
            if run(Command::new("umount").arg("--lazy").arg(&mount_point)).is_ok() {
                drop(std::fs::remove_dir_all(home));
            }
        }
    }
}
