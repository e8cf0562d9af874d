//! Bits that flip in sealed segments: what they damage is never delivered and never cut off, and the replica gets it back
//! from the other one by itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::{Client, Incoming, Outgoing};
use rq_tests::shard::Shard;

use super::{Scene, scenario};

/// Segments are many and small, all are kept and little of them is in memory; each is read through once in this time.
const ROTTING: [(&str, &str); 6] = [
    ("RQ_SEGMENT", "1MiB"),
    ("RQ_TAIL_CACHE", "1MiB"),
    ("RQ_CHECKPOINT_SIZE", "2MiB"),
    ("RQ_CHECKPOINT_INTERVAL", "2s"),
    ("RQ_SCRUB_INTERVAL", "3s"),
    ("RQ_LOG", "info"),
];
/// Messages that lie in sealed segments: several segments of them.
const KEPT: u32 = 64;
const BODY_BYTES: usize = 100 << 10;
const TOPIC: &str = "kept";
const GROUP: &str = "kept-group";
/// Until a damaged segment is found, repaired, and read by those who wait for it.
const REPAIR_DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn a_flipped_bit_is_never_served_and_is_repaired_from_the_other_replica() -> Result<()> {
    scenario("bit rot", &ROTTING, async |scene| {
        let shard = &scene.shard;
        let client = Client::new(&shard.endpoint(), "keeper")?;
        client.create_topic(TOPIC, TopicType::Normal, 1).await?;
        client.create_group(GROUP, false).await?;
        for number in 0..KEPT {
            let id = id(number);
            let message = Outgoing { topic: TOPIC, id: &id, message_group: None, body: body(&id) };
            let outcome = client.send(&message).await;
            ensure!(outcome.is_ok(), "{id}: {outcome:?}");
        }
        let slave = shard.whole().await?.slave();
        Rot::flip(shard, slave, 1)?.repaired().await.context("while the slave runs")?;
        stopped(scene, slave, 2).await.context("while the slave is stopped")?;
        stopped(scene, shard.whole().await?.master, 3).await.context("while the master is stopped")?;
        let rot = Rot::flip(shard, shard.whole().await?.master, 4)?;
        consume(&client).await.context("while the master runs")?;
        rot.repaired().await.context("while the master runs")
    })
}

async fn stopped(scene: &Scene, nth: usize, number: u32) -> Result<()> {
    let shard = &scene.shard;
    shard.replica(nth).take_away().await?;
    let rot = Rot::flip(shard, nth, number)?;
    shard.replica(nth).bring_back();
    rot.repaired().await?;
    shard.whole().await.map(drop)
}

/// A byte that is not what was written.
struct Rot {
    file: PathBuf,
    position: u64,
    written: u8,
}

impl Rot {
    /// Flips a bit of this message on the disk of a replica.
    fn flip(shard: &Shard, nth: usize, number: u32) -> Result<Self> {
        let id = id(number);
        for segment in rq_log::inspect(&shard.data(nth))?.segments {
            let bytes = std::fs::read(&segment.path).context("read a segment")?;
            let mut places =
                bytes.windows(id.len()).enumerate().filter(|(_, window)| *window == id.as_bytes());
            // Not the first place, which may be the message id: amidst the body.
            let Some((place, _)) = places.nth(100) else { continue };
            let written = bytes[place];
            let file = File::options().write(true).open(&segment.path).context("open a segment")?;
            file.write_all_at(&[written ^ 1], place as u64).context("flip a bit")?;
            return Ok(Self { file: segment.path, position: place as u64, written });
        }
        anyhow::bail!("{id} is in no segment")
    }

    /// Waits until it is again what was written.
    async fn repaired(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            let mut found = [0];
            File::open(&self.file)
                .and_then(|file| file.read_exact_at(&mut found, self.position))
                .context("read a segment")?;
            if found == [self.written] {
                return Ok(());
            }
            ensure!(begin.elapsed() < REPAIR_DEADLINE, "not repaired within {REPAIR_DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn id(number: u32) -> String {
    format!("kept-{number:04};")
}

fn body(id: &str) -> Bytes {
    id.repeat(BODY_BYTES / id.len()).into()
}

/// Receives and acks all that is kept. Each must be what was sent, the damaged one too, once it is repaired.
async fn consume(client: &Client) -> Result<()> {
    let mut owed: BTreeSet<String> = (0..KEPT).map(id).collect();
    let begin = Instant::now();
    while !owed.is_empty() {
        ensure!(begin.elapsed() < REPAIR_DEADLINE, "{owed:?} did not come within {REPAIR_DEADLINE:?}");
        let (invisible, wait) = (Duration::from_secs(5), Duration::from_secs(2));
        let what = Incoming { topic: TOPIC, group: GROUP, batch: 16, invisible, wait, ..Incoming::default() };
        let (_, received) = client.receive(what).await;
        for message in &received {
            ensure!(message.body == body(&message.id), "{} is not what was sent", message.id);
        }
        let done: Vec<_> = received.into_iter().map(|message| (message.id, message.handle)).collect();
        for (outcome, (id, _)) in client.ack(TOPIC, GROUP, &done).await.into_iter().zip(&done) {
            if outcome.is_ok() {
                owed.remove(id);
            }
        }
    }
    Ok(())
}
