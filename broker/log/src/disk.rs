//! The seam below the log: files, directories, flushes. [`StdDisk`] is the machine's, the simulated twin (feature
//! `simulation`) loses, tears and reorders what was not flushed.
//!
//! Only what these traits offer may touch the data directory.

use std::io;
use std::path::Path;

use bytes::Bytes;

mod map;
mod real;
#[cfg(feature = "simulation")]
pub mod simulated;

pub use real::StdDisk;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; made empty, whether it existed or not.
    Create,
}

/// Room in a file system, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskSpace {
    /// What may still be written.
    pub available: u64,
    /// Its size.
    pub total: u64,
}

/// What kind of file system a directory lies on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSystem {
    /// Its name, for people.
    pub name: String,
    /// Whether a returned flush on it is known to survive the loss of power.
    pub keeps_promises: bool,
}

/// A disk. Cheap to clone; all clones are the same disk.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile + 'static;
    /// An exclusive lock, given back on drop and at the end of the process.
    type Lock: Send + Sync + 'static;

    /// Whether the log may prepare segments in a thread of its own. A simulated disk says no, so that its seed alone
    /// decides the order of everything.
    fn has_background(&self) -> bool {
        true
    }
    /// A number to name a store with that is formatted here, as no other is named. A simulated disk makes it from its seed.
    fn random_id(&self) -> u128 {
        rand::random()
    }
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File>;
    /// Names of all entries of a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes a directory with its parents; it may exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what had it. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Room in the directory's file system.
    fn space(&self, dir: &Path) -> io::Result<DiskSpace>;
    /// The directory's file system.
    fn file_system(&self, dir: &Path) -> io::Result<FileSystem>;
    /// Takes the lock file at `path`; `None` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
    /// A read-only view of a file that never changes again; `None` where the disk has no such thing.
    fn map(&self, file: &Self::File) -> io::Result<Option<Bytes>>;
}

/// An open file, shared between threads. Positions are absolute.
pub trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Reserves room up to `length` and makes the file that long; new bytes read as zero.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Makes everything written durable (fdatasync). After an error what was written since the last success is
    /// lost although reads may still show it, and another call may succeed: never retry.
    fn sync(&self) -> io::Result<()>;
    /// Lets go of what the system keeps of it in memory, so that it is read from the disk next; as far as that goes.
    fn forget_cached(&self) {}
}

impl<F: DiskFile> DiskFile for &F {
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        (**self).read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        (**self).write_at(bytes, position)
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        (**self).allocate(length)
    }
    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
    fn forget_cached(&self) {
        (**self).forget_cached();
    }
}

/// Reads `buffer.len()` bytes, no fewer.
pub(crate) fn read_exact_at<F: DiskFile>(file: &F, buffer: &mut [u8], position: u64) -> io::Result<()> {
    if file.read_at(buffer, position)? == buffer.len() {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}
