//! What lies in a data directory: segments, checkpoints, leftovers. Lists and checks; changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rq_core::ids::Lsn;

use super::{
    Checkpoint, Damaged, Disk, DiskError, Identity, Kept, Layout, OpenError, OpenMode, Superblock, checkpoint,
};
use crate::disk::DiskFile as _;
use crate::layout::{UNFINISHED, checkpoint_lsn, segment_base};
use crate::shared::Segment;

/// The files of a log.
pub(super) struct Contents<D: Disk> {
    pub(super) segments: BTreeMap<u64, Arc<Segment<D>>>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) kept: Kept,
    pub(super) leftovers: Vec<PathBuf>,
    pub(super) suspects: Vec<PathBuf>,
}

impl<D: Disk> Contents<D> {
    pub(super) fn list(
        disk: &D,
        layout: &Layout,
        identity: &Identity,
        superblock: &Superblock,
    ) -> Result<Self, OpenError> {
        let mut contents = Self {
            segments: BTreeMap::new(),
            checkpoint: None,
            kept: Kept::default(),
            leftovers: Vec::new(),
            suspects: Vec::new(),
        };
        contents.list_segments(disk, layout, identity, superblock)?;
        contents.list_checkpoints(disk, layout, identity)?;
        if contents.checkpoint.is_none() && superblock.log_start > Lsn(0) {
            let reason = "no whole checkpoint, and the log before it was dropped".to_owned();
            return Err(
                Damaged { file: layout.checkpoints.clone(), position: superblock.log_start, reason }.into()
            );
        }
        Ok(contents)
    }

    fn list_segments(
        &mut self,
        disk: &D,
        layout: &Layout,
        identity: &Identity,
        superblock: &Superblock,
    ) -> Result<(), OpenError> {
        let segment_bytes = identity.segment_bytes;
        for name in disk.list(&layout.log).map_err(DiskError::at("list", &layout.log))? {
            let path = layout.log.join(&name);
            match segment_base(&name) {
                Some(base) if !base.is_multiple_of(segment_bytes) => self.suspects.push(path),
                Some(base) if base + segment_bytes <= superblock.log_start.0 => self.leftovers.push(path),
                Some(base) => {
                    let file = disk.open(&path, OpenMode::Write).map_err(DiskError::at("open", &path))?;
                    let length = file.length().map_err(DiskError::at("examine", &path))?;
                    if length != segment_bytes {
                        let reason = format!("the file has {length} bytes instead of {segment_bytes}");
                        return Err(Damaged { file: path, position: Lsn(base), reason }.into());
                    }
                    self.segments.insert(base, Arc::new(Segment::new(base, path, file)));
                }
                None if is_unfinished(&name, segment_base) => self.leftovers.push(path),
                None => {}
            }
        }
        let first = superblock.log_start.0;
        let sealed = superblock.sealed_end.0 - superblock.sealed_end.0 % segment_bytes;
        let last = self.segments.last_key_value().map_or(sealed, |(last, _)| sealed.max(*last));
        let expected = (first..=last).step_by(segment_bytes as usize);
        // Of several the last one: what follows it tells what lay there, so that it can be repaired.
        match expected.filter(|base| !self.segments.contains_key(base)).last() {
            None => Ok(()),
            Some(base) => {
                let reason = "the segment is missing".to_owned();
                Err(Damaged { file: layout.segment(base), position: Lsn(base), reason }.into())
            }
        }
    }

    fn list_checkpoints(&mut self, disk: &D, layout: &Layout, identity: &Identity) -> Result<(), OpenError> {
        let dir = &layout.checkpoints;
        let names = disk.list(dir).map_err(DiskError::at("list", dir))?;
        self.leftovers.extend(
            names.iter().filter(|name| is_unfinished(name, checkpoint_lsn)).map(|name| dir.join(name)),
        );
        for lsn in names.iter().rev().filter_map(|name| checkpoint_lsn(name)) {
            if self.checkpoint.is_none() {
                match checkpoint::load(disk, layout, identity.shard_tag(), lsn) {
                    Ok(checkpoint) => {
                        self.checkpoint = Some(checkpoint);
                        self.kept.newest = Some(lsn);
                    }
                    Err(checkpoint::CheckpointFault::Disk(error)) => return Err(error.into()),
                    Err(checkpoint::CheckpointFault::Newer { path, found }) => {
                        let supported = checkpoint::VERSION;
                        return Err(OpenError::NewerFormat { file: path, found, supported });
                    }
                    Err(fault) => {
                        tracing::warn!(%fault, "checkpoint is not used, an older one or the whole log is");
                        self.suspects.push(layout.checkpoint(lsn));
                    }
                }
            } else if self.kept.older.is_none() {
                self.kept.older = Some(lsn);
            } else {
                self.leftovers.push(layout.checkpoint(lsn));
            }
        }
        Ok(())
    }
}

fn is_unfinished<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> bool {
    name.strip_suffix(UNFINISHED).and_then(parse).is_some()
}
