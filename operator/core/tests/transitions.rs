//! One table of transitions: what `config::check` allows, the rules of the CRD allow, and nothing else.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use kube::CustomResourceExt as _;
use kube_cel::Validator;
use rq_core::config::{self, Change, Config, FlushMode, Member};
use rq_core::ids::{Epoch, Session, StoreId};
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use serde_json::{Value, json};

const STORES: [StoreId; 3] = [StoreId(1), StoreId(2), StoreId(3)];

fn member(store: StoreId) -> Member {
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

/// Every change of a shard of three, from every set it can have.
fn every_change() -> Vec<(Config, Config)> {
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

struct Crd {
    schema: Value,
    validator: Validator,
}

impl Crd {
    fn new() -> Self {
        let crd = serde_json::to_value(QueueShard::crd()).unwrap();
        let schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        Self { schema, validator: Validator::new() }
    }

    fn allows(&self, old: &QueueShardSpec, new: &QueueShardSpec) -> Result<(), String> {
        let object = |spec: &QueueShardSpec| json!({ "spec": spec });
        let allowed = self.validator.validate(&self.schema, &object(new), Some(&object(old)));
        allowed.map_err(|errors| format!("{errors:?}"))
    }
}

fn same_verdict(crd: &Crd, old: &Config, new: &Config) -> bool {
    let ours = config::check(old, new);
    let theirs = crd.allows(&old.into(), &new.into());
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{old:#?}\n{new:#?}\n{ours:?}\n{theirs:?}");
    ours.is_ok()
}

#[test]
fn the_crd_and_the_core_agree_on_every_pair_of_small_configurations() {
    let crd = Crd::new();
    // All old ones that can be, and of the new ones a part: each bit alone and mixed with others.
    let olds = (0..1 << 11).step_by(11).map(small).filter(|config| {
        config.in_sync.contains_key(&config.master)
            && config.in_sync.keys().all(|store| config.members.contains_key(store))
    });
    let (mut legal, mut all) = (0, 0);
    for (nth, old) in olds.enumerate() {
        // An update that changes nothing is none: the rules let it through, and nobody writes it.
        for new in (nth as u32 % 29..1 << 11).step_by(29).map(small).filter(|new| *new != old) {
            all += 1;
            legal += u32::from(same_verdict(&crd, &old, &new));
        }
    }
    eprintln!("{legal} of {all} transitions are legal");
    assert!(legal > 20 && all > 3_000);
}

#[test]
fn every_change_that_the_core_makes_is_allowed() {
    let crd = Crd::new();
    let rows = every_change();
    for (old, new) in &rows {
        assert!(same_verdict(&crd, old, new));
        assert_eq!(
            QueueShardSpec::from(new).config().unwrap().as_ref(),
            Some(new),
            "it comes back as it was"
        );
    }
    assert!(rows.len() > 500, "{}", rows.len());
}

#[test]
fn a_shard_is_formed_once_and_never_emptied() {
    let crd = Crd::new();
    let unformed = QueueShardSpec::unformed();
    assert_eq!(unformed.config(), Ok(None));
    let members: BTreeMap<_, _> = STORES.map(|store| (store, member(store))).into();
    let formed = Config::form(STORES[0], Session(7), members, 1);
    let spec = QueueShardSpec::from(&formed);
    crd.allows(&unformed, &spec).unwrap();
    crd.allows(&spec, &spec).unwrap();
    assert!(crd.allows(&spec, &unformed).is_err());
    for wrong in [
        QueueShardSpec { epoch: 2, ..spec.clone() },
        QueueShardSpec { version: 2, ..spec.clone() },
        QueueShardSpec { master: String::new(), ..spec.clone() },
        QueueShardSpec { unclean_epoch: 1, ..spec.clone() },
        QueueShardSpec { in_sync: vec![], ..spec },
    ] {
        assert!(crd.allows(&unformed, &wrong).is_err(), "{wrong:?}");
    }
}
