//! Read-only maps of files that never change again. The only `unsafe` of the crate; never map a file that the log
//! still writes or that may be cut short.
#![allow(unsafe_code, reason = "a memory map is unsafe by nature; the contract is kept by the one caller")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps the whole file. The caller promises that it is sealed: nothing writes or truncates it any more. (Unlinking
/// is fine.)
pub(super) fn sealed(file: &File) -> io::Result<Bytes> {
    // SAFETY: the file is sealed and the directory is locked against other brokers, so its bytes do not change.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}
