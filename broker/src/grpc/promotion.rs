//! What is checked before a person's wish for another master goes to the engine. The config store checks again: it takes
//! no promotion that its rules forbid.

use rq_core::config::{Config, Member};
use rq_core::ids::{Epoch, Session, ShardId, StoreId};
use tonic::Status;

use crate::engine::Engine;
use crate::engine::cluster::{News, ReplicaView};

/// For so long a master must have been silent before anybody may say that it is gone for good, in ms.
const GONE_AFTER_MS: u64 = 5_000;

/// Begins to make this store the master, in the master's process.
pub(super) fn hand_over(engine: &Engine, to: StoreId) -> Result<(), Status> {
    let view = engine.view().borrow().clone();
    if !view.serves() {
        let master = view.master_address().unwrap_or("nobody").to_owned();
        return Err(Status::failed_precondition(format!("this replica is not the master: ask {master}")));
    }
    let in_sync = view.config.is_some_and(|config| config.in_sync.contains_key(&to));
    if !in_sync || to == engine.identity().store_id {
        return Err(Status::failed_precondition(format!(
            "{to} is no slave of the in-sync set: see `rq status` for who is"
        )));
    }
    engine.tell(News::HandOver { to, leaves: false });
    Ok(())
}

/// As [`hand_over`], to the replica of this name. Nothing is to be done if it is the master already.
pub(super) fn promote(engine: &Engine, name: &str) -> Result<(), Status> {
    let config = engine.view().borrow().config.clone();
    let config = config.ok_or_else(|| Status::failed_precondition("there is no configuration yet: wait"))?;
    let store = named(&config, name).ok_or_else(|| {
        let names = names(config.members.values());
        Status::not_found(format!("there is no replica {name:?}: the replicas are {names}"))
    })?;
    if store == config.master {
        return Ok(());
    }
    if !config.in_sync.contains_key(&store) {
        let in_sync = names(config.in_sync.keys().filter_map(|store| config.members.get(store)));
        return Err(Status::failed_precondition(format!(
            "{name} is not in sync, so that it may lack acknowledged messages: wait until `rq status` shows it in \
             sync ({in_sync} now)"
        )));
    }
    hand_over(engine, store)
}

/// The store of this name. A new disk is another store of the same name until the old one is removed: the one in sync is
/// meant then.
fn named(config: &Config, name: &str) -> Option<StoreId> {
    let named = config.members.iter().filter(|(_, member)| member.name == name).map(|(store, _)| *store);
    named.max_by_key(|store| config.in_sync.contains_key(store))
}

fn names<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    let mut names: Vec<&str> = members.map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    names.join(", ")
}

/// Whose word it was, and about what.
pub(super) struct Acceptance {
    pub(super) shard: u32,
    pub(super) epoch: Epoch,
    /// Where it came from, for the log.
    pub(super) by: String,
}

/// Begins to make this replica the master of what it has.
pub(super) fn accept_data_loss(
    engine: &Engine,
    session: Session,
    acceptance: &Acceptance,
) -> Result<(), Status> {
    let Acceptance { shard, epoch, by } = acceptance;
    let (view, identity) = (engine.view().borrow().clone(), engine.identity());
    may_accept(&view, (identity.shard, identity.store_id, session), *shard, *epoch).map_err(|reason| {
        tracing::warn!(by, shard, epoch = epoch.0, reason, "data loss was to be accepted, and is not");
        Status::failed_precondition(reason)
    })?;
    tracing::error!(
        by,
        shard,
        epoch = epoch.0,
        end = view.end.0,
        "DATA LOSS IS ACCEPTED: this replica is to be master of what it has; what was acknowledged elsewhere is gone"
    );
    engine.tell(News::AcceptDataLoss(*epoch));
    Ok(())
}

/// Why it must not be; nothing if it may.
fn may_accept(
    view: &ReplicaView,
    (own_shard, store, session): (ShardId, StoreId, Session),
    shard: u32,
    epoch: Epoch,
) -> Result<(), String> {
    if let Some(halt) = view.halted {
        return Err(format!("this replica has halted: {halt}"));
    }
    let config =
        view.config.as_ref().ok_or("this replica has seen no configuration: start the config store")?;
    if u32::from(own_shard.0) != shard || config.epoch != epoch || view.promised > epoch {
        let newest = config.epoch.max(view.promised);
        return Err(format!(
            "this is shard {own_shard} in epoch {newest}, not {shard}@{epoch}: look again at what is to be lost, and \
             name {own_shard}@{newest} if it still must be"
        ));
    }
    if view.leads() || config.master == store {
        return Err("this replica is the master already: nothing need be lost".to_owned());
    }
    if config.may_lead(store, session) {
        return Err("this replica has everything that was acknowledged and takes over by itself".to_owned());
    }
    match view.master_silent_ms {
        Some(silent) if silent >= GONE_AFTER_MS => Ok(()),
        _ => Err(format!(
            "the master{} was heard of less than {} s ago: stop it for good before anything is given up",
            master_of(config),
            GONE_AFTER_MS / 1_000
        )),
    }
}

fn master_of(config: &Config) -> String {
    let master = config.members.get(&config.master);
    master.map_or_else(String::new, |member| format!(" {} at {}", member.name, member.address))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::cluster::Role;

    const MASTER: StoreId = StoreId(1);
    const SLAVE: StoreId = StoreId(2);
    const SESSION: Session = Session(0);

    /// A slave outside the set whose master is long gone.
    fn slave() -> ReplicaView {
        let members = BTreeMap::from([(MASTER, Member::default()), (SLAVE, Member::default())]);
        let config = Config { epoch: Epoch(7), ..Config::form(MASTER, SESSION, members, 1) };
        ReplicaView {
            role: Role::Idle,
            config: Some(config),
            promised: Epoch(7),
            master_silent_ms: Some(60_000),
            ..ReplicaView::default()
        }
    }

    fn asked(view: &ReplicaView, shard: u32, epoch: u32) -> Result<(), String> {
        may_accept(view, (ShardId(0), SLAVE, SESSION), shard, Epoch(epoch))
    }

    #[test]
    fn of_two_stores_of_one_name_the_one_in_sync_is_meant() {
        for in_sync in [SLAVE, StoreId(3)] {
            let named_alike = |store| (store, Member { name: "r1".to_owned(), ..Member::default() });
            let members = BTreeMap::from([named_alike(SLAVE), named_alike(StoreId(3))]);
            let mut config = Config::form(MASTER, SESSION, members, 1);
            config.in_sync.insert(in_sync, SESSION);
            assert_eq!(named(&config, "r1"), Some(in_sync));
            assert_eq!(named(&config, "r7"), None);
        }
    }

    #[test]
    fn loss_is_accepted_of_a_slave_outside_the_set_whose_master_is_gone() {
        assert_eq!(asked(&slave(), 0, 7), Ok(()));
    }

    #[test]
    fn loss_is_not_accepted_in_another_epoch_or_shard() {
        assert!(asked(&slave(), 0, 6).unwrap_err().contains("name 0@7"));
        assert!(asked(&slave(), 1, 7).is_err());
        let promised = ReplicaView { promised: Epoch(8), ..slave() };
        assert!(asked(&promised, 0, 7).unwrap_err().contains("epoch 8"));
    }

    #[test]
    fn loss_is_not_accepted_while_the_master_may_live() {
        let heard = ReplicaView { master_silent_ms: Some(GONE_AFTER_MS - 1), ..slave() };
        assert!(asked(&heard, 0, 7).unwrap_err().contains("stop it for good"));
        let never = ReplicaView { master_silent_ms: None, ..slave() };
        assert!(asked(&never, 0, 7).is_err());
    }

    #[test]
    fn loss_is_not_accepted_where_nothing_need_be_lost() {
        let mut in_sync = slave();
        in_sync.config.as_mut().unwrap().in_sync.insert(SLAVE, SESSION);
        assert!(asked(&in_sync, 0, 7).unwrap_err().contains("takes over by itself"));
    }
}
