//! One table of transitions: what `config::check` allows, the rules of the CRD allow, and nothing else.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "transitions/rows.rs"]
mod rows;

use std::collections::BTreeMap;

use kube::CustomResourceExt as _;
use kube_cel::Validator;
use rq_core::config::{self, Config};
use rq_core::ids::Session;
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use serde_json::{Value, json};

use self::rows::{STORES, every_change, member, small_pairs};

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
    let pairs = small_pairs();
    let legal = pairs.iter().filter(|(old, new)| same_verdict(&crd, old, new)).count();
    eprintln!("{legal} of {} transitions are legal", pairs.len());
    assert!(legal > 20 && pairs.len() > 3_000);
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
    eprintln!("{} changes", rows.len());
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
