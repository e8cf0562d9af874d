//! Topics that nobody uses: each may cost bytes of memory, and nothing else.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::Client;

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::proc;
use crate::session::{self, Session};

/// Topics made before the first look, so that what grows once has grown.
const FIRST: u32 = 500;
/// Queues of each.
const QUEUES: u32 = 8;
/// Calls under way.
const UNDER_WAY: usize = 64;
/// Most memory of a topic, in bytes.
const MEMORY_BAR: f64 = 1024.0;
/// Memory has settled when it did not grow for so long.
const STILL: Duration = Duration::from_secs(3);
const SETTLE_DEADLINE: Duration = Duration::from_mins(1);

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let broker = session.broker("idle-topics").await?;
    let client = Client::new(&broker.endpoint(), "bench")?;
    let topics = session.plan().topics;
    create(&client, 0..FIRST).await?;
    let before = settled(broker.pid()?).await?;
    create(&client, FIRST..FIRST + topics).await?;
    let after = settled(broker.pid()?).await?;
    let each = after.resident.saturating_sub(before.resident) as f64 / f64::from(topics);
    let name = format!("{topics} idle topics with {QUEUES} queues each");
    let finding =
        Finding::new(&name, "memory of a topic", Bar::AtMost(MEMORY_BAR, Unit::Bytes), Spread::of([each]));
    Ok(vec![finding.from("before", Unit::Bytes, [before.resident as f64]).from(
        "after",
        Unit::Bytes,
        [after.resident as f64],
    )])
}

async fn create(client: &Client, numbers: std::ops::Range<u32>) -> Result<()> {
    let bar = session::bar(numbers.len() as u64, "making topics");
    let made = stream::iter(numbers).map(|number| async move {
        client.create_topic(&format!("idle-topic-{number:06}"), TopicType::Normal, QUEUES).await
    });
    let counted = made.buffer_unordered(UNDER_WAY).inspect(|_| bar.inc(1));
    counted.try_collect::<()>().await.context("make idle topics")?;
    bar.finish_and_clear();
    Ok(())
}

/// The memory once it does not change any more.
async fn settled(pid: u32) -> Result<proc::Memory> {
    let begin = std::time::Instant::now();
    let mut memory = proc::memory(pid)?;
    loop {
        tokio::time::sleep(STILL).await;
        let now = proc::memory(pid)?;
        if now.resident == memory.resident || begin.elapsed() > SETTLE_DEADLINE {
            return Ok(now);
        }
        memory = now;
    }
}
