//! What a configuration must not fall behind: the newest one of a queue that was ever read, written, or told of by a replica.
//! A store of configurations that was brought back from a backup knows less, and whoever knew better may be dead by then.
//! Kept as long as the queue is there. Pure.

use std::collections::BTreeSet;

use rq_core::config::Config;
use rq_core::ids::{Epoch, StoreId};
use rq_overseer::{Told, Trouble};

/// Who knew it, where the operator has read or written it itself.
const OPERATOR: &str = "the operator";

/// The newest that was known of a queue.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Newest {
    /// The highest epoch, and who knew it.
    epoch: Known<Epoch>,
    /// The highest version, and who knew it.
    version: Known<u64>,
    /// The members of the newest configuration that was known as a whole, with its version.
    members: (u64, BTreeSet<StoreId>),
}

/// A number that only grows, and who knew it first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Known<T> {
    highest: T,
    by: String,
}

impl<T: Ord> Known<T> {
    fn take(&mut self, known: T, by: &str) {
        if known > self.highest {
            *self = Self { highest: known, by: by.to_owned() };
        }
    }
}

impl Newest {
    /// A replica of this name has said this.
    pub(super) fn heard(&mut self, name: &str, told: &Told) {
        self.epoch.take(told.promised, name);
        self.version.take(told.config_version, name);
        if let Some(config) = &told.config {
            self.take_members(config);
        }
    }

    /// This one was read or written. An older one changes nothing, unless it is to be followed from now on.
    pub(super) fn learn(&mut self, config: &Config) {
        if self.starts_over(config) {
            *self = Self::default();
        }
        self.epoch.take(config.epoch, OPERATOR);
        self.version.take(config.version, OPERATOR);
        self.take_members(config);
    }

    /// Refuses a configuration that is older than what was known once.
    pub(super) fn allows(&self, config: &Config) -> Result<(), Trouble> {
        let (epoch, version) = (config.epoch, config.version);
        if epoch < self.epoch.highest {
            return Err(Trouble::ConfigOld {
                name: self.epoch.by.clone(),
                promised: self.epoch.highest,
                epoch,
            });
        }
        if version < self.version.highest {
            return Err(Trouble::ConfigBehind {
                name: self.version.by.clone(),
                seen: self.version.highest,
                version,
            });
        }
        Ok(())
    }

    /// Whether what was known before is of no concern: somebody has accepted, in an epoch that is newer than all, that
    /// messages are lost; or this is the first configuration of stores of which none was a member before.
    fn starts_over(&self, config: &Config) -> bool {
        let accepted = config.unclean.is_some_and(|epoch| epoch > self.epoch.highest);
        let known = &self.members.1;
        let all_new = !known.is_empty() && config.members.keys().all(|store| !known.contains(store));
        accepted || all_new
    }

    fn take_members(&mut self, config: &Config) {
        if config.version > self.members.0 {
            self.members = (config.version, config.members.keys().copied().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use rq_core::config::{self, Change, Member};
    use rq_core::ids::Session;
    use rq_proto::reliablequeue as pb;

    use super::*;

    const A: StoreId = StoreId(0xA);
    const B: StoreId = StoreId(0xB);
    const S: Session = Session(1);

    fn of(stores: &[StoreId]) -> Config {
        let member = |store: &StoreId| (*store, Member { name: store.to_string(), address: String::new() });
        Config::form(stores[0], S, stores.iter().map(member).collect(), 1)
    }

    /// Both in sync, then A alone.
    fn shrunk() -> (Config, Config) {
        let by = (A, Epoch(1));
        let both = config::next(&of(&[A, B]), &Change::Expand { by, add: B, session: S }).unwrap();
        let alone = config::next(&both, &Change::Shrink { by, remove: B }).unwrap();
        (both, alone)
    }

    fn told(promised: u32, config_version: u64) -> Told {
        let status = pb::ReplicaStatus {
            store_id: A.to_string(),
            promised,
            config_version,
            ..pb::ReplicaStatus::default()
        };
        Told::read(&status, 0).unwrap()
    }

    #[test]
    fn a_configuration_that_was_read_must_not_go_back() {
        let (mut newest, (both, alone)) = (Newest::default(), shrunk());
        newest.learn(&both);
        assert_eq!(newest.allows(&both), Ok(()));
        newest.learn(&alone);
        newest.learn(&both);
        let refused = newest.allows(&both).unwrap_err();
        assert!(matches!(&refused, Trouble::ConfigBehind { seen: 3, version: 2, .. }), "{refused:?}");
        assert!(refused.to_string().contains("the operator has seen version 3"), "{refused}");
        assert_eq!(newest.allows(&alone), Ok(()), "it is put back as it was kept");
    }

    #[test]
    fn what_a_replica_has_said_once_holds_when_it_is_gone() {
        let (mut newest, (both, _)) = (Newest::default(), shrunk());
        newest.heard("orders-0", &told(1, 3));
        newest.learn(&both);
        let behind = Trouble::ConfigBehind { name: "orders-0".to_owned(), seen: 3, version: 2 };
        assert_eq!(newest.allows(&both), Err(behind));
        newest.heard("orders-1", &told(2, 1));
        let old = Trouble::ConfigOld { name: "orders-1".to_owned(), promised: Epoch(2), epoch: Epoch(1) };
        assert_eq!(newest.allows(&both), Err(old));
    }

    #[test]
    fn a_newer_epoch_alone_does_not_hide_a_version_that_was_lost() {
        let (mut newest, (both, alone)) = (Newest::default(), shrunk());
        let shrunk_and_more = config::next(&alone, &Change::SetMinInSync(2)).unwrap();
        newest.learn(&shrunk_and_more);
        let promote = Change::Promote { to: B, session: S, keep: vec![B] };
        let forked = config::next(&both, &promote).unwrap();
        newest.learn(&forked);
        assert!(newest.allows(&forked).is_err(), "a broker promoted itself by the older one");
    }

    #[test]
    fn a_loss_that_was_accepted_is_a_new_beginning() {
        let (mut newest, (both, _)) = (Newest::default(), shrunk());
        newest.heard("orders-0", &told(1, 9));
        let accepted = Config { epoch: Epoch(2), unclean: Some(Epoch(2)), ..both };
        newest.learn(&accepted);
        assert_eq!(newest.allows(&accepted), Ok(()));
        newest.heard("orders-0", &told(2, 9));
        newest.learn(&accepted);
        assert!(newest.allows(&accepted).is_err(), "it was accepted before");
    }

    #[test]
    fn a_shard_of_stores_that_are_all_new_is_another_one() {
        let (mut newest, (both, alone)) = (Newest::default(), shrunk());
        newest.learn(&alone);
        let anew = of(&[StoreId(0xC), StoreId(0xD)]);
        newest.learn(&anew);
        assert_eq!(newest.allows(&anew), Ok(()));
        assert!(newest.allows(&both).is_ok(), "what was before is forgotten");
    }
}
