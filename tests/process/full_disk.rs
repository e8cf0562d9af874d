//! The disk is full: sends are refused for certain and with the reason, what is stored is still delivered and acked,
//! and when there is room again sends are accepted, all without a restart.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::{Client, Incoming, Outgoing};
use rq_tests::disk::LoopDisk;
use rq_tests::history::Outcome;
use rq_tests::requirement::{Requirement, can_run};
use rq_tests::run::seed;
use rq_tests::workload::{Load, Plan, judge_all};

use crate::{BACK_DEADLINE, RESTLESS};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_by_others_refuses_sends_and_still_delivers() -> Result<()> {
    if !can_run("full disk under load", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    let seed = seed("full disk");
    let disk = LoopDisk::new(256)?;
    let mut broker = Broker::start(&disk.path().join("data"), &RESTLESS).await?;
    let load = Load::start(&broker.endpoint(), Plan { consumers: 1, ..Plan::new(seed) }).await?;
    load.wait_until("a first send", BACK_DEADLINE, |load| load.acknowledged() > 50).await?;

    let ballast = disk.path().join("ballast");
    fill(&ballast)?;
    load.wait_until("a refused send", BACK_DEADLINE, |load| load.refusals().len() > 20).await?;
    let (code, reason) = load.refusals().pop().context("no refusal")?;
    eprintln!("full disk: sends are refused with {code}: {reason}");
    ensure!(reason.contains("disk is too full"), "the refusal does not say that the disk is full: {reason}");
    let (settled, acknowledged) = (load.settled(), load.acknowledged());
    let consumed = |load: &Load| load.settled() >= acknowledged.min(settled + 200);
    load.wait_until("acks on the full disk", BACK_DEADLINE, consumed).await?;
    ensure!(broker.exited()?.is_none(), "the broker ended on a full disk");

    std::fs::remove_file(&ballast)?;
    let acknowledged = load.acknowledged();
    let works_again = |load: &Load| load.acknowledged() > acknowledged + 100;
    load.wait_until("sends after there was room again", BACK_DEADLINE, works_again).await?;
    judge_all("full-disk", &load.drain().await?)?;
    broker.finish().await
}

/// Writes to `path` until not one more block fits.
pub(crate) fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    for block in [1 << 20, 4 << 10] {
        let zeroes = vec![0; block];
        loop {
            match file.write(&zeroes) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => bail!("cannot fill the disk: {error}"),
            }
        }
    }
    file.sync_all().context("flush the ballast")
}

const TOPIC: &str = "filling";
const GROUP: &str = "emptying";
/// More messages than fit on the disk.
const TOO_MANY: u32 = 4_000;
const BODY: usize = 256 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_by_messages_has_room_again_when_they_are_consumed() -> Result<()> {
    if !can_run("disk full of messages", &[Requirement::Root, Requirement::LoopDevice])? {
        return Ok(());
    }
    let disk = LoopDisk::new(192)?;
    let broker = Broker::start(&disk.path().join("data"), &RESTLESS).await?;
    let client = Client::new(&broker.endpoint(), "both")?;
    client.create_topic(TOPIC, TopicType::Normal, 1).await?;
    client.create_group(GROUP, false).await?;

    let mut stored = BTreeSet::new();
    let refusal = loop {
        let id = format!("filling-{}", stored.len());
        match send(&client, &id).await {
            Outcome::Ok => stored.insert(id),
            refusal => break refusal,
        };
        ensure!(stored.len() < TOO_MANY as usize, "the disk never filled up");
    };
    eprintln!("full of messages: after {} messages {refusal:?}", stored.len());
    ensure!(
        refusal.is_fail() && format!("{refusal:?}").contains("disk is too full"),
        "not a definite refusal"
    );

    consume(&client, stored).await?;
    let begin = Instant::now();
    while !send(&client, "after").await.is_ok() {
        ensure!(begin.elapsed() < BACK_DEADLINE, "all messages are consumed, and sends are still refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("full of messages: room again {:?} after the last ack", begin.elapsed());
    broker.finish().await
}

async fn send(client: &Client, id: &str) -> Outcome {
    client.send(&Outgoing { topic: TOPIC, id, message_group: None, body: vec![b'x'; BODY].into() }).await
}

/// Receives and acks all of `owed` on the full disk.
async fn consume(client: &Client, mut owed: BTreeSet<String>) -> Result<()> {
    let (invisible, wait) = (Duration::from_mins(1), Duration::from_secs(5));
    while !owed.is_empty() {
        let (outcome, received) = client
            .receive(Incoming {
                topic: TOPIC,
                group: GROUP,
                batch: 16,
                invisible,
                wait,
                ..Incoming::default()
            })
            .await;
        ensure!(!received.is_empty(), "{} messages do not come from the full disk: {outcome:?}", owed.len());
        let done: Vec<(String, String)> =
            received.into_iter().map(|message| (message.id, message.handle)).collect();
        for (outcome, (id, _)) in client.ack(TOPIC, GROUP, &done).await.into_iter().zip(&done) {
            ensure!(outcome.is_ok(), "the ack of {id} was refused on the full disk: {outcome:?}");
            owed.remove(id);
        }
    }
    Ok(())
}
