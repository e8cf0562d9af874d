//! The states of two replicas, compared at marks of the log.

use rq_core::ids::Lsn;

use super::*;
use crate::engine::Figures;
use crate::engine::compare::Hashed;

impl Broker {
    async fn hash_at(&self, mark: Lsn) -> u128 {
        let mut hashes = self.engine.hashes();
        let at = |hashes: &Vec<(Lsn, u128)>| hashes.iter().any(|(of, _)| *of == mark);
        let seen = tokio::time::timeout(PATIENCE, hashes.wait_for(at)).await;
        let hashes = seen.expect("the hash of a mark").unwrap().clone();
        hashes.iter().find(|(of, _)| *of == mark).unwrap().1
    }

    async fn until(&self, is_so: impl Fn(Figures) -> bool) {
        let waiting = async {
            while !is_so(self.engine.figures()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("not in time: {:?}", self.engine.figures()));
    }
}

/// A master and a slave in sync, whose log has been dropped from its beginning once.
async fn in_sync() -> (Broker, Broker) {
    let mut options = options();
    options.checkpoint_bytes = 256 << 10;
    options.log.segment_bytes = 1 << 20;
    let (master, slave) = pair_with(&Stored::default(), &options).await;
    slave.follow();
    master.has_in_sync(&slave).await;
    for number in 0..20 {
        master.send_to("t", &format!("m{number}"), 100_000).await;
    }
    (master, slave)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_have_the_same_state_at_the_same_mark_and_another_one_at_the_next() {
    let (master, slave) = in_sync().await;
    let mut seen = Vec::new();
    for number in 1..4 {
        let mark = master.engine.mark().await.unwrap();
        let hash = master.hash_at(mark).await;
        assert_eq!(slave.hash_at(mark).await, hash);
        assert!(!seen.contains(&hash), "the state has changed");
        seen.push(hash);
        slave.until(|figures| figures.states_same >= number).await;
        master.send_to("t", &format!("after {number}"), 10).await;
    }
    assert!(slave.engine.mark().await.is_err(), "only the master marks");
    assert_eq!(slave.engine.figures().states_different, 0);
    master.stop().await;
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_whose_state_differs_leaves_the_set_and_copies_the_master_anew() {
    let (master, slave) = in_sync().await;
    let mark = master.engine.mark().await.unwrap();
    slave.hash_at(mark).await;
    let slaves = |view: &ReplicaView| view.config.as_ref().map_or(0, |config| config.in_sync.len() - 1);
    let (mut of_slave, mut of_master) = (slave.engine.view(), master.engine.view());
    // As if the master's state had been another one.
    master.engine.tell(News::Hashed(Hashed { of: mark, hash: 1, took: Duration::ZERO }));
    let halted = of_slave.wait_for(|view| view.halted.is_some());
    let view = tokio::time::timeout(PATIENCE, halted).await.expect("a halt").unwrap().clone();
    assert!(view.halted.unwrap().to_string().contains("not the master's"));
    let out = of_master.wait_for(|view| slaves(view) == 0);
    let view = tokio::time::timeout(PATIENCE, out).await.expect("out of the set").unwrap().clone();
    assert!(slave.engine.view().borrow().halted.is_some(), "it waits until it is not counted on");
    // What the copy begins with must be beyond the lie in the log.
    let lied = master.engine.figures().durable;
    for number in 0..10 {
        master.send_to("t", &format!("later {number}"), 100_000).await;
    }
    master.until(|figures| figures.checkpoint > lied).await;
    slave.engine.tell(News::Config(view.config.unwrap()));
    slave.sees("a new copy", |view| view.halted.is_none()).await;
    master.has_in_sync(&slave).await;
    assert_eq!(slave.engine.figures().states_different, 1);

    let mark = master.engine.mark().await.unwrap();
    assert_eq!(slave.hash_at(mark).await, master.hash_at(mark).await);
    let end = master.engine.figures().durable;
    let read = |broker: &Broker| broker.engine.reader().unwrap().frames(Lsn(0), usize::MAX).unwrap();
    slave.until(|figures| figures.durable >= end).await;
    let (ours, theirs) = (read(&slave), read(&master));
    assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| ours.bytes == theirs.bytes) && ours.len() > 20);
    master.stop().await;
    slave.stop().await;
}
