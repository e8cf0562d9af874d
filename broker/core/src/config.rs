//! The configuration of a shard: which epoch, who is master, which copies hold everything acknowledged. It lives in a
//! store that changes it by compare-and-set only; [`next`] holds every legal transition, and the rules that the API
//! server repeats are those of [`check`].

use std::collections::BTreeMap;

use thiserror::Error;

use crate::ids::{Epoch, Session, StoreId};

/// Most members of a shard.
pub const MEMBERS_MAX: usize = 9;

/// When a record counts on a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum FlushMode {
    /// When it is flushed.
    #[default]
    Sync,
    /// When it is written; it is flushed on an interval. A machine that boots anew is a new replica then.
    Async,
}

/// How a log is flushed, as its newest record of that says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FlushPolicy {
    /// When a record counts.
    pub mode: FlushMode,
    /// Of Async: the longest time between two flushes, in ms.
    pub interval_ms: u32,
}

/// A replica that may follow, whether in sync or not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Member {
    /// What people call it: the pod, or the local process.
    pub name: String,
    /// `HOST:PORT` on which it serves clients and its slaves.
    pub address: String,
}

/// One version of the configuration.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Grows by one with every change.
    pub version: u64,
    /// The present mastership.
    pub epoch: Epoch,
    /// Who has it.
    pub master: StoreId,
    /// The replicas that hold everything acknowledged, each with the session in which it caught up; the master is one.
    pub in_sync: BTreeMap<StoreId, Session>,
    /// All replicas.
    pub members: BTreeMap<StoreId, Member>,
    /// With fewer copies in sync, producers are refused.
    pub min_in_sync: u8,
    /// Whether a changed session makes a new replica.
    pub flush_mode: FlushMode,
    /// The newest epoch that began with a copy that may not have held everything acknowledged: somebody accepted that.
    pub unclean: Option<Epoch>,
}

/// A change, by whoever makes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Another mastership: of a slave, or of the same master after its restart. Of the set stay those named.
    Promote {
        /// The new master.
        to: StoreId,
        /// Its present session.
        session: Session,
        /// Who stays in the set, the new master included.
        keep: Vec<StoreId>,
    },
    /// The master takes a silent or slow slave out of the set.
    Shrink {
        /// Who and in which mastership.
        by: (StoreId, Epoch),
        /// Who goes out.
        remove: StoreId,
    },
    /// The master takes a slave that has caught up into the set.
    Expand {
        /// Who and in which mastership.
        by: (StoreId, Epoch),
        /// Who comes in.
        add: StoreId,
        /// Its session while it caught up.
        session: Session,
    },
    /// The master writes the configuration as it is: a newer write, so that an older one of unknown fate is settled.
    Touch {
        /// Who and in which mastership.
        by: (StoreId, Epoch),
    },
    /// The master changes what a session means. To Async: before any record is answered unflushed. To Sync: after all
    /// is flushed on every copy of the set.
    SetFlushMode {
        /// Who and in which mastership.
        by: (StoreId, Epoch),
        /// From now on.
        mode: FlushMode,
    },
    /// A replica is added, or moves to another address.
    Register {
        /// Its store.
        store: StoreId,
        /// Where it is.
        member: Member,
    },
    /// A replica is taken away for good, out of the set as well.
    Remove {
        /// Its store.
        store: StoreId,
    },
    /// How many copies producers need.
    SetMinInSync(u8),
    /// A mastership of a copy that may lack acknowledged messages. Only a human asks for it, naming the epoch that ends.
    AcceptDataLoss {
        /// The epoch that ends: the highest that anybody has seen.
        seen: Epoch,
        /// The new master, alone in the set.
        to: StoreId,
        /// Its present session.
        session: Session,
    },
}

/// Why a change is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum Illegal {
    /// A change does not follow the version it was made from.
    #[error("the version must grow by exactly one")]
    Version,
    /// The epoch falls or jumps.
    #[error("the epoch must stay, or grow by one with a promotion")]
    Epoch,
    /// Two masters in one epoch.
    #[error("another master needs another epoch")]
    SecondMaster,
    /// The new master may lack acknowledged messages.
    #[error("only a replica of the in-sync set can be promoted, in the session in which it is in sync")]
    NotInSync,
    /// A promotion adds to the set.
    #[error("a promotion cannot enlarge the in-sync set")]
    Enlarged,
    /// The master is not in the set, or the set not among the members, or there are too many.
    #[error("the in-sync set must hold the master and only members, and a shard has 1 to 9 members")]
    Set,
    /// Nobody could ever be served, or the number is too large.
    #[error("minInSync must be 1 to 9")]
    MinInSync,
    /// The mark of an accepted loss without what belongs to it.
    #[error("accepting data loss begins a new epoch with one copy in sync")]
    Unclean,
    /// Only the present master may do that.
    #[error("only the master of the present epoch can change that")]
    NotMaster,
    /// Nothing would change, or something that is not there.
    #[error("there is nothing to change")]
    Nothing,
}

impl Config {
    /// The first configuration of a shard. Written only when every store reports that it was never used.
    #[must_use]
    pub fn form(
        master: StoreId,
        session: Session,
        members: BTreeMap<StoreId, Member>,
        min_in_sync: u8,
    ) -> Self {
        Self {
            version: 1,
            epoch: Epoch(1),
            master,
            in_sync: BTreeMap::from([(master, session)]),
            members,
            min_in_sync,
            flush_mode: FlushMode::Sync,
            unclean: None,
        }
    }

    /// Whether a store in this session holds everything acknowledged.
    pub fn may_lead(&self, store: StoreId, session: Session) -> bool {
        self.in_sync
            .get(&store)
            .is_some_and(|in_sync| self.flush_mode == FlushMode::Sync || *in_sync == session)
    }

    /// Whether enough copies are in sync for producers.
    pub fn enough_in_sync(&self) -> bool {
        self.in_sync.len() >= usize::from(self.min_in_sync)
    }
}

/// What became of a compare-and-set in the config store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// The new version is the newest.
    Done,
    /// There is a newer one, whether made from it or not.
    Conflict(Config),
}

/// The configuration after a change.
pub fn next(old: &Config, change: &Change) -> Result<Config, Illegal> {
    let mut new = Config { version: old.version + 1, ..old.clone() };
    let by_master = |(store, epoch): (StoreId, Epoch)| {
        if (store, epoch) == (old.master, old.epoch) { Ok(()) } else { Err(Illegal::NotMaster) }
    };
    match change {
        Change::Promote { to, session, keep } => {
            if !old.may_lead(*to, *session) {
                return Err(Illegal::NotInSync);
            }
            new.epoch = old.epoch.next();
            new.master = *to;
            new.in_sync.retain(|store, _| keep.contains(store) || store == to);
            new.in_sync.insert(*to, *session);
        }
        Change::Shrink { by, remove } => {
            by_master(*by)?;
            new.in_sync.remove(remove).ok_or(Illegal::Nothing)?;
        }
        Change::Expand { by, add, session } => {
            by_master(*by)?;
            new.in_sync.insert(*add, *session);
        }
        Change::Touch { by } => by_master(*by)?,
        Change::SetFlushMode { by, mode } => {
            by_master(*by)?;
            new.flush_mode = *mode;
        }
        Change::Register { store, member } => {
            new.members.insert(*store, member.clone());
        }
        Change::Remove { store } => {
            new.members.remove(store).ok_or(Illegal::Nothing)?;
            new.in_sync.remove(store);
        }
        Change::SetMinInSync(copies) => new.min_in_sync = *copies,
        Change::AcceptDataLoss { seen, to, session } => {
            new.epoch = old.epoch.max(*seen).next();
            new.master = *to;
            new.in_sync = BTreeMap::from([(*to, *session)]);
            new.unclean = Some(new.epoch);
        }
    }
    check(old, &new)?;
    Ok(new)
}

/// Whether one version may follow the other, whoever wrote it: what the API server can see.
pub fn check(old: &Config, new: &Config) -> Result<(), Illegal> {
    if new.version != old.version + 1 {
        return Err(Illegal::Version);
    }
    if new.min_in_sync == 0 || usize::from(new.min_in_sync) > MEMBERS_MAX {
        return Err(Illegal::MinInSync);
    }
    let members = |config: &Config| config.in_sync.keys().all(|store| config.members.contains_key(store));
    if !new.in_sync.contains_key(&new.master) || !members(new) || new.members.len() > MEMBERS_MAX {
        return Err(Illegal::Set);
    }
    if new.unclean != old.unclean {
        let begins = new.unclean == Some(new.epoch) && new.epoch > old.epoch && new.in_sync.len() == 1;
        return if begins { Ok(()) } else { Err(Illegal::Unclean) };
    }
    if new.epoch == old.epoch {
        return if new.master == old.master { Ok(()) } else { Err(Illegal::SecondMaster) };
    }
    if new.epoch != old.epoch.next() {
        return Err(Illegal::Epoch);
    }
    let session = new.in_sync.get(&new.master).copied().unwrap_or_default();
    if !old.may_lead(new.master, session) {
        return Err(Illegal::NotInSync);
    }
    let kept = |(store, session): (&StoreId, &Session)| {
        old.in_sync.get(store).is_some_and(|before| before == session || *store == new.master)
    };
    if new.in_sync.iter().all(kept) { Ok(()) } else { Err(Illegal::Enlarged) }
}

#[cfg(test)]
mod tests;
