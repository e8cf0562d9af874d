//! What whoever watches over a shard decides from what its replicas say of themselves: the first configuration, promotions,
//! whom to register and to remove, what to do where the configuration was lost. The operator and the supervisor of a local
//! cluster both do. Nothing here reads a clock, a file or a socket.

mod lost;
mod told;

use std::collections::BTreeMap;

use rq_core::config::{Change, Config, Member};
use rq_core::failover::{self, Decision, MasterSeen, Observed, Observer, SlaveSeen, Stalled};
use rq_core::ids::{Epoch, StoreId};
use thiserror::Error;

pub use self::lost::kept;
pub use self::told::{Disk, Told};

/// With fewer copies in sync, producers are refused: one copy will do where there are two at most, else a disk that is lost
/// may take no message with it.
pub const fn min_in_sync(replicas: usize) -> u8 {
    if replicas <= 2 { 1 } else { 2 }
}

/// A replica as the overseer sees it. Times are the overseer's, in ms on a clock that only goes forward.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// What people call it.
    pub name: String,
    /// Where it serves, `HOST:PORT`.
    pub address: String,
    /// It has a process.
    pub running: bool,
    /// Since when its process has not answered; none if the last question was answered.
    pub silent_since: Option<u64>,
    /// The last answer of this process.
    pub told: Option<Told>,
}

/// What keeps a shard from being well.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Trouble {
    /// Not found is not empty.
    #[error(
        "the configuration is gone, and the store of {0} has been used: bring the configuration back as it was"
    )]
    ConfigLost(String),
    /// A store has seen what the configuration does not know.
    #[error(
        "the configuration is of epoch {epoch}, and {name} has promised epoch {promised}: bring back the newest one"
    )]
    ConfigOld {
        /// Whose.
        name: String,
        /// What it promised.
        promised: Epoch,
        /// What the configuration says.
        epoch: Epoch,
    },
    /// A replica has seen a newer version.
    #[error(
        "the configuration is of version {version}, and {name} has seen version {seen}: bring back the newest one"
    )]
    ConfigBehind {
        /// Who has.
        name: String,
        /// What it has seen.
        seen: u64,
        /// What the configuration says.
        version: u64,
    },
    /// Nobody can be promoted.
    #[error("{0}")]
    Stalled(Stalled),
}

/// How a shard without a configuration gets one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum First {
    /// Not all stores have answered.
    Wait,
    /// All are new.
    Form(Config),
}

impl Seen {
    /// A replica that has not been started.
    pub const fn new(name: String, address: String) -> Self {
        Self { name, address, running: false, silent_since: None, told: None }
    }

    /// What it says, if it answers.
    pub fn answer(&self) -> Option<&Told> {
        self.told.as_ref().filter(|_| self.running && self.silent_since.is_none())
    }

    fn member(&self) -> Member {
        Member { name: self.name.clone(), address: self.address.clone() }
    }
}

/// The first configuration: with the first replica as master, once all stores say that they were never used.
pub fn first(seen: &[Seen], min_in_sync: u8) -> Result<First, Trouble> {
    let told = |seen: &'_ Seen| seen.told.as_ref().map(|told| (told.store, told.session, seen.member()));
    if let Some(used) = seen.iter().find(|seen| seen.told.as_ref().is_some_and(|told| !told.is_new())) {
        return Err(Trouble::ConfigLost(used.name.clone()));
    }
    let Some(stores) = seen.iter().map(told).collect::<Option<Vec<_>>>() else { return Ok(First::Wait) };
    let Some((master, session, _)) = stores.first().cloned() else { return Ok(First::Wait) };
    let members = stores.into_iter().map(|(store, _, member)| (store, member)).collect();
    Ok(First::Form(Config::form(master, session, members, min_in_sync)))
}

/// Refuses a configuration that is older than what a replica has promised, or than the version that it has seen, by the last
/// word of each that its process has said: who is silent now knew it nevertheless. It must have been read after the replicas
/// answered: they may know of a change before a cache does.
pub fn is_newest(config: &Config, seen: &[Seen]) -> Result<(), Trouble> {
    let newer = |seen: &Seen| {
        let name = || seen.name.clone();
        let told = seen.told.as_ref()?;
        let promised = told.promised;
        if promised > config.epoch {
            return Some(Trouble::ConfigOld { name: name(), promised, epoch: config.epoch });
        }
        let (version, newest) = (config.version, told.config_version);
        (newest > version).then(|| Trouble::ConfigBehind { name: name(), seen: newest, version })
    };
    seen.iter().find_map(newer).map_or(Ok(()), Err)
}

/// Who is promoted, if anybody. A master that hangs is taken for dead after so long.
pub fn promotion(config: &Config, seen: &[Seen], detect_timeout_ms: u64, now: u64) -> Decision {
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
    let observer = Observer::Supervisor { detect_timeout_ms };
    let observed = Observed { observer, config, master: master(config, seen), slaves };
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

/// The next change of who is a member; none if all are as they should be. A copy of the in-sync set is struck out only while
/// the master serves: where it does not, the lost copy may be the next one that comes back with everything.
pub fn membership(config: &Config, seen: &[Seen]) -> Option<Change> {
    let leads = |told: &Told| told.store == config.master && told.serves && told.epoch == config.epoch;
    let is_served = seen.iter().filter_map(Seen::answer).any(leads);
    for seen in seen {
        let Some(told) = seen.answer() else { continue };
        let member = seen.member();
        if config.members.get(&told.store) != Some(&member) {
            return Some(Change::Register { store: told.store, member });
        }
        // A disk that was lost: its name has another store now.
        let lost = |(store, member): &(&StoreId, &Member)| {
            member.name == seen.name && **store != told.store && **store != config.master
        };
        // The master is of the set: it is never alone with what is struck out.
        let needed = |store: &StoreId| !is_served && config.in_sync.contains_key(store);
        let lost = config.members.iter().filter(lost).map(|(store, _)| store);
        if let Some(store) = lost.copied().find(|store| !needed(store)) {
            return Some(Change::Remove { store });
        }
    }
    None
}

#[cfg(test)]
mod tests;
