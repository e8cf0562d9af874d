//! The config store of a cluster of local processes: a directory, looked at often.

use std::time::Duration;

use rq_config_files::{ConfigFiles, StoreError};
use rq_core::config::{Config, Written};

use super::ConfigStore;

/// How often the directory is looked at: a promotion by others is known after this.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the last look saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Looked {
    /// Nothing that could be told: it is the first, or the directory cannot be read.
    Nothing,
    /// This version, or that there is none.
    Version(Option<u64>),
}

/// The store. Its calls block the thread.
#[derive(Debug)]
pub struct Files {
    files: ConfigFiles,
    looked: Looked,
}

impl Files {
    /// The configuration in this directory.
    pub const fn new(files: ConfigFiles) -> Self {
        Self { files, looked: Looked::Nothing }
    }
}

impl ConfigStore for Files {
    type Error = StoreError;

    async fn read(&mut self) -> Result<Option<Config>, StoreError> {
        self.files.read()
    }

    async fn compare_and_set(&mut self, new: &Config) -> Result<Written, StoreError> {
        self.files.compare_and_set(new)
    }

    async fn look(&mut self) -> Result<Option<Config>, StoreError> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let before = std::mem::replace(&mut self.looked, Looked::Nothing);
            let newest = self.files.newest()?;
            if before == Looked::Version(newest) {
                self.looked = before;
                continue;
            }
            let config = self.files.read()?;
            self.looked = Looked::Version(config.as_ref().map(|config| config.version));
            return Ok(config);
        }
    }
}
