//! Restart after kill -9 with a large log: time from the start of the process to the first send that it accepts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::{Client, Outgoing};
use rq_tests::history::Outcome;

use crate::filler::Filling;
use crate::findings::{Bar, Finding, Spread, Unit};
use crate::session::Session;

const TOPIC: &str = "restart";
const BODY_BYTES: u64 = 1024;
/// Most seconds until a send is accepted.
const BAR_SECONDS: f64 = 2.0;
/// Sent before each kill: it lies behind the newest checkpoint and is read again.
const TAIL_BYTES: u64 = 200 << 20;
/// Until a send is accepted at all.
const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let mut broker = session.broker("restart").await?;
    let client = Client::new(&broker.endpoint(), "bench")?;
    client.create_topic(TOPIC, TopicType::Normal, 0).await?;
    client.create_group(TOPIC, false).await?;
    fill(&broker, session.plan().log_bytes).await?;
    let mut number = 0;
    let rounds = session.rounds("restart", async || {
        fill(&broker, TAIL_BYTES).await?;
        broker.kill()?;
        number += 1;
        let begin = Instant::now();
        broker.restart().await?;
        let ready = begin.elapsed();
        accepted(&broker, number).await?;
        Ok((begin.elapsed().as_secs_f64(), ready.as_secs_f64()))
    });
    let rounds = rounds.await?;
    let name = format!("restart after kill -9, log of {} MiB", session.plan().log_bytes >> 20);
    let finding = Finding::new(
        &name,
        "from the start of the process to the first accepted send",
        Bar::AtMost(BAR_SECONDS, Unit::Seconds),
        Spread::of(rounds.iter().map(|(accepted, _)| *accepted)),
    );
    Ok(vec![finding.from(
        "until it says that it is ready",
        Unit::Seconds,
        rounds.iter().map(|(_, ready)| *ready),
    )])
}

async fn fill(broker: &Broker, bytes: u64) -> Result<()> {
    let filling =
        Filling { topic: TOPIC, messages: bytes / BODY_BYTES, body_bytes: BODY_BYTES, ..Filling::default() };
    filling.send(&broker.endpoint()).await.context("fill the log")
}

/// Sends until the broker accepts one.
async fn accepted(broker: &Broker, number: u32) -> Result<()> {
    let client = Client::new(&broker.endpoint(), "bench")?;
    let begin = Instant::now();
    loop {
        let id = format!("first-after-restart-{number}");
        let message =
            Outgoing { topic: TOPIC, id: &id, message_group: None, body: Bytes::from_static(b"first") };
        match client.send(&message).await {
            Outcome::Ok => return Ok(()),
            refused if begin.elapsed() > DEADLINE => bail!("no send is accepted: {refused:?}"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
