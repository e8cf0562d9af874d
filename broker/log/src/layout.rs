//! Names and places in a data directory: which file covers which positions.

use std::path::{Path, PathBuf};

use rq_core::ids::Lsn;

pub(crate) const LOCK: &str = "LOCK";
pub(crate) const IDENTITY: &str = "IDENTITY";
pub(crate) const SUPERBLOCKS: [&str; 2] = ["META.a", "META.b"];
/// Ending of a file that is not complete yet; removed when a log is opened.
pub(crate) const UNFINISHED: &str = ".tmp";
const SEGMENT: &str = ".seg";
const CHECKPOINT: &str = ".ckpt";
/// Digits of a position in a file name.
const DIGITS: usize = 20;

/// The files of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) checkpoints: PathBuf,
    pub(crate) quarantine: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            log: dir.join("log"),
            checkpoints: dir.join("ckpt"),
            quarantine: dir.join("quarantine"),
        }
    }

    pub(crate) fn segment(&self, base: u64) -> PathBuf {
        self.log.join(format!("{base:020}{SEGMENT}"))
    }

    pub(crate) fn checkpoint(&self, lsn: Lsn) -> PathBuf {
        self.checkpoints.join(format!("{:020}{CHECKPOINT}", lsn.0))
    }
}

/// What a data directory always has while its log is in use: files and directories that are never replaced.
#[must_use]
pub fn landmarks(dir: &Path) -> [PathBuf; 3] {
    let layout = Layout::new(dir);
    [layout.dir.join(IDENTITY), layout.dir, layout.log]
}

/// The name of a file while it is being written.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// The base of a segment by its file's name.
pub(crate) fn segment_base(name: &str) -> Option<u64> {
    position(name.strip_suffix(SEGMENT)?)
}

/// The position of a checkpoint by its file's name.
pub(crate) fn checkpoint_lsn(name: &str) -> Option<Lsn> {
    position(name.strip_suffix(CHECKPOINT)?).map(Lsn)
}

fn position(digits: &str) -> Option<u64> {
    let all_digits = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}
