//! Replacing a damaged segment by another replica's copy: of a log that is in use, or of one that cannot be opened
//! because of it. Any replica will do, for what comes is proven by what follows it here.

use std::error::Error;
use std::path::Path;

use rq_core::config::Config;
use rq_core::ids::{Lsn, ShardId, StoreId};
use rq_log::{ReplaceError, Replacement, StdDisk, replace_in};
use thiserror::Error;

use crate::engine::Engine;
use crate::peer::PeerLinks;
use crate::replication::segment;

/// Why a segment was not replaced.
#[derive(Debug, Error)]
pub(crate) enum NotMended {
    /// There is none to ask.
    #[error("there is no other replica: restore the file from a backup")]
    Alone,
    /// All were asked in vain.
    #[error("no other replica has sent it")]
    NoCopy,
    /// The log is being opened anew, or the broker stops.
    #[error("the log is not open")]
    NotOpen,
    /// It cannot be replaced here.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// Replaces a segment of the engine's log.
pub(crate) async fn mend(
    engine: &Engine,
    links: &PeerLinks,
    base: Lsn,
    go_on: impl Fn() -> bool,
) -> Result<(), NotMended> {
    let identity = engine.identity();
    let config = engine.view().borrow().config.clone();
    let others = config.map(|config| others(&config, identity.store_id)).unwrap_or_default();
    let begin = || {
        let reader = engine.reader().ok_or(NotMended::NotOpen)?;
        Ok(reader.replace(base)?)
    };
    from_others(links, identity.shard, &others, begin, go_on).await
}

/// Replaces a segment in a data directory that cannot be opened because of it.
pub(crate) async fn mend_closed(
    data: &Path,
    links: &PeerLinks,
    shard: ShardId,
    base: Lsn,
    config: &Config,
) -> Result<(), NotMended> {
    let begin = || replace_in(&StdDisk, data, base).map_err(NotMended::from);
    let own = begin()?.store();
    from_others(links, shard, &others(config, own), begin, || true).await
}

/// Who else has the log, and where: those in sync first.
fn others(config: &Config, own: StoreId) -> Vec<(StoreId, String)> {
    let others = config.members.iter().filter(|(store, member)| **store != own && !member.address.is_empty());
    let mut others: Vec<_> = others.map(|(store, member)| (*store, member.address.clone())).collect();
    others.sort_by_key(|(store, _)| !config.in_sync.contains_key(store));
    others
}

async fn from_others(
    links: &PeerLinks,
    shard: ShardId,
    others: &[(StoreId, String)],
    begin: impl Fn() -> Result<Replacement<StdDisk>, NotMended>,
    go_on: impl Fn() -> bool,
) -> Result<(), NotMended> {
    if others.is_empty() {
        return Err(NotMended::Alone);
    }
    for (store, address) in others {
        let replacement = begin()?;
        let base = replacement.base();
        match segment::fetch(links, replacement, (shard, *store, address), &go_on).await {
            Ok(()) => return Ok(()),
            Err(segment::NotFetched::GivenUp) => return Err(NotMended::NotOpen),
            Err(error) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(%store, address, base = base.0, error, "a replica gave no copy of a segment");
            }
        }
    }
    Err(NotMended::NoCopy)
}
