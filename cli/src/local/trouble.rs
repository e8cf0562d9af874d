//! What keeps a local cluster from being well, in the words of its directories.

use std::path::PathBuf;

use rq_core::failover::Stalled;
use rq_core::ids::Epoch;
use thiserror::Error;

/// Why it is not.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum Trouble {
    /// Not found is not empty.
    #[error(
        "the configuration is gone, and the store of {0} has been used: bring back the directory `config`, or begin a new cluster in an empty directory"
    )]
    ConfigLost(String),
    /// The directory is not there.
    #[error(
        "{} is gone: bring it back as it was, without it no replica can be promoted or taken into the in-sync set", .0.display()
    )]
    ConfigGone(PathBuf),
    /// A store has seen what the configuration does not know.
    #[error(
        "the configuration is of epoch {epoch}, and {name} has promised epoch {promised}: bring back the newest directory `config`"
    )]
    ConfigOld { name: String, promised: Epoch, epoch: Epoch },
    /// A replica has seen a newer version.
    #[error(
        "the configuration is of version {version}, and {name} has seen version {seen}: bring back the newest directory `config`"
    )]
    ConfigBehind { name: String, seen: u64, version: u64 },
    /// Nobody can be promoted.
    #[error("{0}")]
    Stalled(Stalled),
    /// The configuration cannot be read or written.
    #[error("{0}")]
    Store(String),
}

impl From<rq_overseer::Trouble> for Trouble {
    fn from(trouble: rq_overseer::Trouble) -> Self {
        match trouble {
            rq_overseer::Trouble::ConfigLost(name) => Self::ConfigLost(name),
            rq_overseer::Trouble::ConfigOld { name, promised, epoch } => {
                Self::ConfigOld { name, promised, epoch }
            }
            rq_overseer::Trouble::ConfigBehind { name, seen, version } => {
                Self::ConfigBehind { name, seen, version }
            }
            rq_overseer::Trouble::Stalled(stalled) => Self::Stalled(stalled),
        }
    }
}
