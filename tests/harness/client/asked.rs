//! A producer that is asked how its transactions ended.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rq_proto::rocketmq as wire;
use rq_proto::rocketmq::settings::PubSub;
use rq_proto::rocketmq::telemetry_command::Command;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Client, resource};

/// Longest life of a stream, which is opened anew when it ends: longer than a test.
const STREAM_DEADLINE: Duration = Duration::from_mins(10);
/// Between two tries to open one while the broker is away.
const PAUSE: Duration = Duration::from_millis(50);

/// How a half message is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The transaction.
    pub transaction_id: String,
    /// Id of its message.
    pub message_id: String,
}

/// The stream over which a producer of one topic is asked. It is opened again whenever it breaks, as clients do.
#[derive(Debug)]
pub struct Checks {
    client: Client,
    topic: String,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    /// Open as long as the client has more to say.
    _say: mpsc::Sender<wire::TelemetryCommand>,
    hear: Streaming<wire::TelemetryCommand>,
}

impl Checks {
    /// Those of `client`, which from now on is a producer of `topic`. The broker must serve.
    pub async fn open(client: &Client, topic: &str) -> Result<Self> {
        let mut checks = Self { client: client.clone(), topic: topic.to_owned(), stream: None };
        checks.stream = Some(checks.connect().await.context("open a stream for checks")?);
        Ok(checks)
    }

    /// Waits for the next check, also while the broker is away.
    pub async fn next(&mut self) -> Asked {
        loop {
            let Some(stream) = &mut self.stream else {
                tokio::time::sleep(PAUSE).await;
                self.stream = self.connect().await.ok();
                continue;
            };
            match stream.hear.message().await {
                Ok(Some(heard)) => {
                    if let Some(Command::RecoverOrphanedTransactionCommand(asked)) = heard.command {
                        let properties = asked.message.and_then(|message| message.system_properties);
                        return Asked {
                            transaction_id: asked.transaction_id,
                            message_id: properties.unwrap_or_default().message_id,
                        };
                    }
                }
                Ok(None) | Err(_) => self.stream = None,
            }
        }
    }

    async fn connect(&self) -> Result<Stream, tonic::Status> {
        let publishing = wire::Publishing { topics: vec![resource(&self.topic)], ..Default::default() };
        let settings = wire::Settings {
            client_type: Some(wire::ClientType::Producer.into()),
            pub_sub: Some(PubSub::Publishing(publishing)),
            ..Default::default()
        };
        let (say, said) = mpsc::channel(1);
        let command = wire::TelemetryCommand { status: None, command: Some(Command::Settings(settings)) };
        // It has room for one.
        say.try_send(command).map_err(|_| tonic::Status::internal("the stream is full"))?;
        let request = self.client.request(ReceiverStream::new(said), STREAM_DEADLINE)?;
        let hear = self.client.messaging.clone().telemetry(request).await?.into_inner();
        Ok(Stream { _say: say, hear })
    }
}
