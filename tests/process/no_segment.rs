//! The log is at the end of its segment, and the disk has no room for another one: the log thread can only wait. A
//! broker that is told to stop then ends all the same, says why, and has lost nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rq_core::ids::{Epoch, LogTime, Lsn, TopicId};
use rq_core::queue::settings::{TopicKind, TopicSettings};
use rq_core::record::{self, Record};
use rq_log::{HEADER_LEN, Log, StdDisk};
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::{DeleteTopicRequest, ListTopicsRequest};
use rq_tests::broker::{Broker, Signal, signal};
use rq_tests::disk::LoopDisk;
use rq_tests::requirement::{Requirement, can_run};

use crate::full_disk::fill;

const SEGMENT: u64 = 1 << 20;
const TOPICS: u32 = 100;
/// What the log thread says while it waits.
const WAITS: &str = "no segment to write to";
/// Ends long before the harness loses its patience, and long after the broker would if it kept its word.
const SOON: Duration = Duration::from_secs(30);

/// Appends one record in a frame of its own.
fn append(log: &mut Log<StdDisk>, record: &Record<'_>) -> Result<()> {
    let mut bytes = Vec::new();
    record::encode(record, &mut bytes);
    let mut frame = log.begin(Epoch(1), LogTime(1), bytes.len())?;
    frame.push(&bytes);
    log.append(frame, Lsn(0))?;
    Ok(())
}

/// What a frame with one record of `record` bytes takes.
const fn frame(record: u64) -> u64 {
    HEADER_LEN as u64 + (1 + record).next_multiple_of(8)
}

/// A data directory with topics, whose only segment has room for less than `left` bytes and the smallest frame.
fn almost_full(data: &Path, left: u64) -> Result<()> {
    let options = rq_log::Options {
        cluster: "reliablequeue".to_owned(),
        segment_bytes: SEGMENT,
        prepared_segments: 1,
        ..rq_log::Options::default()
    };
    let mut log = rq_log::open(StdDisk, data, options)?.finish()?;
    append(&mut log, &Record::EpochStart { epoch: Epoch(1) })?;
    append(&mut log, &Record::FeatureLevel(1))?;
    for number in 1..=TOPICS {
        let settings = TopicSettings { kind: TopicKind::Normal, queues: 1 };
        append(
            &mut log,
            &Record::TopicPut { id: TopicId(number), name: &format!("topic-{number}"), settings },
        )?;
    }
    let room = |log: &Log<StdDisk>| SEGMENT - HEADER_LEN as u64 - log.end().0;
    while room(&log) >= left + frame(18) {
        append(&mut log, &Record::DuplicateWindow { millis: 300_000, entries: 2_000_000 })?;
    }
    if room(&log) >= left + frame(6) {
        append(&mut log, &Record::EpochStart { epoch: Epoch(2) })?;
    }
    log.sync()?;
    drop(log);
    for entry in std::fs::read_dir(data.join("log"))? {
        let path = entry?.path();
        if !path.ends_with(format!("{:020}.seg", 0)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A disk that is full but for such a log.
fn full_disk(left: u64) -> Result<LoopDisk> {
    let disk = LoopDisk::new(64)?;
    almost_full(&disk.path().join("data"), left)?;
    fill(&disk.path().join("ballast"))?;
    Ok(disk)
}

fn can_run_here(test: &str) -> Result<bool> {
    can_run(test, &[Requirement::Root, Requirement::LoopDevice])
}

/// With room again, all topics are there but those that were deleted.
async fn has_lost_nothing(disk: &LoopDisk, deleted: u32) -> Result<()> {
    std::fs::remove_file(disk.path().join("ballast"))?;
    let broker = Broker::start(&disk.path().join("data"), &[]).await?;
    let topics =
        AdminClient::connect(broker.endpoint()).await?.list_topics(ListTopicsRequest::default()).await?;
    let there = topics.into_inner().topics.len() as u32;
    // The delete that was under way may have happened or not.
    ensure!((TOPICS - deleted - 1..=TOPICS - deleted).contains(&there), "{there} topics are left");
    broker.finish().await
}

#[tokio::test]
async fn a_start_that_waits_for_a_segment_ends_when_it_is_told_to_stop() -> Result<()> {
    if !can_run_here("stop at the start on a full disk")? {
        return Ok(());
    }
    let disk = full_disk(0)?;
    let mut broker = Broker::launch(&disk.path().join("data"), &["--stop-timeout", "2s"])?;
    broker.logs(WAITS).await?;
    let told = Instant::now();
    let status = broker.stop().await?;
    ensure!(!status.success() && told.elapsed() < SOON, "{status} after {:?}", told.elapsed());
    let log = broker.log()?;
    ensure!(log.contains("its start did not end within 2s"), "the end does not say why:\n{log}");
    broker.contented();
    has_lost_nothing(&disk, 0).await
}

#[tokio::test]
async fn a_second_signal_ends_a_broker_at_once() -> Result<()> {
    if !can_run_here("second signal on a full disk")? {
        return Ok(());
    }
    let disk = full_disk(0)?;
    let mut broker = Broker::launch(&disk.path().join("data"), &["--stop-timeout", "1h"])?;
    broker.logs(WAITS).await?;
    signal(broker.pid()?, Signal::TERM)?;
    broker.logs("told to stop").await?;
    let told = Instant::now();
    signal(broker.pid()?, Signal::INT)?;
    let status = broker.wait().await?;
    ensure!(!status.success() && told.elapsed() < SOON, "{status} after {:?}", told.elapsed());
    broker.contented();
    has_lost_nothing(&disk, 0).await
}

#[tokio::test]
async fn a_broker_whose_log_waits_for_a_segment_ends_when_it_is_told_to_stop() -> Result<()> {
    if !can_run_here("stop on a full disk")? {
        return Ok(());
    }
    let disk = full_disk(2 << 10)?;
    let mut broker = Broker::start(&disk.path().join("data"), &["--stop-timeout", "2s"]).await?;
    let mut admin = AdminClient::connect(broker.endpoint()).await?;
    // What removes things is worked off to the last byte of the segment.
    let mut deleted = 0;
    let full = broker.logs(WAITS);
    let delete = async {
        for number in 1..=TOPICS {
            let name = format!("topic-{number}");
            if admin.delete_topic(DeleteTopicRequest { name }).await.is_err() {
                break;
            }
            deleted += 1;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        full = full => full?,
        () = delete => {}
    }
    ensure!(deleted > 0 && deleted < TOPICS, "{deleted} topics were deleted");
    let told = Instant::now();
    let status = broker.stop().await?;
    ensure!(!status.success() && told.elapsed() < SOON, "{status} after {:?}", told.elapsed());
    let log = broker.log()?;
    ensure!(log.contains("closing the log did not end within 1s"), "the end does not say why:\n{log}");
    broker.contented();
    has_lost_nothing(&disk, deleted).await
}
