//! A small RocketMQ 5 client that tells apart what was done, what was surely not done, and what it cannot know. It
//! speaks the wire contract alone, needs no telemetry, and never retries by itself: the history shall see every call.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::{
    CreateGroupRequest, CreateTopicRequest, CustomizedRetry, FlushMode, SetFlushModeRequest, StatusRequest,
    TopicType, create_group_request,
};
use rq_proto::rocketmq as wire;
use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use rq_proto::rocketmq::receive_message_response::Content;
use tonic::transport::{Channel, Endpoint};

use crate::history::Outcome;

mod asked;
mod held;

pub use asked::{Asked, Checks};

/// Longest wait for an answer that needs no message to come.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for a connection. A dead broker on loopback refuses at once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Between two looks at what shall change.
const PAUSE: Duration = Duration::from_millis(20);
/// Largest answer: 32 messages of the largest body.
const LARGEST_ANSWER: usize = 160 << 20;

/// First code that does not say that the broker surely did nothing.
const FIRST_SERVER_CODE: i32 = 50_000;

/// A client with one connection, which is made anew when it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    id: String,
    messaging: MessagingServiceClient<Channel>,
    admin: AdminClient<Channel>,
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The message id.
    pub id: &'a str,
    /// The message group; a FIFO message has one.
    pub message_group: Option<&'a str>,
    /// The body.
    pub body: Bytes,
}

/// What to receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The consumer group.
    pub group: &'a str,
    /// Most messages to take.
    pub batch: i32,
    /// How long the delivery hides them.
    pub invisible: Duration,
    /// How long to wait for the first.
    pub wait: Duration,
    /// The broker shall renew the leases instead, for [`RENEWED`] at a time.
    pub auto_renew: bool,
    /// Names this receive: once more under the same name it gives the same batch.
    pub attempt: Option<&'a str>,
}

/// Length of a lease that the broker renews.
pub const RENEWED: Duration = Duration::from_secs(45);

/// A message received.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its id.
    pub id: String,
    /// Its receipt handle.
    pub handle: String,
    /// Its attempt.
    pub attempt: u32,
    /// Queue and offset.
    pub place: (i32, i64),
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// A client of the broker at `endpoint`. Connects with the first call.
    pub fn new(endpoint: &str, id: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(endpoint.to_string()).context("the broker's address")?;
        let channel = endpoint.connect_timeout(CONNECT_DEADLINE).tcp_nodelay(true).connect_lazy();
        Ok(Self {
            id: id.to_string(),
            messaging: MessagingServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            admin: AdminClient::new(channel),
        })
    }

    /// Makes a topic; that it exists already is fine.
    pub async fn create_topic(&self, name: &str, kind: TopicType, queues: u32) -> Result<()> {
        let request = CreateTopicRequest { name: name.into(), r#type: kind.into(), queues };
        existing_is_fine(self.admin.clone().create_topic(request).await)
            .with_context(|| format!("create topic {name}"))
    }

    /// Changes when a record counts, and returns when that is so.
    pub async fn set_flush_mode(&self, mode: FlushMode) -> Result<()> {
        let mut admin = self.admin.clone();
        let request = SetFlushModeRequest { mode: mode.into(), ..SetFlushModeRequest::default() };
        admin.set_flush_mode(request).await.context("change the flush mode")?;
        while admin.status(StatusRequest {}).await.context("ask for the status")?.into_inner().flush_mode()
            != mode
        {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Makes a consumer group whose messages never become dead letters; that it exists already is fine.
    pub async fn create_group(&self, name: &str, fifo: bool) -> Result<()> {
        let retry = create_group_request::Retry::Customized(CustomizedRetry { delays_ms: vec![1_000] });
        let request = CreateGroupRequest {
            name: name.into(),
            fifo,
            max_attempts: 1_000,
            retry: Some(retry),
            ..CreateGroupRequest::default()
        };
        existing_is_fine(self.admin.clone().create_group(request).await)
            .with_context(|| format!("create group {name}"))
    }

    fn request<T>(&self, message: T, deadline: Duration) -> Result<tonic::Request<T>, tonic::Status> {
        let mut request = tonic::Request::new(message);
        let invalid = |_| tonic::Status::internal("the client id is no header value");
        request.metadata_mut().insert("x-mq-client-id", self.id.parse().map_err(invalid)?);
        request.metadata_mut().insert("x-mq-language", tonic::metadata::MetadataValue::from_static("RUST"));
        request
            .metadata_mut()
            .insert("x-mq-client-version", tonic::metadata::MetadataValue::from_static("5.0.0"));
        request.set_timeout(deadline);
        Ok(request)
    }

    /// Sends one message once.
    pub async fn send(&self, message: &Outgoing<'_>) -> Outcome {
        self.send_message(outgoing(message)).await.0
    }

    async fn send_message(&self, message: wire::Message) -> (Outcome, wire::SendResultEntry) {
        let request = wire::SendMessageRequest { messages: vec![message] };
        let call = async { self.messaging.clone().send_message(self.request(request, CALL_DEADLINE)?).await };
        match answer(call).await {
            Err(unknown) => (unknown, wire::SendResultEntry::default()),
            Ok(answer) => {
                let entry = answer.entries.into_iter().next().unwrap_or_default();
                (outcome_of(entry.status.clone().or(answer.status)), entry)
            }
        }
    }

    /// Receives messages. What came before a stream broke is returned with the unknown outcome.
    pub async fn receive(&self, what: Incoming<'_>) -> (Outcome, Vec<Received>) {
        let request = wire::ReceiveMessageRequest {
            group: Some(resource(what.group)),
            message_queue: Some(wire::MessageQueue {
                topic: Some(resource(what.topic)),
                ..Default::default()
            }),
            filter_expression: Some(wire::FilterExpression {
                r#type: wire::FilterType::Tag.into(),
                expression: "*".into(),
            }),
            batch_size: what.batch,
            invisible_duration: if what.auto_renew { None } else { duration(what.invisible) },
            auto_renew: what.auto_renew,
            long_polling_timeout: duration(what.wait),
            attempt_id: what.attempt.map(str::to_owned),
        };
        let deadline = what.wait + CALL_DEADLINE;
        let mut received = Vec::new();
        let call = async {
            let mut stream =
                self.messaging.clone().receive_message(self.request(request, deadline)?).await?.into_inner();
            let mut status = None;
            while let Some(frame) = stream.message().await? {
                match frame.content {
                    Some(Content::Status(found)) => status = Some(found),
                    Some(Content::Message(message)) => received.push(incoming(message)),
                    Some(Content::DeliveryTimestamp(_)) | None => {}
                }
            }
            Ok(tonic::Response::new(status))
        };
        let outcome = match answer_within(call, deadline + CALL_DEADLINE).await {
            Err(unknown) => unknown,
            Ok(Some(status)) if status.code() == wire::Code::MessageNotFound => Outcome::Ok,
            Ok(status) => outcome_of(status),
        };
        (outcome, received)
    }

    /// Acks deliveries, each a message id with its handle. One outcome for each.
    pub async fn ack(&self, topic: &str, group: &str, deliveries: &[(String, String)]) -> Vec<Outcome> {
        let entry = |(message_id, receipt_handle): &(String, String)| wire::AckMessageEntry {
            message_id: message_id.clone(),
            receipt_handle: receipt_handle.clone(),
            lite_topic: None,
        };
        let request = wire::AckMessageRequest {
            group: Some(resource(group)),
            topic: Some(resource(topic)),
            entries: deliveries.iter().map(entry).collect(),
        };
        let call = async { self.messaging.clone().ack_message(self.request(request, CALL_DEADLINE)?).await };
        match answer(call).await {
            Err(unknown) => vec![unknown; deliveries.len()],
            Ok(answer) if answer.entries.len() == deliveries.len() => {
                answer.entries.into_iter().map(|entry| outcome_of(entry.status)).collect()
            }
            Ok(answer) => vec![outcome_of(answer.status); deliveries.len()],
        }
    }

    /// Changes when a delivery comes back, counted from now.
    pub async fn change_invisible(
        &self,
        what: Incoming<'_>,
        message: &Received,
        invisible: Duration,
    ) -> Outcome {
        let request = wire::ChangeInvisibleDurationRequest {
            group: Some(resource(what.group)),
            topic: Some(resource(what.topic)),
            receipt_handle: message.handle.clone(),
            invisible_duration: duration(invisible),
            message_id: message.id.clone(),
            ..Default::default()
        };
        let call = async {
            self.messaging.clone().change_invisible_duration(self.request(request, CALL_DEADLINE)?).await
        };
        match answer(call).await {
            Err(unknown) => unknown,
            Ok(answer) => outcome_of(answer.status),
        }
    }
}

fn existing_is_fine<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<()> {
    match answer {
        Err(status) if status.code() != tonic::Code::AlreadyExists => Err(status.into()),
        _ => Ok(()),
    }
}

async fn answer<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Outcome> {
    answer_within(call, 2 * CALL_DEADLINE).await
}

/// No gRPC error is taken for a refusal: whether the broker got the request before the connection broke is unknown.
async fn answer_within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    deadline: Duration,
) -> Result<T, Outcome> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => {
            Err(Outcome::Unknown { reason: format!("{:?}: {}", status.code(), status.message()) })
        }
        Err(_) => Err(Outcome::Unknown { reason: format!("no answer within {deadline:?}") }),
    }
}

fn outcome_of(status: Option<wire::Status>) -> Outcome {
    match status {
        Some(wire::Status { code, .. }) if code == i32::from(wire::Code::Ok) => Outcome::Ok,
        Some(wire::Status { code, message }) if code < FIRST_SERVER_CODE => {
            Outcome::Fail { code, reason: message }
        }
        Some(wire::Status { code, message }) => {
            Outcome::Unknown { reason: format!("code {code}: {message}") }
        }
        None => Outcome::Unknown { reason: "an answer without status".into() },
    }
}

fn resource(name: &str) -> wire::Resource {
    wire::Resource { resource_namespace: String::new(), name: name.into() }
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

fn outgoing(message: &Outgoing<'_>) -> wire::Message {
    let message_type =
        if message.message_group.is_some() { wire::MessageType::Fifo } else { wire::MessageType::Normal };
    wire::Message {
        topic: Some(resource(message.topic)),
        system_properties: Some(wire::SystemProperties {
            message_id: message.id.into(),
            message_type: message_type.into(),
            message_group: message.message_group.map(str::to_string),
            body_encoding: wire::Encoding::Identity.into(),
            born_timestamp: Some(SystemTime::now().into()),
            born_host: "localhost".into(),
            ..Default::default()
        }),
        body: message.body.clone(),
        ..Default::default()
    }
}

fn incoming(message: wire::Message) -> Received {
    let properties = message.system_properties.unwrap_or_default();
    Received {
        attempt: u32::try_from(properties.delivery_attempt()).unwrap_or(0),
        place: (properties.queue_id, properties.queue_offset()),
        handle: properties.receipt_handle.unwrap_or_default(),
        id: properties.message_id,
        body: message.body,
    }
}
