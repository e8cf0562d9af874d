//! The newest configuration that one replica knows, kept beside its log: where the config store is another machine's, it may
//! be away when the replica starts, or lose what it held.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rq_core::config::Config;

use crate::{StoreError, failed, json};

/// Its name in the data directory.
const NAME: &str = "configuration.json";
/// The next one, until it is whole.
const DRAFT: &str = "configuration.json.tmp";

/// The kept configuration of one data directory, which this process has for itself.
#[derive(Debug)]
pub struct KeptConfig {
    dir: PathBuf,
    newest: Option<Config>,
}

impl KeptConfig {
    /// Reads what is kept in a data directory. A file that cannot be read, or is of a later release, is an error: whoever
    /// went on without it could take an older configuration for the newest.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let newest = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => {
                let bytes = read.map_err(failed("read", &path))?;
                let config = json::decode(&bytes).map_err(|reason| StoreError::Malformed { path, reason })?;
                Some(config)
            }
        };
        Ok(Self { dir: dir.to_owned(), newest })
    }

    /// The newest that was kept; none before there was any.
    pub fn newest(&self) -> Option<&Config> {
        self.newest.as_ref()
    }

    /// Keeps a configuration, unless the kept one is as new or newer. Once this returns, no power loss takes it back.
    pub fn keep(&mut self, config: &Config) -> Result<(), StoreError> {
        if self.newest.as_ref().is_some_and(|newest| newest.version >= config.version) {
            return Ok(());
        }
        let (path, draft) = (self.dir.join(NAME), self.dir.join(DRAFT));
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(&json::encode(config))?;
            file.sync_all()
        };
        write().map_err(failed("write", &draft))?;
        fs::rename(&draft, &path).map_err(failed("rename", &draft))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed("flush", &self.dir))?;
        self.newest = Some(config.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rq_core::config::{Change, Member, next};
    use rq_core::ids::{Epoch, Session, StoreId};

    use super::*;

    const A: StoreId = StoreId(0xA);

    fn versions() -> [Config; 2] {
        let formed = Config::form(A, Session(3), [(A, Member::default())].into(), 1);
        let touched = next(&formed, &Change::Touch { by: (A, Epoch(1)) }).unwrap();
        [formed, touched]
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_never_replaced_by_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let [formed, touched] = versions();
        let mut kept = KeptConfig::open(dir.path()).unwrap();
        assert_eq!(kept.newest(), None);
        kept.keep(&formed).unwrap();
        kept.keep(&touched).unwrap();
        kept.keep(&formed).unwrap();
        assert_eq!(kept.newest(), Some(&touched));
        assert_eq!(KeptConfig::open(dir.path()).unwrap().newest(), Some(&touched));
    }

    #[test]
    fn one_that_was_not_written_whole_leaves_the_kept_one() {
        let dir = tempfile::tempdir().unwrap();
        let [formed, touched] = versions();
        KeptConfig::open(dir.path()).unwrap().keep(&formed).unwrap();
        fs::write(dir.path().join(DRAFT), b"{\"format\": 1, \"ver").unwrap();
        let mut kept = KeptConfig::open(dir.path()).unwrap();
        assert_eq!(kept.newest(), Some(&formed));
        kept.keep(&touched).unwrap();
        assert_eq!(KeptConfig::open(dir.path()).unwrap().newest(), Some(&touched));
    }

    #[test]
    fn what_cannot_be_kept_is_an_error_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let [formed, _] = versions();
        let mut kept = KeptConfig::open(&data).unwrap();
        assert!(matches!(kept.keep(&formed), Err(StoreError::Io { op: "write", .. })));
        assert_eq!(kept.newest(), None);
        fs::create_dir(&data).unwrap();
        kept.keep(&formed).unwrap();
        assert_eq!(kept.newest(), Some(&formed));
    }

    #[test]
    fn a_damaged_one_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), b"{}").unwrap();
        let error = KeptConfig::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("configuration.json is no configuration"), "{error}");
    }
}
