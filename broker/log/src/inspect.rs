//! Looking into a data directory without opening it: for people who want to know what is in it, or what is wrong with it.
//!
//! Reads only and takes no lock, so it also works beside a running broker; then the end of the log is where it was at
//! some moment.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rq_core::ids::{Epoch, LogTime, Lsn};
use thiserror::Error;

use crate::checkpoint;
use crate::disk::{Disk, DiskFile as _, OpenMode, StdDisk};
use crate::error::{Damaged, DiskError, OpenError};
use crate::frame::{Fault, FrameRef};
use crate::identity::Identity;
use crate::layout::{Layout, checkpoint_lsn, segment_base};
use crate::scan::{Scan, ScanFrom, Step};
use crate::superblock::Superblock;

/// Why a directory cannot be looked into.
#[derive(Debug, Error)]
pub enum InspectError {
    /// It was never formatted, or its IDENTITY file is gone.
    #[error("{} is not a data directory: it has no IDENTITY file", .0.display())]
    NotADataDirectory(PathBuf),
    /// Its identity or superblock cannot be understood.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A data directory, looked into. Segments and frames are read when they are asked for.
pub struct Inspection<D: Disk = StdDisk> {
    /// Whose it is.
    pub identity: Identity,
    /// What changes about it.
    pub superblock: Superblock,
    /// Its checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointFile>,
    /// Its segments, in order.
    pub segments: Vec<SegmentFile>,
    disk: D,
}

/// A checkpoint file.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    /// The first position that is not in it.
    pub lsn: Lsn,
    /// The file.
    pub path: PathBuf,
    /// Bytes of its state; 0 if it cannot be read.
    pub state_bytes: u64,
    /// Its version, if that is a later one than this release reads. Then nothing is wrong with it.
    pub newer_format: Option<u32>,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// A segment file.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Its first position.
    pub base: Lsn,
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
}

/// What a segment is to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentState {
    /// Full to its end.
    Full,
    /// The log ends in it.
    Active,
    /// Not written yet.
    Prepared,
    /// Not readable to its end.
    Damaged,
}

/// Who wrote a frame, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameMark {
    /// The mastership.
    pub epoch: Epoch,
    /// The log time.
    pub log_time: LogTime,
}

/// Where frames of another epoch begin than those before them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochMark {
    /// The epoch.
    pub epoch: Epoch,
    /// Its first frame in this segment.
    pub start: Lsn,
    /// The log time of that.
    pub log_time: LogTime,
}

/// What is in a segment.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// The file.
    pub file: SegmentFile,
    /// What it is to the log.
    pub state: SegmentState,
    /// Frames with records.
    pub frames: u64,
    /// Records.
    pub records: u64,
    /// Where its frames end.
    pub end: Lsn,
    /// Its first frame.
    pub first: Option<FrameMark>,
    /// Its last frame.
    pub last: Option<FrameMark>,
    /// The epochs of its frames, in order.
    pub epochs: Vec<EpochMark>,
    /// What is at its end if that is neither full nor blank. Above [`SegmentReport::known_durable`] it is a torn write,
    /// which the next start cuts off; below, the broker refuses to start.
    pub damage: Option<Damaged>,
    /// Everything below is known to have been durable.
    pub known_durable: Lsn,
}

/// Looks into the data directory `dir`.
pub fn inspect(dir: &Path) -> Result<Inspection, InspectError> {
    Inspection::of(StdDisk, dir)
}

impl<D: Disk> Inspection<D> {
    /// Looks into a data directory on `disk`.
    pub fn of(disk: D, dir: &Path) -> Result<Self, InspectError> {
        let layout = Layout::new(dir);
        let identity =
            Identity::read(&disk, &layout)?.ok_or_else(|| InspectError::NotADataDirectory(dir.to_owned()))?;
        let superblock = Superblock::read(&disk, &layout)?;
        let checkpoints = list_checkpoints(&disk, &layout, identity.shard_tag())?;
        let segments = list_segments(&disk, &layout)?;
        Ok(Self { identity, superblock, checkpoints, segments, disk })
    }

    /// Reads a segment through, up to its first damage.
    pub fn examine(&self, file: &SegmentFile) -> Result<SegmentReport, InspectError> {
        let mut report = SegmentReport {
            file: file.clone(),
            state: SegmentState::Prepared,
            frames: 0,
            records: 0,
            end: file.base,
            first: None,
            last: None,
            epochs: Vec::new(),
            damage: None,
            known_durable: self.superblock.known_durable(),
        };
        let handle = self.disk.open(&file.path, OpenMode::Read).map_err(DiskError::at("open", &file.path))?;
        let from = ScanFrom { base: file.base.0, position: file.base, chain: None, epoch: Epoch(0) };
        let mut scan = Scan::new(handle, from, self.identity.segment_bytes, self.identity.shard_tag());
        let fault = loop {
            match scan.step() {
                Ok(Step::Frame(frame)) => report.count(&frame),
                Ok(Step::Full) => {
                    report.state = SegmentState::Full;
                    break None;
                }
                Ok(Step::Invalid(fault)) => break Some(fault.to_string()).filter(|_| fault != Fault::Blank),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    break Some(format!("the file has only {} bytes", file.length));
                }
                Err(error) => return Err(DiskError::at("read", &file.path)(error).into()),
            }
        };
        report.end = scan.position();
        let cut_short = file.length != self.identity.segment_bytes;
        let missing =
            report.state != SegmentState::Full && report.end < report.known_durable.min(self.end_of(file));
        let reason = match fault {
            Some(reason) => Some(reason),
            None if missing => {
                Some(format!("no frame, but the log was durable up to {}", report.known_durable))
            }
            None => cut_short.then(|| format!("the file has {} bytes", file.length)),
        };
        report.damage =
            reason.map(|reason| Damaged { file: file.path.clone(), position: report.end, reason });
        if report
            .damage
            .as_ref()
            .is_some_and(|damage| missing || damage.position < report.known_durable || cut_short)
        {
            report.state = SegmentState::Damaged;
        } else if report.state != SegmentState::Full && report.end > file.base {
            report.state = SegmentState::Active;
        }
        Ok(report)
    }

    /// The frames from `from` on, which must be the position of a frame or the base of a segment. Ends at the end of the
    /// log, or with the first damage.
    pub fn frames(&self, from: Lsn) -> Frames<'_, D> {
        let base = from.0 - from.0 % self.identity.segment_bytes;
        let next = ScanFrom { base, position: from, chain: None, epoch: Epoch(0) };
        Frames { inspection: self, next, scan: None, done: false }
    }

    fn end_of(&self, file: &SegmentFile) -> Lsn {
        file.base.plus(self.identity.segment_bytes)
    }
}

impl SegmentReport {
    fn count(&mut self, frame: &FrameRef<'_>) {
        self.known_durable = self.known_durable.max(frame.commit_lsn);
        if frame.record_count > 0 {
            self.frames += 1;
            self.records += u64::from(frame.record_count);
            let mark = FrameMark { epoch: frame.epoch, log_time: frame.log_time };
            self.first.get_or_insert(mark);
            self.last = Some(mark);
            if self.epochs.last().is_none_or(|last| last.epoch != frame.epoch) {
                let FrameRef { epoch, lsn: start, log_time, .. } = *frame;
                self.epochs.push(EpochMark { epoch, start, log_time });
            }
        }
    }
}

fn list_checkpoints<D: Disk>(
    disk: &D,
    layout: &Layout,
    shard_tag: u32,
) -> Result<Vec<CheckpointFile>, DiskError> {
    let names = disk.list(&layout.checkpoints).map_err(DiskError::at("list", &layout.checkpoints))?;
    let describe = |lsn| {
        let loaded = checkpoint::load(disk, layout, shard_tag, lsn);
        CheckpointFile {
            lsn,
            path: layout.checkpoint(lsn),
            state_bytes: loaded.as_ref().map_or(0, |checkpoint| checkpoint.state.len() as u64),
            newer_format: match loaded {
                Err(checkpoint::CheckpointFault::Newer { found, .. }) => Some(found),
                _ => None,
            },
            damage: match loaded {
                Ok(_) | Err(checkpoint::CheckpointFault::Newer { .. }) => None,
                Err(fault) => Some(fault.to_string()),
            },
        }
    };
    Ok(names.iter().filter_map(|name| checkpoint_lsn(name)).map(describe).collect())
}

fn list_segments<D: Disk>(disk: &D, layout: &Layout) -> Result<Vec<SegmentFile>, DiskError> {
    let mut segments = Vec::new();
    for name in disk.list(&layout.log).map_err(DiskError::at("list", &layout.log))? {
        let Some(base) = segment_base(&name) else { continue };
        let path = layout.log.join(name);
        let file = disk.open(&path, OpenMode::Read).map_err(DiskError::at("open", &path))?;
        let length = file.length().map_err(DiskError::at("examine", &path))?;
        segments.push(SegmentFile { base: Lsn(base), path, length });
    }
    Ok(segments)
}

/// A verified frame with its own copy of its bytes.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    head: FrameRef<'static>,
    payload: Bytes,
}

impl OwnedFrame {
    /// The frame.
    pub fn frame(&self) -> FrameRef<'_> {
        self.head.with_payload(&self.payload)
    }
}

/// Walks the frames of a log; see [`Inspection::frames`].
pub struct Frames<'i, D: Disk> {
    inspection: &'i Inspection<D>,
    next: ScanFrom,
    scan: Option<Scan<D::File>>,
    done: bool,
}

impl<D: Disk> Frames<'_, D> {
    fn advance(&mut self) -> Result<Option<OwnedFrame>, InspectError> {
        let Inspection { disk, identity, segments, .. } = self.inspection;
        loop {
            let Some(segment) = segments.iter().find(|segment| segment.base.0 == self.next.base) else {
                return Ok(None);
            };
            let scan = if let Some(scan) = &mut self.scan {
                scan
            } else {
                let file =
                    disk.open(&segment.path, OpenMode::Read).map_err(DiskError::at("open", &segment.path))?;
                self.scan.insert(Scan::new(file, self.next, identity.segment_bytes, identity.shard_tag()))
            };
            match scan.step().map_err(DiskError::at("read", &segment.path))? {
                Step::Frame(frame) if frame.record_count == 0 => {}
                Step::Frame(frame) => {
                    let (head, payload) = frame.into_parts();
                    return Ok(Some(OwnedFrame { head, payload: Bytes::copy_from_slice(payload) }));
                }
                Step::Invalid(Fault::Blank) => return Ok(None),
                Step::Invalid(fault) => {
                    let (file, position) = (segment.path.clone(), scan.position());
                    return Err(OpenError::from(Damaged { file, position, reason: fault.to_string() }).into());
                }
                Step::Full => {
                    let position = scan.position();
                    self.next =
                        ScanFrom { base: position.0, position, chain: scan.chain(), epoch: scan.epoch() };
                    self.scan = None;
                }
            }
        }
    }
}

impl<D: Disk> Iterator for Frames<'_, D> {
    type Item = Result<OwnedFrame, InspectError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
