//! Formatting an empty data directory. IDENTITY comes last: with it everything else is there and durable.

use rq_core::ids::{Lsn, StoreId};

use super::{Disk, DiskError, Identity, Layout, OpenError, OpenMode, Options, Superblock, SuperblockFile};
use crate::disk::{DiskFile as _, read_exact_at};
use crate::frame::HEADER_LEN;
use crate::identity::FORMAT_VERSION;
use crate::layout::{checkpoint_lsn, segment_base, unfinished};
use crate::prepare::write_zeroes;

/// Zeroes written before a fresh log may be used; the rest follows in the background.
const FIRST_ZEROES: u64 = 4 << 20;

/// Formats the directory. Gives its identity, and how far segment 0 was written with zeroes.
pub(super) fn format<D: Disk>(
    disk: &D,
    layout: &Layout,
    options: &Options,
) -> Result<(Identity, u64), OpenError> {
    if has_data(disk, layout)? {
        return Err(OpenError::IdentityMissing(layout.dir.clone()));
    }
    let identity = Identity {
        format_version: FORMAT_VERSION,
        cluster: options.cluster.clone(),
        shard: options.shard,
        store_id: StoreId(rand::random()),
        segment_bytes: options.segment_bytes,
    };
    let zeroed =
        if disk.has_background() { FIRST_ZEROES.min(options.segment_bytes) } else { options.segment_bytes };
    let path = layout.segment(0);
    let tmp = unfinished(&path);
    let file = disk.open(&tmp, OpenMode::Create).map_err(DiskError::at("create", &tmp))?;
    file.allocate(options.segment_bytes).map_err(DiskError::at("reserve room for", &tmp))?;
    write_zeroes(&file, 0, zeroed, |_| true).map_err(DiskError::at("prepare", &tmp))?;
    disk.rename(&tmp, &path).map_err(DiskError::at("rename", &tmp))?;
    SuperblockFile::open(disk, layout, Superblock::default())?.initialise()?;
    // The directory itself may be new as well.
    let parent = layout.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    for dir in [Some(layout.log.as_path()), Some(layout.dir.as_path()), parent].into_iter().flatten() {
        disk.sync_dir(dir).map_err(DiskError::at("flush", dir))?;
    }
    identity.write(disk, layout)?;
    Ok((identity, zeroed))
}

/// Whether there is anything that an interrupted formatting does not explain.
fn has_data<D: Disk>(disk: &D, layout: &Layout) -> Result<bool, OpenError> {
    let checkpoints = disk.list(&layout.checkpoints).map_err(DiskError::at("list", &layout.checkpoints))?;
    if checkpoints.iter().any(|name| checkpoint_lsn(name).is_some_and(|lsn| lsn > Lsn(0))) {
        return Ok(true);
    }
    for name in disk.list(&layout.log).map_err(DiskError::at("list", &layout.log))? {
        if segment_base(&name).is_none() {
            continue;
        }
        let path = layout.log.join(&name);
        let file = disk.open(&path, OpenMode::Read).map_err(DiskError::at("open", &path))?;
        let mut start = [0; HEADER_LEN];
        match read_exact_at(&file, &mut start, 0) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(DiskError::at("read", &path)(error).into()),
            Ok(()) if start.iter().all(|byte| *byte == 0) => {}
            Ok(()) => return Ok(true),
        }
    }
    Ok(false)
}
