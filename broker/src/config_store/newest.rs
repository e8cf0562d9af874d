//! The newest configuration that this replica may act on, kept where its store may lose it.

use rq_config_files::{KeptConfig, StoreError};
use rq_core::config::Config;
use tokio::sync::watch;

use super::Kept;

/// Keeps configurations, and shows the newest one that is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    file: KeptConfig,
    shown: watch::Sender<Option<Config>>,
}

impl Keeper {
    pub(super) fn new(file: KeptConfig) -> (Self, Kept) {
        let (shown, kept) = watch::channel(file.newest().cloned());
        (Self { file, shown }, kept)
    }

    fn keep(&mut self, config: &Config) -> Result<(), StoreError> {
        self.file.keep(config)?;
        self.shown.send_replace(self.file.newest().cloned());
        Ok(())
    }
}

/// The newest configuration that was taken.
#[derive(Debug)]
pub(super) struct Newest {
    config: Option<Config>,
    keeper: Option<Keeper>,
}

/// Why a configuration of the store is not acted on.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// It could not be kept.
    NotKept(StoreError),
    /// A newer one was there: the store lost what it held.
    Older { known: u64, found: u64 },
    /// Another one of the same version was there: the store was written anew.
    Differs { version: u64 },
}

impl Newest {
    /// Begins with what is kept.
    pub(super) fn new(keeper: Option<Keeper>) -> Self {
        Self { config: keeper.as_ref().and_then(|keeper| keeper.file.newest()).cloned(), keeper }
    }

    pub(super) fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    pub(super) fn is_overtaken(&self, config: &Config) -> bool {
        self.config.as_ref().is_some_and(|newest| newest.version > config.version)
    }

    pub(super) fn is_news(&self, config: &Config) -> bool {
        self.config.as_ref().is_none_or(|newest| newest.version < config.version)
    }

    /// Takes what the store has just said to be the newest. Once this returns it is kept, and may be acted on.
    pub(super) fn take(&mut self, config: &Config) -> Result<(), NotTaken> {
        if let Some(newest) = self.config.as_ref().filter(|newest| newest.version >= config.version) {
            return match newest.version == config.version {
                true if newest == config => Ok(()),
                true => Err(NotTaken::Differs { version: config.version }),
                false => Err(NotTaken::Older { known: newest.version, found: config.version }),
            };
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(config).map_err(NotTaken::NotKept)?;
        }
        self.config = Some(config.clone());
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
    fn what_is_taken_is_kept_and_nothing_older_or_other_is_taken_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let [formed, touched] = versions();
        let (keeper, kept) = Keeper::new(KeptConfig::open(dir.path()).unwrap());
        let mut newest = Newest::new(Some(keeper));
        assert!(newest.is_news(&touched));
        newest.take(&touched).unwrap();
        assert_eq!(*kept.borrow(), Some(touched.clone()));
        newest.take(&touched).unwrap();
        assert!(newest.is_overtaken(&formed) && !newest.is_news(&touched));
        assert!(matches!(newest.take(&formed), Err(NotTaken::Older { known: 2, found: 1 })));
        let other = Config { min_in_sync: 2, ..touched.clone() };
        assert!(matches!(newest.take(&other), Err(NotTaken::Differs { version: 2 })));
        drop(newest);
        let (again, _) = Keeper::new(KeptConfig::open(dir.path()).unwrap());
        assert_eq!(Newest::new(Some(again)).config(), Some(&touched));
    }

    #[test]
    fn what_cannot_be_kept_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let [formed, _] = versions();
        let (keeper, kept) = Keeper::new(KeptConfig::open(&dir.path().join("gone")).unwrap());
        let mut newest = Newest::new(Some(keeper));
        assert!(matches!(newest.take(&formed), Err(NotTaken::NotKept(_))));
        assert!(newest.config().is_none() && kept.borrow().is_none());
    }
}
