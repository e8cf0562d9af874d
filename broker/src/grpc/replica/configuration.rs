//! A version of the configuration, as a replica tells it.

use rq_core::config::{Config, FlushMode, Member};
use rq_core::ids::{Session, StoreId};
use rq_proto::reliablequeue as pb;

pub(super) fn told(config: &Config) -> pb::ShardConfig {
    let copy = |(store, session): (&StoreId, &Session)| pb::CopyInSync {
        store_id: store.to_string(),
        session: session.0,
    };
    let member = |(store, member): (&StoreId, &Member)| pb::ShardMember {
        store_id: store.to_string(),
        name: member.name.clone(),
        address: member.address.clone(),
    };
    pb::ShardConfig {
        version: config.version,
        epoch: config.epoch.0,
        master: config.master.to_string(),
        in_sync: config.in_sync.iter().map(copy).collect(),
        members: config.members.iter().map(member).collect(),
        min_in_sync: config.min_in_sync.into(),
        flush_mode: flush_mode(config.flush_mode).into(),
        unclean_epoch: config.unclean.map_or(0, |epoch| epoch.0),
    }
}

pub(super) const fn flush_mode(mode: FlushMode) -> pb::FlushMode {
    match mode {
        FlushMode::Sync => pb::FlushMode::Sync,
        FlushMode::Async => pb::FlushMode::Async,
    }
}
