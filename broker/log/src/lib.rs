//! The commit log of a shard on disk: frames in segments, checkpoints, recovery.
//!
//! What [`Log::sync`] has confirmed survives the loss of power; what was never confirmed disappears from the end only.
//! The bytes are described in `docs/formats.md`. One thread writes; readers and checkpoint writers are handles for any
//! thread. Knows nothing of what the records mean.

mod cache;
mod check;
mod checkpoint;
mod copy;
pub mod disk;
pub mod error;
mod frame;
mod identity;
pub mod inspect;
mod layout;
mod log;
mod prepare;
mod reader;
mod recovery;
mod replace;
mod scan;
mod sealed;
mod shared;
mod since;
mod snapshot;
mod superblock;

pub use check::{CheckError, SegmentSum};
pub use checkpoint::{Checkpoint, Checkpoints};
pub use copy::CopyError;
pub use disk::{Disk, StdDisk};
pub use error::{Damaged, DiskError, InstallError, OpenError, ReadError, ReplayError, WriteError};
pub use frame::{FRAME_LIMIT, Fault, Frame, FrameBuilder, FrameRef, HEADER_LEN};
pub use identity::{FORMAT_VERSION, Identity};
pub use inspect::{Inspection, inspect};
pub use layout::landmarks;
pub use log::{Log, RECORD_LIMIT, Space, UNSYNCED_LIMIT};
pub use reader::LogReader;
pub use recovery::{MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Options, Recovery, open};
pub use replace::{ReplaceError, Replacement, damaged_segment, replace_in};
pub use sealed::Sealed;
pub use snapshot::{Snapshot, SnapshotError, SnapshotFile, SnapshotHead};
pub use superblock::Superblock;
