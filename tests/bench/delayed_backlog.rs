//! Delayed messages that are far from due: all of them must fit into little memory, also while a broker reads them again.

use anyhow::{Context as _, Result};
use rq_proto::reliablequeue::TopicType;
use rq_tests::client::Client;

use crate::backlog::MEMORY_BAR;
use crate::filler::Filling;
use crate::findings::{Bar, Finding, Spread, Unit};
use crate::proc;
use crate::session::Session;

const TOPIC: &str = "delayed-backlog";
const BODY_BYTES: u64 = 100;

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let mut broker = session.broker(TOPIC).await?;
    Client::new(&broker.endpoint(), "bench")?.create_topic(TOPIC, TopicType::Delay, 0).await?;
    let messages = session.plan().backlog;
    let filling =
        Filling { topic: TOPIC, messages, body_bytes: BODY_BYTES, delayed: true, ..Filling::default() };
    filling.send(&broker.endpoint()).await?;
    let filled = proc::memory(broker.pid()?)?;
    broker.kill()?;
    broker.restart().await.context("start on all the delayed messages")?;
    let restarted = proc::memory(broker.pid()?)?;
    let finding = Finding::new(
        &format!("{messages} delayed messages over 40 days"),
        "most memory ever, also of a start after kill -9",
        Bar::AtMost(MEMORY_BAR, Unit::Bytes),
        Spread::of([filled.peak.max(restarted.peak) as f64]),
    );
    Ok(vec![
        finding
            .from("while they came", Unit::Bytes, [filled.peak as f64])
            .from("of that in no file, at their end", Unit::Bytes, [filled.anonymous as f64])
            .from("in the start", Unit::Bytes, [restarted.peak as f64])
            .from("of that in no file, after it", Unit::Bytes, [restarted.anonymous as f64]),
    ])
}
