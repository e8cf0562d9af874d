//! What the supervisor of a local cluster decides from what it sees: the first configuration, promotions, whom to
//! register and to remove, where clients go. Nothing here reads a clock, a file or a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rq_core::config::{Change, Config, Member};
use rq_core::failover::{
    self, DETECT_TIMEOUT_MS, Decision, MasterSeen, Observed, Observer, SlaveSeen, Stalled,
};
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_proto::reliablequeue as pb;
use thiserror::Error;

/// With fewer copies in sync, producers are refused: one copy will do where there are two at most, else a disk that is lost
/// may take no message with it.
const fn min_in_sync(replicas: usize) -> u8 {
    if replicas <= 2 { 1 } else { 2 }
}

/// What a replica says of itself. Times are the supervisor's, in ms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) store: StoreId,
    session: Session,
    serves: bool,
    epoch: Epoch,
    promised: Epoch,
    log_epoch: Epoch,
    config_version: u64,
    end: Lsn,
    durable: Lsn,
    master_silent_since: Option<u64>,
    halted: bool,
}

/// A replica as the supervisor sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// What people call it.
    pub(super) name: String,
    /// Where it serves, `HOST:PORT`.
    pub(super) address: String,
    /// It has a process.
    pub(super) running: bool,
    /// Since when its process has not answered; none if the last question was answered.
    pub(super) silent_since: Option<u64>,
    /// The last answer of this process.
    pub(super) told: Option<Told>,
}

/// What keeps a cluster from being well.
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
    /// Nobody can be promoted.
    #[error("{0}")]
    Stalled(Stalled),
    /// The configuration cannot be read or written.
    #[error("{0}")]
    Store(String),
}

/// How a shard without a configuration gets one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum First {
    /// Not all stores have answered.
    Wait,
    /// All are new.
    Form(Config),
}

/// Where new connections go, and which old ones are cut.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Backends {
    /// Addresses to try, in this order.
    pub(super) order: Vec<String>,
    /// Addresses of processes that hang, while another one serves: who waits for them waits in vain.
    pub(super) hang: BTreeSet<String>,
}

impl Told {
    /// Reads an answer that came at `now`; none if it makes no sense.
    pub(super) fn read(status: &pb::ReplicaStatus, now: u64) -> Option<Self> {
        Some(Self {
            store: status.store_id.parse().ok()?,
            session: Session(status.session),
            serves: status.role() == pb::Role::Master && status.serving,
            epoch: Epoch(status.epoch),
            promised: Epoch(status.promised),
            log_epoch: Epoch(status.log_epoch),
            config_version: status.config_version,
            end: Lsn(status.end_lsn),
            durable: Lsn(status.durable_lsn),
            master_silent_since: status.master_silent_ms.map(|silent| now.saturating_sub(silent)),
            halted: !status.halted.is_empty(),
        })
    }

    /// Its store has never been of a shard.
    fn is_new(&self) -> bool {
        let bytes = self.end.max(self.durable);
        self.config_version == 0 && bytes == Lsn(0) && self.promised.max(self.log_epoch) == Epoch(0)
    }
}

impl Seen {
    /// A replica that has not been started.
    pub(super) const fn new(name: String, address: String) -> Self {
        Self { name, address, running: false, silent_since: None, told: None }
    }

    /// What it says, if it answers.
    fn answer(&self) -> Option<&Told> {
        self.told.as_ref().filter(|_| self.running && self.silent_since.is_none())
    }

    fn member(&self) -> Member {
        Member { name: self.name.clone(), address: self.address.clone() }
    }
}

/// The first configuration: with the first replica as master, once all stores say that they were never used.
pub(super) fn first(seen: &[Seen]) -> Result<First, Trouble> {
    let told = |seen: &'_ Seen| seen.told.as_ref().map(|told| (told.store, told.session, seen.member()));
    if let Some(used) = seen.iter().find(|seen| seen.told.as_ref().is_some_and(|told| !told.is_new())) {
        return Err(Trouble::ConfigLost(used.name.clone()));
    }
    let Some(stores) = seen.iter().map(told).collect::<Option<Vec<_>>>() else { return Ok(First::Wait) };
    let Some((master, session, _)) = stores.first().cloned() else { return Ok(First::Wait) };
    let min_in_sync = min_in_sync(stores.len());
    let members = stores.into_iter().map(|(store, _, member)| (store, member)).collect();
    Ok(First::Form(Config::form(master, session, members, min_in_sync)))
}

/// Refuses a configuration that is older than what a replica has promised.
pub(super) fn is_newest(config: &Config, seen: &[Seen]) -> Result<(), Trouble> {
    let newer = |seen: &Seen| {
        let promised = seen.told.as_ref()?.promised;
        (promised > config.epoch).then(|| Trouble::ConfigOld {
            name: seen.name.clone(),
            promised,
            epoch: config.epoch,
        })
    };
    seen.iter().find_map(newer).map_or(Ok(()), Err)
}

/// Who is promoted, if anybody.
pub(super) fn promotion(config: &Config, seen: &[Seen], now: u64) -> Decision {
    let slave = |seen: &Seen| {
        let told = seen.answer().filter(|told| told.store != config.master)?;
        let slave = SlaveSeen {
            session: told.session,
            epoch: told.log_epoch,
            durable: told.durable,
            master_silent_since: told.master_silent_since,
            suspect: told.halted,
        };
        Some((told.store, slave))
    };
    let slaves: BTreeMap<_, _> = seen.iter().filter_map(slave).collect();
    let observed = Observed { observer: Observer::Supervisor, config, master: master(config, seen), slaves };
    failover::decide(&observed, now)
}

/// The master of the configuration.
fn master(config: &Config, seen: &[Seen]) -> MasterSeen {
    let name = config.members.get(&config.master).map(|member| &member.name);
    let Some(seen) = seen.iter().find(|seen| Some(&seen.name) == name) else { return MasterSeen::default() };
    // Its end is proof, and so is another store in its place. Where no process of it was ever started there is none.
    let replaced = seen.told.as_ref().is_some_and(|told| told.store != config.master);
    MasterSeen { dead: !seen.running || replaced, silent_since: seen.silent_since, refused_since: None }
}

/// The next change of who is a member; none if all are as they should be.
pub(super) fn membership(config: &Config, seen: &[Seen]) -> Option<Change> {
    for seen in seen {
        let Some(told) = seen.answer() else { continue };
        let member = seen.member();
        if config.members.get(&told.store) != Some(&member) {
            return Some(Change::Register { store: told.store, member });
        }
        // A disk that was lost: its name has another store now. It may be the only one that has everything.
        let lost = |(store, member): &(&StoreId, &Member)| {
            member.name == seen.name && **store != told.store && **store != config.master
        };
        let only_copy = |store: &StoreId| config.in_sync.len() == 1 && config.in_sync.contains_key(store);
        let lost = config.members.iter().filter(lost).map(|(store, _)| store);
        if let Some(store) = lost.copied().find(|store| !only_copy(store)) {
            return Some(Change::Remove { store });
        }
    }
    None
}

/// Where clients go: to the newest master that serves, else to whoever answers.
pub(super) fn backends(seen: &[Seen], now: u64) -> Backends {
    let answering = || seen.iter().filter_map(|seen| Some((seen, seen.answer()?)));
    let master = answering().filter(|(_, told)| told.serves).max_by_key(|(_, told)| told.epoch);
    let master = master.map(|(seen, _)| &seen.address);
    let others = answering().map(|(seen, _)| &seen.address).filter(|address| Some(*address) != master);
    let hangs = |seen: &&Seen| {
        seen.silent_since.is_some_and(|since| since + DETECT_TIMEOUT_MS <= now) && seen.running
    };
    let hang = seen.iter().filter(hangs).filter(|_| master.is_some());
    Backends {
        order: master.into_iter().chain(others).cloned().collect(),
        hang: hang.map(|seen| seen.address.clone()).collect(),
    }
}

#[cfg(test)]
mod tests;
