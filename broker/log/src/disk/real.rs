//! The machine's own disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::FallocateFlags;

use super::{Disk, DiskFile, DiskSpace, FileSystem, OpenMode, map};

/// Files as the operating system has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdDisk;

/// The magic numbers of `statfs` that we know, their names, and whether a returned flush survives power loss.
const FILE_SYSTEMS: [(u64, &str, bool); 21] = [
    (0xEF53, "ext4", true),
    (0x5846_5342, "xfs", true),
    (0x9123_683E, "btrfs", true),
    (0xF2F5_2010, "f2fs", true),
    (0x2FC1_2FC1, "zfs", true),
    (0xCA45_1A4E, "bcachefs", true),
    (0x794C_7630, "overlay", false),
    (0x0102_1994, "tmpfs", false),
    (0x8584_58F6, "ramfs", false),
    (0x6969, "nfs", false),
    (0x6573_5546, "fuse", false),
    (0x0102_1997, "9p", false),
    (0xFF53_4D42, "cifs", false),
    (0xFE53_4D42, "smb", false),
    (0x00C3_6400, "ceph", false),
    (0xF15F, "ecryptfs", false),
    (0x6161_7566, "aufs", false),
    (0x7371_7368, "squashfs", false),
    (0x4D44, "vfat", false),
    (0x786F_4256, "vboxsf", false),
    (0x0BD0_0BD0, "lustre", false),
];

impl Disk for StdDisk {
    type File = File;
    type Lock = File;

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read);
        options.create(mode == OpenMode::Create).truncate(mode == OpenMode::Create).open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(dir)?;
        let usable = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_add(stat.f_bavail);
        Ok(DiskSpace {
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            // What others have reserved, or no quota gives, could never be had: a disk would seem fuller than it is.
            total: usable.saturating_mul(stat.f_frsize),
        })
    }

    fn file_system(&self, dir: &Path) -> io::Result<FileSystem> {
        // The kernel's type of the field differs between processors; the numbers themselves are 32 bits wide.
        #[expect(clippy::cast_sign_loss, reason = "a bit pattern")]
        let magic = u64::from(rustix::fs::statfs(dir)?.f_type as u32);
        let known = FILE_SYSTEMS.iter().find(|(number, ..)| *number == magic);
        Ok(known.map_or_else(
            || FileSystem { name: format!("unknown file system {magic:#x}"), keeps_promises: false },
            |&(_, name, keeps_promises)| FileSystem { name: name.to_owned(), keeps_promises },
        ))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn map(&self, file: &File) -> io::Result<Option<Bytes>> {
        map::sealed(file).map(Some)
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], position + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, position)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, length) {
            // Not every file system reserves room; then a full disk shows when the zeroes are written.
            Err(rustix::io::Errno::OPNOTSUPP) => self.set_len(length),
            other => other.map_err(io::Error::from),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget_cached(&self) {
        // Advice: what is mapped or not written back stays.
        let _ = rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed);
    }
}
