//! Takes the power from an ext4 file system: `EXT4_IOC_SHUTDOWN` without a flush of the journal. What was not synced
//! is gone after the next mount, and every call until then fails. The one place with an ioctl, and so with `unsafe`.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::ioctl::{Opcode, Setter, ioctl};

/// `EXT4_IOC_SHUTDOWN` (`_IOR('X', 125, u32)`).
const EXT4_IOC_SHUTDOWN: Opcode = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: stop at once, flush neither data nor journal.
const NO_LOG_FLUSH: u32 = 2;

/// Cuts the power of the ext4 file system mounted at `mount_point`. Needs root.
pub fn cut(mount_point: &Path) -> Result<()> {
    let directory = File::open(mount_point).with_context(|| format!("open {}", mount_point.display()))?;
    // Safety: EXT4_IOC_SHUTDOWN reads one u32 through the pointer that `Setter` passes and writes nothing; on any
    // other file system the number is unknown and the call fails.
    #[allow(unsafe_code, reason = "an ioctl without a safe wrapper; argument type and number are ext4's")]
    unsafe { ioctl(&directory, Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }
        .with_context(|| format!("EXT4_IOC_SHUTDOWN on {}", mount_point.display()))
}
