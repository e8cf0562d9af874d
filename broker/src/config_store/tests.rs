//! One replica whose config store is in memory, and may be away.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rq_core::config::{Change, Member, next};
use rq_core::ids::StoreId;
use tempfile::TempDir;
use thiserror::Error;
use tokio::sync::mpsc;

use super::*;
use crate::engine::EngineOptions;
use crate::engine::cluster::{Cluster, ReplicaView, Role, Rules};

const SESSION: Session = Session(1);
const MASTER: StoreId = StoreId(0xA);
/// Much longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Error)]
#[error("it is away")]
struct Away;

/// What the store has; none while it is away.
type Held = Option<Option<Config>>;

/// A store that tells each change of what it has.
struct Memory {
    held: Arc<Mutex<Held>>,
    changes: watch::Receiver<u32>,
    looks: usize,
}

impl Memory {
    fn hold(&self, held: Held) {
        *self.held.lock().unwrap() = held;
    }

    fn held(&self) -> Result<Option<Config>, Away> {
        self.held.lock().unwrap().clone().ok_or(Away)
    }
}

impl ConfigStore for Memory {
    type Error = Away;

    async fn read(&mut self) -> Result<Option<Config>, Away> {
        self.held()
    }

    async fn compare_and_set(&mut self, new: &Config) -> Result<Written, Away> {
        let mut held = self.held.lock().unwrap();
        match held.as_mut().ok_or(Away)? {
            Some(old) if old.version >= new.version => Ok(Written::Conflict(old.clone())),
            old => {
                *old = Some(new.clone());
                Ok(Written::Done)
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Config>, Away> {
        if self.looks > 0 && self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.looks += 1;
        self.held()
    }
}

fn join(data: &TempDir) -> (Engine, mpsc::UnboundedReceiver<ConfigRequest>) {
    let log = rq_log::Options {
        segment_bytes: 1 << 20,
        allow_unsafe_filesystem: true,
        ..rq_log::Options::default()
    };
    let options = EngineOptions { data: data.path().to_owned(), log, ..EngineOptions::default() };
    let (config, requests) = mpsc::unbounded_channel();
    let rules = Rules { self_promotion: false, ..Rules::default() };
    (Engine::join(&options, Cluster { session: SESSION, config, rules }).unwrap(), requests)
}

/// A watch that nothing drives, over a store that has this configuration, in which the replica is.
fn watch(data: &TempDir, config: &Config) -> (Watch<Memory>, mpsc::UnboundedReceiver<ConfigRequest>) {
    let (engine, requests) = join(data);
    let registration = Registration::new(MASTER, config.members[&MASTER].clone());
    let (own, _) = Own::new(KeptConfig::open(data.path()).unwrap(), registration);
    let held = Arc::new(Mutex::new(Some(Some(config.clone()))));
    let store = Memory { held, changes: watch::channel(0).1, looks: 0 };
    (Watch::new(store, Some(own), engine), requests)
}

/// A replica that registers as `10.0.0.2:8083`.
struct Replica {
    engine: Engine,
    kept: Kept,
    held: Arc<Mutex<Held>>,
    change: watch::Sender<u32>,
    data: TempDir,
}

impl Replica {
    fn start(data: TempDir, held: Held) -> Self {
        let (engine, requests) = join(&data);
        let registration = Registration::new(engine.identity().store_id, here());
        let (own, kept) = Own::new(KeptConfig::open(data.path()).unwrap(), registration);
        let (held, (change, changes)) = (Arc::new(Mutex::new(held)), watch::channel(0));
        let store = Memory { held: Arc::clone(&held), changes, looks: 0 };
        start(store, Some(own), requests, engine.clone()).unwrap();
        Self { engine, kept, held, change, data }
    }

    fn hold(&self, held: Held) {
        *self.held.lock().unwrap() = held;
        self.change.send_modify(|changes| *changes += 1);
    }

    async fn sees(&self, what: &str, seen: impl FnMut(&ReplicaView) -> bool) -> ReplicaView {
        let mut view = self.engine.view();
        let seen = tokio::time::timeout(PATIENCE, view.wait_for(seen)).await;
        seen.unwrap_or_else(|_| panic!("never seen: {what}; last {:?}", self.engine.view().borrow()))
            .unwrap()
            .clone()
    }

    async fn follows(&self, version: u64) {
        let follows = |view: &ReplicaView| {
            matches!(view.role, Role::Slave(_))
                && view.config.as_ref().is_some_and(|config| config.version == version)
        };
        self.sees("a slave of that version", follows).await;
    }

    async fn stop(self) -> TempDir {
        self.engine.stop().await;
        self.data
    }
}

fn here() -> Member {
    Member { name: "orders-1".to_owned(), address: "10.0.0.2:8083".to_owned() }
}

fn formed() -> Config {
    let member = Member { name: "orders-0".to_owned(), address: "10.0.0.1:8083".to_owned() };
    Config::form(MASTER, SESSION, [(MASTER, member)].into(), 1)
}

fn touched(config: &Config) -> Config {
    next(config, &Change::Touch { by: (config.master, config.epoch) }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_registers_once_and_keeps_what_it_acts_on() {
    let replica = Replica::start(TempDir::new().unwrap(), Some(Some(formed())));
    replica.follows(2).await;
    let registered = replica.held.lock().unwrap().clone().flatten().unwrap();
    let store = replica.engine.identity().store_id;
    assert_eq!(registered.members.get(&store), Some(&here()));
    assert_eq!(KeptConfig::open(replica.data.path()).unwrap().newest(), Some(&registered));
    assert_eq!(*replica.kept.borrow(), Some(registered.clone()));
    let removed = next(&registered, &Change::Remove { store }).unwrap();
    replica.hold(Some(Some(removed.clone())));
    replica.follows(3).await;
    let after = touched(&removed);
    replica.hold(Some(Some(after.clone())));
    replica.follows(4).await;
    assert_eq!(replica.held.lock().unwrap().clone(), Some(Some(after)), "who is removed stays so");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_follows_its_master_while_the_store_is_away() {
    let replica = Replica::start(TempDir::new().unwrap(), Some(Some(formed())));
    replica.follows(2).await;
    let data = replica.stop().await;
    let again = Replica::start(data, None);
    again.follows(2).await;
    again.hold(Some(Some(touched(&again.kept.borrow().clone().unwrap()))));
    again.follows(3).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_back_or_is_emptied_is_not_believed_and_a_late_look_is_no_such_thing() {
    let data = TempDir::new().unwrap();
    let (second, third) = (touched(&formed()), touched(&touched(&formed())));
    let (mut watch, _requests) = watch(&data, &third);
    watch.on_look(Ok(Some(third.clone()))).await;
    assert_eq!(watch.newest.config(), Some(&third));

    watch.on_look(Ok(Some(second.clone()))).await;
    assert!(!watch.refused, "it was on its way while the third was stored");
    let other = Config { min_in_sync: 2, ..third.clone() };
    for found in [second, other] {
        watch.store.hold(Some(Some(found.clone())));
        watch.on_look(Ok(Some(found.clone()))).await;
        assert!(watch.refused, "{found:?}");
        let conflicts = watch.propose(&touched(&formed())).await;
        assert_eq!(conflicts, Answer::Unknown);
        assert_eq!(watch.newest.config(), Some(&third));
        watch.on_look(Ok(Some(third.clone()))).await;
    }
    watch.store.hold(Some(None));
    watch.on_look(Ok(None)).await;
    assert!(watch.gone);
    watch.store.hold(Some(Some(touched(&third))));
    watch.on_look(Ok(Some(touched(&third)))).await;
    assert!(!watch.gone && !watch.refused);
    assert_eq!(KeptConfig::open(data.path()).unwrap().newest(), Some(&touched(&third)));
    watch.engine.stop().await;
}
