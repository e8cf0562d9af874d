//! The order of system calls, message by message: no answer leaves before its bytes were flushed. A guard against
//! whoever takes the flush away, which no other test would notice on a machine that never loses power.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context as _, Result, ensure};
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::{Client, Outgoing};
use rq_tests::requirement::{Requirement, can_run};
use rq_tests::strace::Strace;
use rq_tests::trace::{CALLS, LONGEST_STRING, Trace, body_mark, message_id};

use crate::RESTLESS_ANYWHERE;

const SENDERS: u32 = 8;
const MESSAGES_OF_A_SENDER: u32 = 40;
const TOPIC: &str = "traced";
/// Bytes after the mark of every fifth body.
const LARGE: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_leaves_before_its_message_is_flushed() -> Result<()> {
    if !can_run("trace of system calls", &[Requirement::Root, Requirement::Strace])? {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let data = home.path().canonicalize()?.join("data");
    let broker = Broker::start(&data, &RESTLESS_ANYWHERE).await?;
    Client::new(&broker.endpoint(), "admin")?.create_topic(TOPIC, TopicType::Normal, 4).await?;

    let output = home.path().join("strace");
    let arguments = ["-ttt", "-yy", "-s", LONGEST_STRING, "-e", CALLS];
    let tracer = Strace::attach(broker.pid()?, &arguments, &output)?;
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send_all(Client::new(&broker.endpoint(), &format!("sender-{sender}"))?, sender));
    }
    while let Some(sent) = senders.join_next().await {
        sent.context("a sender panicked")??;
    }
    tracer.detach()?;

    let trace = Trace::parse(BufReader::new(File::open(&output)?))?;
    let sent: Vec<u32> = (0..SENDERS * MESSAGES_OF_A_SENDER).collect();
    let breaches = trace.check(&data, &sent);
    eprintln!("trace: {} messages, {} flushes", sent.len(), trace.syncs(&data));
    if let Some(first) = breaches.first() {
        let kept = std::env::temp_dir().join(format!("rq-strace-{}", std::process::id()));
        std::fs::copy(&output, &kept)?;
        anyhow::bail!(
            "{} of {} messages, first {first:?}; the trace is in {}",
            breaches.len(),
            sent.len(),
            kept.display()
        );
    }
    broker.finish().await
}

async fn send_all(client: Client, sender: u32) -> Result<()> {
    for nth in 0..MESSAGES_OF_A_SENDER {
        let number = sender * MESSAGES_OF_A_SENDER + nth;
        let padding = if number.is_multiple_of(5) { LARGE } else { 100 };
        let body = format!("{}{}", body_mark(number), ".".repeat(padding)).into();
        let id = message_id(number);
        let outcome = client.send(&Outgoing { topic: TOPIC, id: &id, message_group: None, body }).await;
        ensure!(outcome.is_ok(), "message {number} was not sent: {outcome:?}");
    }
    Ok(())
}
