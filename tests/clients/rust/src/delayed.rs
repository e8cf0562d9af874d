//! Features of delayed messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rocketmq::model::message::MessageBuilder;

use crate::scene::{require, send, Outcome, Scene, LEASE};

/// How long a message is held back: longer than it takes to look that it does not come at once.
const DELAY: Duration = Duration::from_secs(5);

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub async fn delayed(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    let consumer = scene.consumer("*").await?;
    // This client gives whole seconds.
    let at = Duration::from_secs((since_1970() + DELAY).as_secs());
    let message = MessageBuilder::delay_message_builder(&scene.name, b"later".to_vec(), at.as_secs() as i64);
    send(&producer, message).await?;
    let messages = consumer.receive(1, LEASE).await?;
    let now = since_1970();
    require(now >= at, || format!("{:?} before its time", at - now))?;
    consumer.ack(messages).await?;
    consumer.nothing_comes().await?;
    Ok(Ok(format!("{} ms after its time", (now - at).as_millis())))
}
