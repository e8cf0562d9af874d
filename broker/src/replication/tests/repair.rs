//! A segment that was damaged behind a broker's back, found and repaired from the other one.

use std::path::PathBuf;

use rq_core::ids::Lsn;
use rq_core::queue::request::{CreateGroup, Delivery, Subscribe};
use rq_core::queue::settings::GroupSettings;

use super::*;
use crate::engine::{ReadMessageError, ScrubFigures};
use crate::scrub;

const SEGMENT: u64 = 1 << 20;
/// Longer than any test: nothing is scrubbed but what somebody comes upon.
const NEVER: Duration = Duration::from_hours(24 * 7);
const BODY: usize = 100_000;

/// Little in memory, small segments.
fn small_segments() -> EngineOptions {
    let mut options = options();
    options.log.segment_bytes = SEGMENT;
    options.log.tail_cache_bytes = 1 << 20;
    options
}

impl Broker {
    fn segment(&self, number: u64) -> PathBuf {
        self.data.path().join(format!("log/{:020}.seg", number * SEGMENT))
    }

    fn scrub(&self, interval: Duration) {
        scrub::start(self.engine.clone(), PeerLinks::default(), interval, self.following.clone());
    }

    /// Flips a bit in the body of each message of a segment.
    fn damage(&self, number: u64) -> Vec<u8> {
        let before = std::fs::read(self.segment(number)).unwrap();
        let mut bytes = before.clone();
        for at in (50_000..SEGMENT as usize).step_by(BODY / 2) {
            bytes[at] ^= 1;
        }
        // In place, as a disk does it: who has the file open sees it.
        let file = std::fs::File::options().write(true).open(self.segment(number)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        before
    }

    fn found(&self) -> ScrubFigures {
        self.engine.figures().scrub
    }

    async fn until_found(&self, what: &str, is_so: impl Fn(ScrubFigures) -> bool) {
        let waiting = async {
            while !is_so(self.found()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("never seen: {what}; last {:?}", self.found()));
    }

    async fn subscribe(&self) {
        let group = GroupSettings::default();
        self.engine.create_group(CreateGroup { name: "g".into(), settings: group }).await.unwrap().unwrap();
        let subscribe = Subscribe { group: "g".into(), topics: vec!["t".into()] };
        self.engine.subscribe(subscribe).await.unwrap().unwrap();
    }

    async fn deliveries(&self) -> Vec<Delivery> {
        self.receive("t").await
    }
}

/// Master and slave with the same three full segments, and what is in them for the group.
async fn with_full_segments() -> (Broker, Broker, Vec<Delivery>) {
    let (master, slave) = pair_with(&Stored::default(), &small_segments()).await;
    slave.follow();
    master.has_in_sync(&slave).await;
    master.subscribe().await;
    for number in 0..32 {
        master.send_to("t", &format!("m{number}"), BODY).await;
    }
    let deliveries = master.deliveries().await;
    assert!(deliveries.last().unwrap().lsn > Lsn(3 * SEGMENT), "three segments are full");
    (master, slave, deliveries)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scrub_finds_a_damaged_segment_of_either_replica_and_repairs_it_from_the_other() {
    let (master, slave, _) = with_full_segments().await;
    for (broker, number) in [(&master, 0), (&slave, 1)] {
        let before = broker.damage(number);
        broker.scrub(Duration::from_secs(1));
        broker.until_found("a repair", |found| found.repaired == 1 && found.damaged_now == 0).await;
        assert_eq!((broker.found().damaged, std::fs::read(broker.segment(number)).unwrap()), (1, before));
        let pass = broker.found().segments + 4;
        broker.until_found("a pass without finds", |found| found.segments > pass).await;
        assert_eq!(broker.found().damaged, 1);
    }
    master.stop().await;
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_comes_upon_damage_gets_its_messages_once_they_are_repaired() {
    let (master, slave, deliveries) = with_full_segments().await;
    master.damage(0);
    master.damage(1);
    master.scrub(NEVER);
    let mut lsns = deliveries.iter().map(|delivery| delivery.lsn).collect::<Vec<_>>();
    while !lsns.is_empty() {
        for stored in master.engine.read_ahead(lsns.clone().into_iter()).await {
            let content = stored.unwrap().content;
            assert_eq!(MessageContent::decode(&content).unwrap().body, vec![7; BODY]);
            lsns.remove(0);
        }
    }
    assert_eq!((master.found().damaged, master.found().repaired), (2, 2));
    master.stop().await;
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_whole_copy_damage_is_reported_and_not_delivered_until_there_is_one() {
    let (master, slave, deliveries) = with_full_segments().await;
    let (before, lsn) = (slave.damage(0), deliveries[0].lsn);
    master.damage(0);
    master.scrub(NEVER);
    for _ in 0..2 {
        assert!(matches!(master.engine.read(lsn).await, Err(ReadMessageError::Damaged { .. })));
    }
    let found = master.found();
    assert_eq!((found.damaged, found.repaired, found.damaged_now), (1, 0, 1));
    std::fs::write(slave.segment(0), before).unwrap();
    let read = async {
        while master.engine.read(lsn).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the copy that is whole again is taken");
    assert_eq!(master.found(), ScrubFigures { repaired: 1, damaged_now: 0, ..found });
    master.stop().await;
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_comes_late_gets_frames_that_were_damaged_once_they_are_repaired() {
    let stored = Stored::default();
    let (master, slave) = pair_with(&stored, &small_segments()).await;
    slave.follow();
    master.has_in_sync(&slave).await;
    for number in 0..32 {
        master.send_to("t", &format!("m{number}"), BODY).await;
    }
    let third = Broker::start(&stored, small_segments()).await;
    master.damage(1);
    master.scrub(NEVER);
    let mut config = master.engine.view().borrow().config.clone().unwrap();
    config.members.extend([third.member()]);
    config.version += 1;
    *stored.lock().unwrap() = Some(config.clone());
    for broker in [&master, &slave, &third] {
        broker.engine.tell(News::Config(config.clone()));
    }
    third.follow();
    master.has_in_sync(&third).await;
    assert_eq!(master.found().repaired, 1);
    let full = |broker: &Broker| std::fs::read(broker.segment(1)).unwrap();
    assert_eq!(full(&master), full(&third));
    for broker in [master, slave, third] {
        broker.stop().await;
    }
}
