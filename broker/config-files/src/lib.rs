//! The config store of a cluster of local processes: a directory in which each version of the configuration is a file.
//!
//! A version is written whole and flushed under a name of its own and then linked as `config-<version>`: the link is the
//! compare-and-set, for it fails where that version exists. Nobody holds a lock, so that a stopped process stops nobody.

mod json;
mod kept;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rq_core::config::{self, Config, Illegal, Written};
use thiserror::Error;

pub use self::kept::KeptConfig;

/// Older versions than so many are removed.
const KEPT: u64 = 100;
/// Name of a version, before its number.
const PREFIX: &str = "config-";

/// Why the configuration was not read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory failed.
    #[error("cannot {op} {}", .path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A version cannot be understood.
    #[error("{} is no configuration: {reason}; it was written by another release, or the disk is damaged", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The new version may not follow the old one.
    #[error("the configuration cannot be changed like this: {0}")]
    Illegal(#[from] Illegal),
}

/// A directory with the versions of one shard's configuration.
#[derive(Clone, Debug)]
pub struct ConfigFiles {
    dir: PathBuf,
    /// The directory was flushed when this version was in it.
    flushed: Arc<AtomicU64>,
}

impl ConfigFiles {
    /// The versions in this directory. It need not be there yet: what is not there is an error of each call, never empty.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), flushed: Arc::default() }
    }

    /// As [`at`](Self::at), after making the directory. Only for whoever forms the shard: a replica that made it would
    /// hide that it was lost.
    pub fn make(dir: &Path) -> Result<Self, StoreError> {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flush_parent = || File::open(parent.unwrap_or(Path::new(".")))?.sync_all();
        fs::create_dir_all(dir).and_then(|()| flush_parent()).map_err(failed("make", dir))?;
        Ok(Self::at(dir))
    }

    /// The newest version; none if there never was one. A directory that cannot be read is an error, never "none". No
    /// power loss takes back what this returned: whoever linked it may have been stopped before it flushed the link.
    pub fn read(&self) -> Result<Option<Config>, StoreError> {
        let config = self.read_newest()?;
        if let Some(config) = &config
            && self.flushed.load(Ordering::Acquire) < config.version
        {
            self.flush()?;
            self.flushed.fetch_max(config.version, Ordering::AcqRel);
        }
        Ok(config)
    }

    fn read_newest(&self) -> Result<Option<Config>, StoreError> {
        // A version may be removed between the list and the read, if newer ones were written meanwhile.
        loop {
            let Some(version) = self.newest()? else { return Ok(None) };
            let path = self.path(version);
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.newest()? > Some(version) => {
                    continue;
                }
                read => read.map_err(failed("read", &path))?,
            };
            let config = json::decode(&bytes)
                .map_err(|reason| StoreError::Malformed { path: path.clone(), reason })?;
            return if config.version == version {
                Ok(Some(config))
            } else {
                Err(StoreError::Malformed { path, reason: format!("it says version {}", config.version) })
            };
        }
    }

    /// The number of the newest version: a cheap way to see that it changed.
    pub fn newest(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.versions()?.into_iter().max())
    }

    /// Makes `new` the newest version if the newest one is `new.version - 1` now.
    pub fn compare_and_set(&self, new: &Config) -> Result<Written, StoreError> {
        let old = self.read()?;
        match &old {
            Some(old) if old.version >= new.version => return Ok(Written::Conflict(old.clone())),
            Some(old) => config::check(old, new)?,
            None if new.version == 1 => {}
            None => return Err(Illegal::Version.into()),
        }
        let draft = self.write_draft(new)?;
        let path = self.path(new.version);
        let linked = fs::hard_link(&draft, &path);
        let _ = fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked.map_err(failed("link", &path))?,
        }
        // This flushes the link. Whoever was stopped before it may have linked a version that was removed long ago: only
        // the newest counts.
        match self.read()? {
            Some(newest) if newest == *new => {
                self.remove_old(new.version);
                Ok(Written::Done)
            }
            Some(newest) => Ok(Written::Conflict(newest)),
            None => Err(failed("find", &path)(io::ErrorKind::NotFound.into())),
        }
    }

    fn write_draft(&self, config: &Config) -> Result<PathBuf, StoreError> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("draft-{}-{number}", std::process::id()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(&json::encode(config))?;
            file.sync_all()
        };
        write().map_err(failed("write", &path))?;
        Ok(path)
    }

    fn flush(&self) -> Result<(), StoreError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed("flush", &self.dir))
    }

    fn versions(&self) -> Result<Vec<u64>, StoreError> {
        let list = || {
            let mut versions = Vec::new();
            for entry in fs::read_dir(&self.dir)? {
                let name = entry?.file_name();
                versions
                    .extend(name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok()));
            }
            Ok(versions)
        };
        list().map_err(failed("list", &self.dir))
    }

    fn remove_old(&self, newest: u64) {
        for version in self.versions().unwrap_or_default() {
            if version + KEPT <= newest {
                // If it stays, it is tried again with the next version.
                let _ = fs::remove_file(self.path(version));
            }
        }
    }

    fn path(&self, version: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{version:020}"))
    }
}

fn failed(op: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { op, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::thread;

    use rq_core::config::{Change, FlushMode, Member, next};
    use rq_core::ids::{Epoch, Session, StoreId};

    use super::*;

    const A: StoreId = StoreId(0xA);

    fn formed() -> Config {
        let member = Member { name: "rq-0".to_owned(), address: "127.0.0.1:8081".to_owned() };
        Config::form(A, Session(3), [(A, member)].into(), 1)
    }

    fn touched(config: &Config) -> Config {
        next(config, &Change::Touch { by: (config.master, config.epoch) }).unwrap()
    }

    #[test]
    fn a_configuration_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::make(dir.path()).unwrap();
        assert_eq!(files.read().unwrap(), None);
        assert_eq!(files.compare_and_set(&formed()).unwrap(), Written::Done);
        let by = (A, Epoch(1));
        let async_mode = next(&formed(), &Change::SetFlushMode { by, mode: FlushMode::Async }).unwrap();
        assert_eq!(files.compare_and_set(&async_mode).unwrap(), Written::Done);
        assert_eq!(ConfigFiles::make(dir.path()).unwrap().read().unwrap(), Some(async_mode));
    }

    #[test]
    fn a_version_is_written_once_and_only_by_the_rules() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::make(dir.path()).unwrap();
        files.compare_and_set(&formed()).unwrap();
        let one = Config { min_in_sync: 2, ..touched(&formed()) };
        let other = touched(&formed());
        assert_eq!(files.compare_and_set(&one).unwrap(), Written::Done);
        assert_eq!(files.compare_and_set(&other).unwrap(), Written::Conflict(one.clone()));
        let stolen = Config { master: StoreId(0xB), ..touched(&one) };
        assert!(matches!(files.compare_and_set(&stolen), Err(StoreError::Illegal(_))));
        let jump = Config { version: 9, ..touched(&one) };
        assert!(matches!(files.compare_and_set(&jump), Err(StoreError::Illegal(Illegal::Version))));
    }

    #[test]
    fn of_many_writers_one_wins_each_version() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::make(dir.path()).unwrap();
        files.compare_and_set(&formed()).unwrap();
        let write = |copies: u8| {
            let files = files.clone();
            thread::spawn(move || {
                let mut won = Vec::new();
                while won.len() < 30 {
                    let mine = Config { min_in_sync: copies, ..touched(&files.read().unwrap().unwrap()) };
                    if files.compare_and_set(&mine).unwrap() == Written::Done {
                        won.push(mine.version);
                    }
                }
                won
            })
        };
        let writers: Vec<_> = (1..=4).map(write).collect();
        let mut won: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        won.sort_unstable();
        assert!(won.windows(2).all(|pair| pair[0] < pair[1]), "a version was won twice: {won:?}");
        assert!(files.newest().unwrap() >= won.last().copied());
        assert!(files.versions().unwrap().len() <= KEPT as usize, "old ones are removed");
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let lost = dir.path().join("config");
        let files = ConfigFiles::at(&lost);
        assert!(matches!(files.read(), Err(StoreError::Io { op: "list", .. })));
        assert!(matches!(files.compare_and_set(&formed()), Err(StoreError::Io { op: "list", .. })));
        assert!(!lost.exists());
    }

    #[test]
    fn what_is_no_configuration_is_an_error_and_never_none() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::make(dir.path()).unwrap();
        fs::write(files.path(1), b"{}").unwrap();
        let error = files.read().unwrap_err().to_string();
        assert!(error.contains("config-00000000000000000001 is no configuration"), "{error}");
    }
}
