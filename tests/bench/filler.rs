//! Fills a topic fast: large batches through the client API, many under way. Nothing here is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use indicatif::ProgressBar;
use rq_proto::rocketmq as wire;
use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::session;

/// Requests under way.
const UNDER_WAY: usize = 16;
/// Bytes of bodies in one request, and messages in one at most.
const BATCH_BYTES: u64 = 256 << 10;
const BATCH_MAX: u64 = 256;
/// A refused or failed batch is sent again so many times.
const ATTEMPTS: u32 = 100;
/// Pause before that.
const PAUSE: Duration = Duration::from_millis(100);
/// Shortest delay: longer than it takes to fill. And the time over which the others are spread.
const DELAY_MIN: Duration = Duration::from_hours(1);
const DELAYS: Duration = Duration::from_hours(39 * 24);

/// Messages to fill a topic with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filling {
    pub(crate) topic: &'static str,
    pub(crate) messages: u64,
    pub(crate) body_bytes: u64,
    /// Of each message; none if it is empty.
    pub(crate) tag: &'static str,
    /// User properties of each message.
    pub(crate) properties: &'static [(&'static str, &'static str)],
    /// Whether they are delayed, by an hour to 39 days and in no order.
    pub(crate) delayed: bool,
}

impl Filling {
    /// Sends them all to the broker at `endpoint`; each is acknowledged when this returns.
    pub(crate) async fn send(self, endpoint: &str) -> Result<()> {
        let bar = session::bar(self.messages, &format!("filling {}", self.topic));
        let next = Arc::new(AtomicU64::new(0));
        // Ids of another run, or of another filling, are other ids.
        let run =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock")?.as_nanos() as u64;
        let mut senders = JoinSet::new();
        for _ in 0..UNDER_WAY {
            let channel = Endpoint::from_shared(endpoint.to_owned())?.connect().await.context("connect")?;
            senders.spawn(self.sender(channel, run, next.clone(), bar.clone()));
        }
        while let Some(ended) = senders.join_next().await {
            ended.context("a sender panicked")??;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn sender(self, channel: Channel, run: u64, next: Arc<AtomicU64>, bar: ProgressBar) -> Result<()> {
        let mut client = MessagingServiceClient::new(channel);
        let batch = (BATCH_BYTES / self.body_bytes).clamp(1, BATCH_MAX);
        let body = Bytes::from(vec![0x5A; self.body_bytes as usize]);
        loop {
            let from = next.fetch_add(batch, Ordering::Relaxed);
            let to = self.messages.min(from + batch);
            if from >= to {
                return Ok(());
            }
            let messages = (from..to).map(|number| self.message(run, number, &body)).collect();
            store(&mut client, wire::SendMessageRequest { messages }).await?;
            bar.inc(to - from);
        }
    }

    fn message(self, run: u64, number: u64, body: &Bytes) -> wire::Message {
        let kind = if self.delayed { wire::MessageType::Delay } else { wire::MessageType::Normal };
        wire::Message {
            topic: Some(wire::Resource { name: self.topic.to_owned(), ..Default::default() }),
            system_properties: Some(wire::SystemProperties {
                message_id: format!("01{run:016X}{number:016X}"),
                message_type: kind.into(),
                delivery_timestamp: self.delayed.then(|| (SystemTime::now() + delay(number)).into()),
                body_encoding: wire::Encoding::Identity.into(),
                born_host: "filler".to_owned(),
                tag: (!self.tag.is_empty()).then(|| self.tag.to_owned()),
                born_timestamp: Some(SystemTime::now().into()),
                ..Default::default()
            }),
            user_properties: self
                .properties
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            body: body.clone(),
        }
    }
}

/// Looks random, and is the same in every run.
fn delay(number: u64) -> Duration {
    let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    DELAY_MIN + Duration::from_millis(scattered % DELAYS.as_millis() as u64)
}

/// Sends a batch until it is stored: the broker recognises the repetition.
async fn store(client: &mut MessagingServiceClient<Channel>, batch: wire::SendMessageRequest) -> Result<()> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let mut request = tonic::Request::new(batch.clone());
        request
            .metadata_mut()
            .insert("x-mq-client-id", tonic::metadata::MetadataValue::from_static("filler"));
        match client.send_message(request).await.map(tonic::Response::into_inner) {
            Ok(answer) => match answer.status {
                Some(status) if status.code() == wire::Code::Ok => return Ok(()),
                status => last = Some(format!("{status:?}")),
            },
            Err(status) => last = Some(status.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("a batch was not stored: {}", last.unwrap_or_default())
}
