//! A small client of the RocketMQ 5 gRPC API: send, receive, ack, heartbeat. Each call says definitely whether it
//! was done, surely not done, or may have been done; it never retries by itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use rq_proto::rocketmq::receive_message_response::Content;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;

use crate::endpoint::Endpoint;
use crate::failure::Failure;

pub(crate) mod error;
mod hold;

pub(crate) use self::error::{CallError, Fate};

/// Largest message taken from the broker: a body of 4 MiB with its properties, and room.
const DECODE_MAX: usize = 16 << 20;

/// One client of a broker, with an id of its own.
#[derive(Clone)]
pub(crate) struct Client {
    rpc: MessagingServiceClient<Channel>,
    headers: MetadataMap,
    timeout: Duration,
}

/// Which messages of a topic to receive.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// Those with certain tags; `*` is all.
    Tags(String),
    /// Those of which this is true.
    Sql(String),
}

impl Filter {
    fn expression(&self) -> pb::FilterExpression {
        let (kind, text) = match self {
            Self::Tags(tags) => (pb::FilterType::Tag, tags),
            Self::Sql(sql) => (pb::FilterType::Sql, sql),
        };
        pb::FilterExpression { r#type: kind.into(), expression: text.clone() }
    }
}

/// What to receive.
#[derive(Clone, Debug)]
pub(crate) struct Receive {
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Which messages.
    pub(crate) filter: Filter,
    pub(crate) batch: u32,
    pub(crate) invisible: Duration,
    /// How long the broker may wait for a message.
    pub(crate) wait: Duration,
}

impl Client {
    /// Connects to a broker.
    pub(crate) async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, Failure> {
        Ok(Self::over(endpoint.connect(timeout).await?, 0, timeout))
    }

    /// A client over a connection that exists; `index` tells the clients of one process apart.
    pub(crate) fn over(channel: Channel, index: usize, timeout: Duration) -> Self {
        let rpc = MessagingServiceClient::new(channel).max_decoding_message_size(DECODE_MAX);
        Self { rpc, headers: headers(index, timeout), timeout }
    }

    /// A request with the headers of this client, its deadline among them.
    fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    /// Sends one message and waits, at most for `patience`, until it is safe. Returns what it was stored as.
    pub(crate) async fn send(
        &self,
        message: pb::Message,
        patience: Duration,
    ) -> Result<pb::SendResultEntry, CallError> {
        let mut request = self.request(pb::SendMessageRequest { messages: vec![message] });
        request.set_timeout(patience);
        let mut rpc = self.rpc.clone();
        let answer = in_time(patience, rpc.send_message(request)).await?.into_inner();
        sent(answer)
    }

    /// Receives up to a batch; nothing after `wait` is an empty list.
    pub(crate) async fn receive(&self, receive: &Receive) -> Result<Vec<pb::Message>, CallError> {
        let deadline = self.timeout + receive.wait;
        let mut request = self.request(receive.request());
        request.set_timeout(deadline);
        let mut rpc = self.rpc.clone();
        let mut messages = Vec::new();
        let mut status = None;
        let collect = async {
            let mut answers = rpc.receive_message(request).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                match answer.content {
                    Some(Content::Message(message)) => messages.push(message),
                    Some(Content::Status(sent)) => status = Some(sent),
                    Some(Content::DeliveryTimestamp(_)) | None => {}
                }
            }
            Ok(())
        };
        in_time(deadline, collect).await?;
        match check(status) {
            Err(CallError::Refused { code, .. }) if code == i32::from(pb::Code::MessageNotFound) => {
                Ok(Vec::new())
            }
            outcome => outcome.map(|()| messages),
        }
    }

    /// Acknowledges one message: it is never delivered to the group again.
    pub(crate) async fn ack(&self, group: &str, topic: &str, message: &pb::Message) -> Result<(), CallError> {
        let system = message.system_properties.as_ref().ok_or(CallError::Incomplete("system properties"))?;
        let handle = system.receipt_handle.clone().ok_or(CallError::Incomplete("receipt handle"))?;
        let entry = pb::AckMessageEntry {
            message_id: system.message_id.clone(),
            receipt_handle: handle,
            lite_topic: None,
        };
        let ack = pb::AckMessageRequest {
            group: Some(named(group)),
            topic: Some(named(topic)),
            entries: vec![entry],
        };
        let mut rpc = self.rpc.clone();
        let answer = in_time(self.timeout, rpc.ack_message(self.request(ack))).await?.into_inner();
        check(answer.status)
    }

    /// The emptiest call there is.
    pub(crate) async fn heartbeat(&self) -> Result<(), CallError> {
        let heartbeat = pb::HeartbeatRequest { group: None, client_type: pb::ClientType::Producer.into() };
        let mut rpc = self.rpc.clone();
        let answer = in_time(self.timeout, rpc.heartbeat(self.request(heartbeat))).await?;
        check(answer.into_inner().status)
    }
}

impl Receive {
    fn request(&self) -> pb::ReceiveMessageRequest {
        pb::ReceiveMessageRequest {
            group: Some(named(&self.group)),
            message_queue: Some(pb::MessageQueue {
                topic: Some(named(&self.topic)),
                id: -1,
                permission: pb::Permission::ReadWrite.into(),
                ..Default::default()
            }),
            filter_expression: Some(self.filter.expression()),
            batch_size: self.batch.cast_signed(),
            invisible_duration: Some(wire_duration(self.invisible)),
            auto_renew: false,
            long_polling_timeout: Some(wire_duration(self.wait)),
            // Under a name of its own a gateway may repeat it at a new master, which gives the same messages.
            attempt_id: Some(format!("{:032x}", rand::random::<u128>())),
        }
    }
}

/// The headers of each call; made once, cloned for each. None says a language: brokers work around the faults of the
/// official clients by it.
pub(crate) fn headers(index: usize, timeout: Duration) -> MetadataMap {
    let mut headers = MetadataMap::new();
    headers.insert("x-mq-client-version", AsciiMetadataValue::from_static(env!("CARGO_PKG_VERSION")));
    headers.insert("x-mq-protocol", AsciiMetadataValue::from_static("v2"));
    for (name, value) in
        [("x-mq-client-id", client_id(index)), ("grpc-timeout", format!("{}m", timeout.as_millis()))]
    {
        if let Ok(value) = AsciiMetadataValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// `host@process@index@time`, as the official clients name themselves.
fn client_id(index: usize) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{}@{}@{index}@{nanos:x}", if host.is_empty() { "rq" } else { &host }, std::process::id())
}

/// What is said of the one message that was sent, if it was stored.
pub(crate) fn sent(answer: pb::SendMessageResponse) -> Result<pb::SendResultEntry, CallError> {
    check(answer.status)?;
    let entry = answer.entries.into_iter().next().ok_or(CallError::Incomplete("entry"))?;
    check(entry.status.clone())?;
    Ok(entry)
}

/// An error unless the status is OK.
pub(crate) fn check(status: Option<pb::Status>) -> Result<(), CallError> {
    match status {
        Some(status) if status.code == i32::from(pb::Code::Ok) => Ok(()),
        Some(pb::Status { code, message }) => Err(CallError::Refused { code, message }),
        None => Err(CallError::Incomplete("status")),
    }
}

/// The outcome of a call, or [`CallError::NoAnswer`] at its deadline.
pub(crate) async fn in_time<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(outcome) => outcome.map_err(|status| CallError::of(&status, deadline)),
        Err(_) => Err(CallError::NoAnswer(deadline)),
    }
}

pub(crate) fn named(name: &str) -> pb::Resource {
    pb::Resource { resource_namespace: String::new(), name: name.to_owned() }
}

fn wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// Milliseconds since 1970, or 0 where there is none.
pub(crate) fn wire_millis(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: pb::Code) -> pb::Status {
        pb::Status { code: code.into(), message: String::new() }
    }

    #[test]
    fn a_send_counts_only_if_both_levels_say_ok() {
        let answer = |top, entry| pb::SendMessageResponse {
            status: Some(status(top)),
            entries: vec![pb::SendResultEntry {
                status: Some(status(entry)),
                offset: 7,
                ..Default::default()
            }],
        };
        assert_eq!(sent(answer(pb::Code::Ok, pb::Code::Ok)).unwrap().offset, 7);
        assert!(sent(answer(pb::Code::Ok, pb::Code::HaNotAvailable)).is_err());
        assert!(sent(answer(pb::Code::TooManyRequests, pb::Code::Ok)).is_err());
        assert!(
            sent(pb::SendMessageResponse { status: Some(status(pb::Code::Ok)), entries: vec![] }).is_err()
        );
        assert!(sent(pb::SendMessageResponse::default()).is_err());
    }
}
