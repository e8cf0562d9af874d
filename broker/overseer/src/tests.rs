//! What is decided, case by case.

use rq_core::config::{Illegal, next};
use rq_core::failover::DETECT_TIMEOUT_MS;
use rq_core::ids::Session;
use rq_proto::reliablequeue as pb;

use super::*;

const A: StoreId = StoreId(0xA);
const B: StoreId = StoreId(0xB);
const C: StoreId = StoreId(0xC);
const S: Session = Session(7);

fn status(store: StoreId) -> pb::ReplicaStatus {
    pb::ReplicaStatus { store_id: store.to_string(), session: S.0, ..pb::ReplicaStatus::default() }
}

/// A replica that has answered at time 1000.
fn seen(number: u16, status: &pb::ReplicaStatus) -> Seen {
    let told = Told::read(status, 1_000);
    assert!(told.is_some());
    Seen {
        running: true,
        told,
        ..Seen::new(format!("r{number}"), format!("127.0.0.1:{}", 8082 + 2 * number))
    }
}

fn new_pair() -> [Seen; 2] {
    [seen(0, &status(A)), seen(1, &status(B))]
}

/// A is master; both are in sync.
fn pair() -> (Config, [Seen; 2]) {
    let Ok(First::Form(config)) = first(&new_pair(), 1) else { panic!("two new stores make a cluster") };
    let expand = Change::Expand { by: (A, Epoch(1)), add: B, session: S };
    let common = |store| pb::ReplicaStatus {
        epoch: 1,
        promised: 1,
        log_epoch: 1,
        config_version: 2,
        end_lsn: 100,
        durable_lsn: 100,
        ..status(store)
    };
    let master = pb::ReplicaStatus { role: pb::Role::Master.into(), serving: true, ..common(A) };
    let slave = pb::ReplicaStatus { role: pb::Role::Slave.into(), master_silent_ms: Some(100), ..common(B) };
    (next(&config, &expand).unwrap(), [seen(0, &master), seen(1, &slave)])
}

/// The configuration and what keeps `membership` busy, until nothing is left to change.
fn settled(mut config: Config, seen: &[Seen]) -> Result<Config, Illegal> {
    while let Some(change) = membership(&config, seen) {
        config = next(&config, &change)?;
    }
    Ok(config)
}

fn promoted(decision: &Decision) -> Option<StoreId> {
    match decision {
        Decision::Promote { to, .. } => Some(*to),
        _ => None,
    }
}

#[test]
fn new_stores_make_a_cluster_whose_master_is_the_first() {
    let Ok(First::Form(config)) = first(&new_pair(), 1) else { panic!("not formed") };
    assert_eq!((config.version, config.epoch, config.master), (1, Epoch(1), A));
    assert_eq!(config.in_sync, [(A, S)].into(), "the slave has to catch up first");
    assert_eq!(config.members[&B], Member { name: "r1".to_owned(), address: "127.0.0.1:8084".to_owned() });
    assert_eq!(config.min_in_sync, 1);
}

#[test]
fn two_copies_must_be_in_sync_once_there_are_three() {
    let three = [seen(0, &status(A)), seen(1, &status(B)), seen(2, &status(C))];
    let formed = |seen: &[Seen]| match first(seen, min_in_sync(seen.len())) {
        Ok(First::Form(config)) => config.min_in_sync,
        other => panic!("not formed: {other:?}"),
    };
    assert_eq!([1, 2, 3].map(|replicas| formed(&three[..replicas])), [1, 1, 2]);
}

#[test]
fn no_cluster_is_made_before_every_store_has_answered() {
    let mut pair = new_pair();
    pair[1].told = None;
    assert_eq!(first(&pair, 1), Ok(First::Wait));
    assert_eq!(first(&[], 1), Ok(First::Wait));
}

#[test]
fn a_configuration_that_is_gone_is_never_made_anew_over_a_used_store() {
    let used = [
        pb::ReplicaStatus { config_version: 3, ..status(B) },
        pb::ReplicaStatus { end_lsn: 64, ..status(B) },
        pb::ReplicaStatus { durable_lsn: 64, ..status(B) },
        pb::ReplicaStatus { log_epoch: 1, ..status(B) },
        pb::ReplicaStatus { promised: 1, ..status(B) },
    ];
    for used in used {
        let mut pair = [seen(0, &status(A)), seen(1, &used)];
        assert_eq!(first(&pair, 1), Err(Trouble::ConfigLost("r1".to_owned())));
        pair[0].told = None;
        assert_eq!(
            first(&pair, 1),
            Err(Trouble::ConfigLost("r1".to_owned())),
            "known before all have answered"
        );
    }
}

#[test]
fn a_configuration_older_than_a_promise_is_refused() {
    let (config, mut pair) = pair();
    assert_eq!(is_newest(&config, &pair), Ok(()));
    pair[1] = seen(1, &pb::ReplicaStatus { promised: 2, ..status(B) });
    let old = Trouble::ConfigOld { name: "r1".to_owned(), promised: Epoch(2), epoch: Epoch(1) };
    assert_eq!(is_newest(&config, &pair), Err(old));
}

#[test]
fn a_master_whose_process_ended_is_replaced_at_once() {
    let (config, mut pair) = pair();
    assert_eq!(promotion(&config, &pair, DETECT_TIMEOUT_MS, 1_000), Decision::Wait(None));
    pair[0] = Seen { running: false, told: None, ..pair[0].clone() };
    assert_eq!(
        promotion(&config, &pair, DETECT_TIMEOUT_MS, 1_000),
        Decision::Promote { to: B, session: S, keep: vec![B] }
    );
}

#[test]
fn a_master_that_runs_again_is_not_dead() {
    let (config, mut pair) = pair();
    pair[0] = Seen { told: None, silent_since: Some(1_000), ..pair[0].clone() };
    assert_eq!(promoted(&promotion(&config, &pair, DETECT_TIMEOUT_MS, 1_000)), None);
}

#[test]
fn a_master_that_hangs_is_replaced_when_the_slave_hears_nothing_either() {
    let (config, mut pair) = pair();
    pair[0].silent_since = Some(1_000);
    assert_eq!(
        promotion(&config, &pair, DETECT_TIMEOUT_MS, 2_999),
        Decision::Wait(Some(3_000)),
        "900 was the slave's last word"
    );
    assert_eq!(promoted(&promotion(&config, &pair, DETECT_TIMEOUT_MS, 3_000)), Some(B));
}

#[test]
fn a_slave_that_does_not_answer_or_has_halted_is_not_promoted() {
    let (config, healthy) = pair();
    let dead = Seen { running: false, told: None, ..healthy[0].clone() };
    let silent = Seen { silent_since: Some(900), ..healthy[1].clone() };
    let halted = seen(1, &pb::ReplicaStatus { halted: "its log is damaged".to_owned(), ..status(B) });
    for slave in [silent, halted] {
        let decision = promotion(&config, &[dead.clone(), slave], DETECT_TIMEOUT_MS, 1_000);
        assert_eq!(decision, Decision::Stalled(Stalled::NoSlave));
    }
}

#[test]
fn a_lost_disk_of_a_slave_is_registered_anew_and_its_old_store_removed() {
    let (config, pair) = pair();
    let lost = [pair[0].clone(), seen(1, &status(C))];
    let config = settled(config, &lost).unwrap();
    assert_eq!(config.members.keys().copied().collect::<Vec<_>>(), [A, C]);
    assert_eq!(config.in_sync, [(A, S)].into());
}

#[test]
fn a_copy_of_the_set_is_not_removed_while_no_master_serves() {
    let (config, pair) = pair();
    let new = seen(1, &status(C));
    let kept =
        |master: Seen| settled(config.clone(), &[master, new.clone()]).unwrap().in_sync.contains_key(&B);
    let starting = pb::ReplicaStatus { epoch: 1, role: pb::Role::Master.into(), ..status(A) };
    assert!(!kept(pair[0].clone()));
    assert!(kept(Seen { running: false, told: None, ..pair[0].clone() }), "the old volume may come back");
    assert!(kept(Seen { silent_since: Some(900), ..pair[0].clone() }));
    assert!(kept(seen(0, &starting)));
    assert!(kept(seen(0, &pb::ReplicaStatus { serving: true, epoch: 2, ..starting })), "of another epoch");
}

#[test]
fn a_lost_disk_of_the_master_ends_its_mastership_before_its_store_is_removed() {
    let (config, pair) = pair();
    let lost = [seen(0, &status(C)), pair[1].clone()];
    let registered = settled(config, &lost).unwrap();
    assert!(registered.members.contains_key(&A), "the master is not removed");
    let decision = promotion(&registered, &lost, DETECT_TIMEOUT_MS, 1_000);
    let Decision::Promote { to, session, keep } = decision else { panic!("{decision:?}") };
    let config = next(&registered, &Change::Promote { to, session, keep }).unwrap();
    let config = settled(config, &lost).unwrap();
    assert_eq!((config.master, config.members.len()), (B, 2));
    assert!(!config.members.contains_key(&A));
}

#[test]
fn the_only_copy_is_never_removed_though_its_disk_is_gone() {
    let (config, pair) = pair();
    let alone = next(&config, &Change::Shrink { by: (A, Epoch(1)), remove: B }).unwrap();
    let lost = [seen(0, &status(C)), pair[1].clone()];
    let config = settled(alone, &lost).unwrap();
    assert!(config.members.contains_key(&A) && config.in_sync.contains_key(&A));
    assert_eq!(promotion(&config, &lost, DETECT_TIMEOUT_MS, 9_000), Decision::Stalled(Stalled::OnlyCopy));
}

#[test]
fn a_replica_at_another_address_is_registered_there() {
    let (config, mut pair) = pair();
    assert_eq!(membership(&config, &pair), None);
    pair[1].address = "127.0.0.1:9084".to_owned();
    let moved = settled(config.clone(), &pair).unwrap();
    assert_eq!(moved.members[&B].address, "127.0.0.1:9084");
    assert_eq!(moved.in_sync, config.in_sync, "it is the same store");
    pair[1].address = "127.0.0.1:9086".to_owned();
    pair[1].silent_since = Some(1_000);
    assert_eq!(membership(&moved, &pair), None, "what it said may be of an earlier process");
}

#[test]
fn a_lost_configuration_is_known_once_every_member_of_the_newest_has_answered() {
    let (config, mut pair) = pair();
    assert_eq!(kept(&pair), None, "nobody has kept one");
    let keeps = |seen: &mut Seen, config: &Config| {
        if let Some(told) = &mut seen.told {
            told.config = Some(config.clone());
            told.config_version = config.version;
        }
    };
    keeps(&mut pair[1], &config);
    let newer = next(&config, &Change::Touch { by: (A, Epoch(1)) }).unwrap();
    keeps(&mut pair[0], &newer);
    assert_eq!(kept(&pair), Some(&newer));
    pair[1].silent_since = Some(1_000);
    assert_eq!(kept(&pair), None, "the other member may know a newer one");
}

#[test]
fn a_lost_configuration_is_not_known_while_somebody_has_promised_more() {
    let (config, mut pair) = pair();
    for seen in &mut pair {
        if let Some(told) = &mut seen.told {
            told.config = Some(config.clone());
        }
    }
    assert_eq!(kept(&pair), Some(&config));
    if let Some(told) = &mut pair[1].told {
        told.promised = Epoch(2);
    }
    assert_eq!(kept(&pair), None);
}

#[test]
fn a_configuration_behind_what_a_replica_has_seen_is_refused_also_when_it_is_silent_now() {
    let (config, mut pair) = pair();
    pair[1] = seen(1, &pb::ReplicaStatus { promised: 1, config_version: 5, ..status(B) });
    let behind = Trouble::ConfigBehind { name: "r1".to_owned(), seen: 5, version: 2 };
    assert_eq!(is_newest(&config, &pair), Err(behind.clone()));
    pair[1].silent_since = Some(900);
    assert_eq!(is_newest(&config, &pair), Err(behind));
}
