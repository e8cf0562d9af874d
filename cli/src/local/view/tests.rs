//! What is shown of a cluster whose replicas answer, or do not.

use rq_core::config::{Change, Member, next};
use rq_core::ids::{Epoch, Session, StoreId};
use serde_json::json;

use super::*;
use crate::local::process::Process;

const A: StoreId = StoreId(0xA);
const B: StoreId = StoreId(0xB);
const S: Session = Session(1);

/// r0 is master, both are in sync; their processes are this one.
fn cluster(dir: &tempfile::TempDir) -> (Layout, ClusterFile, Config) {
    let directory = Directory { data: dir.path().to_owned() };
    let asked = crate::local::Cluster {
        directory: directory.clone(),
        replicas: None,
        base_port: Some(9000),
        broker: None,
        auto_create: None,
        allow_unsafe_filesystem: None,
    };
    let mut file = ClusterFile::planned(None, &asked).unwrap();
    for replica in &mut file.replicas {
        replica.process = Process::of(std::process::id());
    }
    let member = |number| {
        let replica: &ReplicaFile = &file.replicas[number];
        Member { name: replica.name.clone(), address: replica.address() }
    };
    let config = Config::form(A, S, [(A, member(0)), (B, member(1))].into(), 1);
    let expand = Change::Expand { by: (A, Epoch(1)), add: B, session: S };
    (Layout::made(&directory).unwrap(), file, next(&config, &expand).unwrap())
}

fn master() -> pb::ReplicaStatus {
    pb::ReplicaStatus {
        store_id: A.to_string(),
        role: pb::Role::Master.into(),
        serving: true,
        durable_lsn: 500,
        commit_lsn: 400,
        ..pb::ReplicaStatus::default()
    }
}

fn slave() -> pb::ReplicaStatus {
    pb::ReplicaStatus {
        store_id: B.to_string(),
        role: pb::Role::Slave.into(),
        phase: pb::Phase::Following.into(),
        durable_lsn: 450,
        commit_lsn: 400,
        ..pb::ReplicaStatus::default()
    }
}

#[test]
fn a_program_is_shown_exactly_what_is_promised() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, file, config) = cluster(&dir);
    let shown = Shown::of(&layout, &file, Some(&config), &[Some(master()), None]);
    let (pid, dir) = (std::process::id(), layout.dir().display().to_string());
    let expected = json!({
        "endpoint": "127.0.0.1:9000",
        "endpoints": ["127.0.0.1:9001", "127.0.0.1:9003"],
        "shard": 0, "epoch": 1, "master": "r0", "inSync": ["r0", "r1"],
        "replicas": [
            {"name": "r0", "pid": pid, "endpoint": "127.0.0.1:9001", "role": "master", "inSync": true,
             "durableLsn": 500, "commitLsn": 400, "dataDir": format!("{dir}/r0")},
            {"name": "r1", "pid": pid, "endpoint": "127.0.0.1:9003", "role": "unknown", "inSync": true,
             "durableLsn": null, "commitLsn": null, "dataDir": format!("{dir}/r1")},
        ],
    });
    assert_eq!(serde_json::to_value(&shown).unwrap(), expected);
}

#[test]
fn a_cluster_is_whole_when_its_master_serves_and_every_copy_is_in_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, file, config) = cluster(&dir);
    let missing = |config: Option<&Config>, answers: &[Option<pb::ReplicaStatus>]| {
        Shown::of(&layout, &file, config, answers).missing()
    };
    assert_eq!(missing(Some(&config), &[Some(master()), Some(slave())]), None);
    assert_eq!(missing(None, &[Some(master()), Some(slave())]).unwrap(), "no replica is master yet");
    let taking = pb::ReplicaStatus { serving: false, ..master() };
    let why = missing(Some(&config), &[Some(taking), Some(slave())]).unwrap();
    assert_eq!(why, "r0 is master and does not serve yet");
    let shrunk = next(&config, &Change::Shrink { by: (A, Epoch(1)), remove: B }).unwrap();
    let why = missing(Some(&shrunk), &[Some(master()), Some(slave())]).unwrap();
    assert_eq!(why, "r1 is not in sync yet: following");
}

#[test]
fn a_master_that_has_not_heard_of_its_successor_is_shown_as_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, file, config) = cluster(&dir);
    let config = next(&config, &Change::Promote { to: B, session: S, keep: vec![B] }).unwrap();
    let successor = pb::ReplicaStatus { store_id: B.to_string(), ..master() };
    let shown = Shown::of(&layout, &file, Some(&config), &[Some(master()), Some(successor)]);
    let roles: Vec<_> = shown.replicas.iter().map(|replica| replica.role).collect();
    assert_eq!((roles, shown.in_sync), (vec![Role::Unknown, Role::Master], vec!["r1".to_owned()]));
}

#[test]
fn why_a_replica_halted_stands_below_the_table_and_a_slave_without_a_link_has_no_lag() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, file, config) = cluster(&dir);
    let row = |slave: pb::ReplicaStatus| {
        let shown = Shown::of(&layout, &file, Some(&config), &[Some(master()), Some(slave)]);
        let row = shown.replicas[1].row(Some(500));
        (row[2].clone(), row[6].clone(), shown.replicas[1].halted.clone())
    };
    assert_eq!(row(slave()), ("following".to_owned(), "50 B".to_owned(), None));
    let away = pb::ReplicaStatus { phase: pb::Phase::Greeting.into(), ..slave() };
    assert_eq!(row(away), ("looking for the master".to_owned(), "-".to_owned(), None));
    let halted = pb::ReplicaStatus { halted: "its log parted".to_owned(), ..slave() };
    assert_eq!(row(halted), ("halted".to_owned(), "-".to_owned(), Some("its log parted".to_owned())));
}

#[test]
fn who_looks_is_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, mut file, _) = cluster(&dir);
    std::fs::create_dir(layout.config()).unwrap();
    assert!(hint(&layout, &file).unwrap().contains("the supervisor is gone, and its brokers run on"));
    file.supervisor = Process::of(std::process::id());
    assert_eq!(hint(&layout, &file), None);
    std::fs::remove_dir(layout.config()).unwrap();
    assert!(hint(&layout, &file).unwrap().contains("config is gone: bring it back"));
    std::fs::create_dir(layout.config()).unwrap();
    file.supervisor = None;
    for replica in &mut file.replicas {
        replica.process = None;
    }
    assert_eq!(hint(&layout, &file).unwrap(), "the cluster is not running: start it with `rq local up`");
}

#[test]
fn a_replica_without_a_process_is_shown_without_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, mut file, config) = cluster(&dir);
    file.replicas[1].process = None;
    let shown = Shown::of(&layout, &file, Some(&config), &[Some(master()), None]);
    assert_eq!((shown.replicas[1].pid, &shown.replicas[1].doing), (None, &Doing::NoProcess));
    assert_eq!(shown.slave(), None, "nobody to send a signal to");
}
