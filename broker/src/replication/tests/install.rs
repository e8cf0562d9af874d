//! A slave whose log ends before that of the master starts: new, or away for too long.

use std::convert::Infallible;

use rq_core::ids::Lsn;
use rq_core::queue::request::{CreateGroup, Subscribe};
use rq_core::queue::settings::GroupSettings;
use rq_core::queue::{State, checkpoint};
use rq_log::{OpenError, Recovery, Snapshot, StdDisk};

use super::*;

/// The first segments are dropped soon.
fn dropping_much() -> EngineOptions {
    let mut options = options();
    options.log.segment_bytes = 1 << 20;
    options.checkpoint_bytes = 256 << 10;
    options.retention.keep_ms = 0;
    options
}

/// How many messages the group has not consumed.
const OWED: u32 = 3;

impl Broker {
    fn log_start(&self) -> Lsn {
        self.engine.figures().start
    }

    /// Sends to a group that does not consume for now.
    async fn send_what_is_kept(&self) {
        self.create_topic("kept").await;
        let group = GroupSettings::default();
        self.engine.create_group(CreateGroup { name: "g".into(), settings: group }).await.unwrap().unwrap();
        let subscribe = Subscribe { group: "g".into(), topics: vec!["kept".into()] };
        self.engine.subscribe(subscribe).await.unwrap().unwrap();
        for number in 0..OWED {
            self.send_to("kept", &format!("kept{number}"), 10_000 + number as usize).await;
        }
    }

    /// Sends what nobody wants until the log starts at `start`.
    async fn send_until_dropped(&self, start: Lsn) {
        let dropping = async {
            for number in 0.. {
                if self.log_start() >= start {
                    return;
                }
                self.send_to("t", &format!("to {start}: {number}"), 100_000).await;
            }
        };
        tokio::time::timeout(PATIENCE, dropping).await.expect("the log is dropped in time");
    }

    /// The bodies that the group gets.
    async fn receive_what_is_kept(&self) -> Vec<usize> {
        let mut bodies = Vec::new();
        for delivery in self.receive("kept").await {
            let stored = self.engine.read(delivery.lsn).await.unwrap();
            bodies.push(MessageContent::decode(&stored.content).unwrap().body.len());
        }
        bodies
    }
}

/// Opens what a stopped broker has left.
async fn open(data: &TempDir) -> Recovery<StdDisk> {
    let opening = async {
        loop {
            match rq_log::open(StdDisk, data.path(), dropping_much().log) {
                // A task that ends still has a reader.
                Err(OpenError::Locked(_)) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.expect("the directory is free in time")
}

/// Where the log that a stopped broker has left ends, and the hash of the state that it leads to.
async fn left(data: TempDir) -> (Lsn, u128) {
    let mut recovery = open(&data).await;
    let found = recovery.checkpoint().unwrap();
    let mut state = found.map_or_else(State::default, |found| checkpoint::decode(&found.state).unwrap());
    let replayed = recovery.replay(|frame| {
        for (lsn, record) in frame.records() {
            state.apply_bytes(lsn, frame.log_time, record).unwrap();
        }
        state.applied_up_to(frame.end());
        Ok::<_, Infallible>(())
    });
    replayed.unwrap();
    (recovery.finish().unwrap().end(), state.hash())
}

/// The slave becomes master, has everything, and the logs of both are the same after that.
async fn switch_over(master: Broker, slave: Broker) {
    master.follow();
    master.engine.tell(News::HandOver { to: slave.store(), leaves: false });
    master.sees("a master that became slave", |view| !view.serves()).await;
    let successor = |config: &Option<Config>| config.clone().filter(|config| config.master == slave.store());
    let deposed = master.sees("another master", |view| successor(&view.config).is_some()).await;
    slave.engine.tell(News::Config(deposed.config.unwrap()));
    slave.sees("the slave as master", ReplicaView::serves).await;
    assert_eq!(
        slave.receive_what_is_kept().await,
        (0..OWED as usize).map(|n| 10_000 + n).collect::<Vec<_>>()
    );
    slave.has_in_sync(&master).await;
    slave.send(1).await;
    let (new, old) = (slave.engine.progress(), master.engine.progress());
    assert_eq!(new.borrow().end, old.borrow().end, "both copies count");
    let (slave, master) = (slave.stop().await, master.stop().await);
    assert_eq!(left(slave).await, left(master).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_slave_gets_what_is_left_of_the_masters_log_and_can_succeed_it() {
    let (master, slave) = pair_with(&Stored::default(), &dropping_much()).await;
    master.send_what_is_kept().await;
    master.send_until_dropped(Lsn(3 << 20)).await;
    slave.follow();
    master.has_in_sync(&slave).await;
    assert!(slave.log_start() >= Lsn(3 << 20), "the slave's log starts at {}", slave.log_start());
    master.send(1).await;
    switch_over(master, slave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_was_away_for_too_long_begins_anew_as_often_as_it_takes() {
    let (mut master, slave) = pair_with(&Stored::default(), &dropping_much()).await;
    master.send_what_is_kept().await;
    slave.follow();
    for segments in [2, 5, 8] {
        master.has_in_sync(&slave).await;
        let had = slave.engine.progress().borrow().end;
        master.serving.cancel();
        let unlinked =
            |view: &ReplicaView| view.config.as_ref().is_none_or(|config| config.in_sync.len() < 2);
        master.sees("the slave out of the set", unlinked).await;
        master.send_until_dropped(had.plus(segments << 20)).await;
        master.serve().await;
    }
    master.has_in_sync(&slave).await;
    switch_over(master, slave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_was_stopped_in_the_middle_of_a_copy_begins_it_again() {
    let stored = Stored::default();
    let (master, slave) = pair_with(&stored, &dropping_much()).await;
    master.send_what_is_kept().await;
    master.send_until_dropped(Lsn(3 << 20)).await;
    let (store, data) = (slave.store(), slave.stop().await);
    let file = master.engine.snapshot().await.unwrap().unwrap();
    let (shard, bytes) = (master.engine.identity().shard, file.read(0, usize::MAX).unwrap());
    let snapshot = Snapshot::new("test", shard, file.head(), bytes.to_vec()).unwrap();
    drop(open(&data).await.install(&snapshot).unwrap());

    let slave = Broker::start_on(data, &stored, dropping_much()).await;
    assert_eq!((slave.store(), slave.log_start()), (store, Lsn(0)));
    let config = stored.lock().unwrap().clone().unwrap();
    slave.engine.tell(News::Config(config));
    slave.follow();
    master.has_in_sync(&slave).await;
    assert!(slave.log_start() >= Lsn(3 << 20), "the slave's log starts at {}", slave.log_start());
    let (master, slave) = (master.stop().await, slave.stop().await);
    assert_eq!(left(slave).await, left(master).await);
}
