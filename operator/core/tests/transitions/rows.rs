//! Transitions of a shard, legal and illegal. One table for `config::check`, for the rules of the CRD, and for a real API
//! server, which `tests/kind` of the workspace asks: it takes this file as its own.

use std::collections::BTreeMap;

use rq_core::config::{self, Change, Config, FlushMode, Member};
use rq_core::ids::{Epoch, Session, StoreId};

/// The stores of every shard here.
pub(crate) const STORES: [StoreId; 3] = [StoreId(1), StoreId(2), StoreId(3)];

/// A replica.
pub(crate) fn member(store: StoreId) -> Member {
    Member { name: format!("rq-{}", store.0), address: format!("10.0.0.{}:8081", store.0) }
}

/// A configuration from a few bits: who is in the set and in which session, who is master, which epoch and version.
fn small(bits: u32) -> Config {
    let bit = |n: u32| bits >> n & 1 == 1;
    let session = |n| Session(u64::from(bit(n)));
    let in_sync = [(0, 1), (2, 3)].into_iter().zip(STORES).filter(|((here, _), _)| bit(*here));
    let stores = if bit(9) { &STORES[..2] } else { &STORES[1..] };
    Config {
        version: 1 + u64::from(bit(4)),
        epoch: Epoch(1 + u32::from(bit(5)) + 2 * u32::from(bit(10))),
        master: if bit(6) { STORES[0] } else { STORES[1] },
        in_sync: in_sync.map(|((_, which), store)| (store, session(which))).collect(),
        members: stores.iter().map(|store| (*store, member(*store))).collect(),
        min_in_sync: 1,
        flush_mode: if bit(7) { FlushMode::Async } else { FlushMode::Sync },
        unclean: bit(8).then_some(Epoch(2)),
    }
}

/// Pairs of small configurations that may be illegal in any way: of the old ones all that can be, and of the new ones a part,
/// each bit alone and mixed with others. None changes nothing: the rules let that through, and nobody writes it.
pub(crate) fn small_pairs() -> Vec<(Config, Config)> {
    let olds = (0..1 << 11).step_by(11).map(small).filter(|config| {
        config.in_sync.contains_key(&config.master)
            && config.in_sync.keys().all(|store| config.members.contains_key(store))
    });
    let pairs = olds.enumerate().flat_map(|(nth, old)| {
        let news = (nth as u32 % 29..1 << 11).step_by(29).map(small);
        news.map(move |new| (old.clone(), new)).collect::<Vec<_>>()
    });
    pairs.filter(|(old, new)| old != new).collect()
}

/// Every change of a shard of three, from every set it can have.
pub(crate) fn every_change() -> Vec<(Config, Config)> {
    let members: BTreeMap<_, _> = STORES.map(|store| (store, member(store))).into();
    let formed = Config::form(STORES[0], Session(7), members, 1);
    let mut rows = Vec::new();
    let mut olds = vec![formed];
    for _ in 0..3 {
        let made: Vec<_> =
            olds.iter().flat_map(|old| changes_of(old).into_iter().map(|new| (old.clone(), new))).collect();
        olds = made.iter().map(|(_, new)| new.clone()).step_by(1 + made.len() / 100).collect();
        rows.extend(made);
    }
    rows
}

fn changes_of(old: &Config) -> Vec<Config> {
    let by = (old.master, old.epoch);
    let mut changes = Vec::new();
    for store in STORES {
        for session in [Session(7), Session(8)] {
            for keep in [vec![], STORES.to_vec()] {
                changes.push(Change::Promote { to: store, session, keep });
            }
            changes.push(Change::Expand { by, add: store, session });
            changes.push(Change::AcceptDataLoss { seen: old.epoch, to: store, session });
        }
        changes.extend([Change::Shrink { by, remove: store }, Change::Remove { store }]);
    }
    changes.extend([FlushMode::Sync, FlushMode::Async].map(|mode| Change::SetFlushMode { by, mode }));
    changes.iter().filter_map(|change| config::next(old, change).ok()).collect()
}
