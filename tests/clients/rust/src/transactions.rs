//! Features of the producer of half messages.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

use rocketmq::model::message::{MessageBuilder, MessageView};
use rocketmq::model::transaction::{Transaction, TransactionResolution};
use rocketmq::Producer;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::scene::{require, start_transactional, text, Outcome, Scene, LEASE, SHORT_LEASE};

/// Sends a half message and leaves its transaction open.
pub async fn send_half(producer: &Producer, topic: &str, body: &str) -> Result<impl Transaction, String> {
    let message =
        MessageBuilder::transaction_message_builder(topic, body.as_bytes().to_vec()).build().map_err(text)?;
    producer.send_transaction_message(message).await.map_err(text)
}

pub async fn transactions(scene: Scene) -> Outcome {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let checker = move |message: &MessageView| {
        let decides = message.body() == b"decided when asked";
        counted.fetch_add(usize::from(decides), Ordering::Relaxed);
        decides
    };
    let producer = start_transactional(&scene.endpoint, &scene.name, answer(checker)).await?;
    let committed = send_half(&producer, &scene.name, "committed").await?;
    let rolled_back = send_half(&producer, &scene.name, "rolled back").await?;
    let consumer = scene.consumer("*").await?;
    let early = consumer.poll(16, SHORT_LEASE).await?.len();
    require(early == 0, || format!("{early} messages came before any was committed"))?;
    let sent = Instant::now();
    send_half(&producer, &scene.name, "decided when asked").await?;
    committed.commit().await.map_err(text)?;
    rolled_back.rollback().await.map_err(text)?;
    let messages = consumer.receive(2, LEASE).await?;
    let after = sent.elapsed();
    let mut got: Vec<_> = messages.iter().map(|m| String::from_utf8_lossy(m.body()).to_string()).collect();
    got.sort();
    let asked = asked.load(Ordering::Relaxed);
    require(got == ["committed", "decided when asked"] && asked == 1, || {
        format!("got {got:?} after {asked} checks")
    })?;
    consumer.ack(messages).await?;
    consumer.nothing_comes().await?;
    Ok(Ok(format!("committed, rolled back, and committed when asked, within {} s", after.as_secs())))
}

pub async fn producer_killed(scene: Scene) -> Outcome {
    let program = std::env::current_exe().map_err(text)?;
    let mut holder = tokio::process::Command::new(program)
        .args(["--endpoint", &scene.endpoint, "--half", &scene.name])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(text)?;
    let output = holder.stdout.take().ok_or("no output of the producer to be killed")?;
    let line = BufReader::new(output).lines().next_line().await.map_err(text)?.unwrap_or_default();
    holder.kill().await.map_err(text)?;
    let id = line
        .strip_prefix("half ")
        .ok_or_else(|| format!("the producer to be killed said {line:?}"))?
        .to_string();
    let killed = Instant::now();
    let wanted = id.clone();
    let checker = move |message: &MessageView| message.message_id() == wanted;
    let _producer = start_transactional(&scene.endpoint, &scene.name, answer(checker)).await?;
    let consumer = scene.consumer("*").await?;
    let m = consumer.receive_one(LEASE).await?;
    require(m.message_id() == id, || format!("message {}, want {id}", m.message_id()))?;
    consumer.ack(vec![m]).await?;
    Ok(Ok(format!("another producer was asked and committed it within {} s", killed.elapsed().as_secs())))
}

/// Commits what the condition wants, and does not know of anything else.
fn answer(commits: impl Fn(&MessageView) -> bool) -> impl Fn(String, MessageView) -> TransactionResolution {
    move |_, message| {
        if commits(&message) {
            TransactionResolution::COMMIT
        } else {
            TransactionResolution::UNKNOWN
        }
    }
}

/// Sends a half message and never ends its transaction, until the process is killed.
pub async fn leave_half(endpoint: &str, topic: &str) {
    let left = async {
        let producer = start_transactional(endpoint, topic, answer(|_| false)).await?;
        let id = send_half(&producer, topic, "left open").await?.message_id().to_string();
        Ok::<_, String>((producer, id))
    };
    match left.await {
        Ok((_producer, id)) => {
            println!("half {id}");
            std::future::pending::<()>().await;
        }
        Err(error) => eprintln!("{error}"),
    }
}
