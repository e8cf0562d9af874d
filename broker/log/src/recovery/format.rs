//! Making an empty log: in a fresh data directory, where IDENTITY comes last, so that with it everything else is there
//! and durable; and in place of one that is given up, which its superblock says until the empty one is durable.

use std::path::Path;

use rq_core::ids::{Lsn, StoreId};

use super::{
    Disk, DiskError, Identity, Layout, OpenError, OpenMode, Options, Segment, Superblock, SuperblockFile,
    superblock_failed,
};
use crate::disk::{DiskFile as _, read_exact_at};
use crate::frame::HEADER_LEN;
use crate::identity::FORMAT_VERSION;
use crate::layout::{UNFINISHED, checkpoint_lsn, segment_base, unfinished};
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
        store_id: StoreId(disk.random_id()),
        segment_bytes: options.segment_bytes,
    };
    let zeroed = first_segment(disk, layout, options.segment_bytes, 0)?.1;
    SuperblockFile::open(disk, layout, Superblock::default())?.initialise()?;
    // The directory itself may be new as well.
    let parent = layout.dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    for dir in [Some(layout.log.as_path()), Some(layout.dir.as_path()), parent].into_iter().flatten() {
        disk.sync_dir(dir).map_err(DiskError::at("flush", dir))?;
    }
    identity.write(disk, layout)?;
    Ok((identity, zeroed))
}

/// Makes the segment in which an empty log starts, and tells how far it was written with zeroes.
fn first_segment<D: Disk>(
    disk: &D,
    layout: &Layout,
    segment_bytes: u64,
    base: u64,
) -> Result<(Segment<D>, u64), DiskError> {
    let zeroed = if disk.has_background() { FIRST_ZEROES.min(segment_bytes) } else { segment_bytes };
    let path = layout.segment(base);
    let tmp = unfinished(&path);
    let file = disk.open(&tmp, OpenMode::Create).map_err(DiskError::at("create", &tmp))?;
    file.allocate(segment_bytes).map_err(DiskError::at("reserve room for", &tmp))?;
    write_zeroes(&file, 0, zeroed, |_| true).map_err(DiskError::at("prepare", &tmp))?;
    disk.rename(&tmp, &path).map_err(DiskError::at("rename", &tmp))?;
    Ok((Segment::new(base, path, file), zeroed))
}

/// Makes an empty log that starts at `base`, with no checkpoint, of whatever is there. The superblock must say already
/// that this is being done: no file of the old log is worth anything without the others.
pub(super) fn replace<D: Disk>(
    disk: &D,
    layout: &Layout,
    segment_bytes: u64,
    base: u64,
) -> Result<(Segment<D>, u64), DiskError> {
    let remove = |dir: &Path, is_ours: fn(&str) -> bool| {
        for name in disk.list(dir).map_err(DiskError::at("list", dir))? {
            let path = dir.join(&name);
            if is_ours(name.strip_suffix(UNFINISHED).unwrap_or(&name)) {
                disk.remove(&path).map_err(DiskError::at("remove", &path))?;
            }
        }
        disk.sync_dir(dir).map_err(DiskError::at("flush", dir))
    };
    remove(&layout.checkpoints, |name| checkpoint_lsn(name).is_some())?;
    remove(&layout.log, |name| segment_base(name).is_some())?;
    let first = first_segment(disk, layout, segment_bytes, base)?;
    disk.sync_dir(&layout.log).map_err(DiskError::at("flush", &layout.log))?;
    Ok(first)
}

/// Empties a directory whose copy was never completed. Its identity and its promise stay. Gives its superblock, and how
/// far segment 0 was written with zeroes.
pub(super) fn empty<D: Disk>(
    disk: &D,
    layout: &Layout,
    identity: &Identity,
    superblock: Superblock,
) -> Result<(Superblock, u64), OpenError> {
    tracing::warn!(dir = %layout.dir.display(), "the log was being copied from the master and is not complete: it is emptied");
    let (_, zeroed) = replace(disk, layout, identity.segment_bytes, 0)?;
    let mut file = SuperblockFile::open(disk, layout, superblock)?;
    let Superblock { sequence, promised_epoch, incarnation, .. } = superblock;
    let emptied = Superblock { sequence, promised_epoch, incarnation, ..Superblock::default() };
    file.update(|superblock| *superblock = emptied).map_err(|error| superblock_failed(layout, error))?;
    Ok((*file.current(), zeroed))
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
