//! Calls with fuzzed requests against a broker that holds messages of every kind: each is answered as a request may be, and
//! what no valid handle named is still there after thousands of them. Sends and receives are fuzzed by themselves
//! (`broker/src/wire`); calls that make or delete topics and groups are not made at random, but their requests are read so.

use std::time::{Duration, SystemTime};

use bytes::{Buf as _, BufMut as _};
use prost::Message;
use rq_proto::reliablequeue as admin;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::reset_offset_request::To;
use rq_proto::rocketmq::{self as pb, Code, TransactionResolution};
use tokio::runtime::Handle;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::delayed::delayed;
use crate::harness::{Broker, Client, SOON, message, resource};
use crate::transactions::half;

/// Long after the run.
const LATER: Duration = Duration::from_hours(24);
const DEAD_LETTERS: &str = "fails";

/// The calls, of which an input names one by its first byte, and a request of each.
struct Calls {
    channel: Channel,
    paths: Vec<&'static str>,
    seeds: Vec<Vec<u8>>,
}

impl Calls {
    fn add(&mut self, path: &'static str, request: &impl Message) {
        let number = u8::try_from(self.paths.len()).unwrap();
        self.paths.push(path);
        self.seeds.push([&[number][..], &request.encode_to_vec()].concat());
    }

    fn messaging(&mut self, delivered: &[String; 3], open: &str, recall: &str) {
        let (group, topic) = (|| Some(resource("g")), || Some(resource("plain")));
        let [acked, hidden, forwarded] = delivered.clone();
        let entry = pb::AckMessageEntry { receipt_handle: acked, ..Default::default() };
        let ack = pb::AckMessageRequest { group: group(), topic: topic(), entries: vec![entry] };
        self.add("/apache.rocketmq.v2.MessagingService/AckMessage", &ack);
        let hide = pb::ChangeInvisibleDurationRequest {
            group: group(),
            topic: topic(),
            receipt_handle: hidden,
            invisible_duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        };
        self.add("/apache.rocketmq.v2.MessagingService/ChangeInvisibleDuration", &hide);
        let forward = pb::ForwardMessageToDeadLetterQueueRequest {
            group: group(),
            topic: topic(),
            receipt_handle: forwarded,
            ..Default::default()
        };
        self.add("/apache.rocketmq.v2.MessagingService/ForwardMessageToDeadLetterQueue", &forward);
        let end = pb::EndTransactionRequest {
            topic: Some(resource("orders")),
            transaction_id: open.to_owned(),
            resolution: TransactionResolution::Commit.into(),
            ..Default::default()
        };
        self.add("/apache.rocketmq.v2.MessagingService/EndTransaction", &end);
        let recall =
            pb::RecallMessageRequest { topic: Some(resource("delays")), recall_handle: recall.to_owned() };
        self.add("/apache.rocketmq.v2.MessagingService/RecallMessage", &recall);
        let route = pb::QueryRouteRequest { topic: topic(), ..Default::default() };
        self.add("/apache.rocketmq.v2.MessagingService/QueryRoute", &route);
        let assignment = pb::QueryAssignmentRequest { topic: topic(), group: group(), ..Default::default() };
        self.add("/apache.rocketmq.v2.MessagingService/QueryAssignment", &assignment);
        let heartbeat = pb::HeartbeatRequest { group: group(), ..Default::default() };
        self.add("/apache.rocketmq.v2.MessagingService/Heartbeat", &heartbeat);
    }

    fn administration(&mut self, open: &str) {
        let group = || DEAD_LETTERS.to_owned();
        let filter = admin::DeadLetterFilter { tag: "tag".to_owned(), ..Default::default() };
        let list = admin::ListDeadLettersRequest {
            group: group(),
            limit: 10,
            filter: Some(filter),
            ..Default::default()
        };
        self.add("/reliablequeue.v1.Admin/ListDeadLetters", &list);
        let replay = admin::ReplayDeadLettersRequest { group: group(), offsets: vec![0, 1] };
        self.add("/reliablequeue.v1.Admin/ReplayDeadLetters", &replay);
        let purge = admin::PurgeDeadLettersRequest { group: group(), offsets: vec![0, 1] };
        self.add("/reliablequeue.v1.Admin/PurgeDeadLetters", &purge);
        let reset = admin::ResetOffsetRequest {
            group: "g".to_owned(),
            topic: "plain".to_owned(),
            to: Some(To::TimeMs(1)),
            ..Default::default()
        };
        self.add("/reliablequeue.v1.Admin/ResetOffset", &reset);
        let retry = admin::ExponentialRetry { initial_ms: 1_000, max_ms: 9_000, multiplier: 2.0 };
        let update = admin::UpdateGroupRequest {
            name: "g".to_owned(),
            max_attempts: 3,
            retry: Some(admin::update_group_request::Retry::Exponential(retry)),
        };
        self.add("/reliablequeue.v1.Admin/UpdateGroup", &update);
        let transactions = admin::ListTransactionsRequest { topic: "orders".to_owned(), from: 0, limit: 10 };
        self.add("/reliablequeue.v1.Admin/ListTransactions", &transactions);
        let describe = admin::DescribeTransactionRequest { transaction_id: open.to_owned() };
        self.add("/reliablequeue.v1.Admin/DescribeTransaction", &describe);
        let end = admin::EndTransactionRequest { transaction_id: open.to_owned(), commit: true };
        self.add("/reliablequeue.v1.Admin/EndTransaction", &end);
        let flush = admin::SetFlushModeRequest { mode: admin::FlushMode::Async.into(), ..Default::default() };
        self.add("/reliablequeue.v1.Admin/SetFlushMode", &flush);
    }

    /// Makes the call of an input. It returns what tells apart how far requests get.
    async fn call(&self, client: &Client, input: &[u8]) -> (usize, i32, String) {
        let Some((number, request)) = input.split_first() else { return Default::default() };
        let number = usize::from(*number) % self.paths.len();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.expect("the broker is there");
        let path = self.paths[number];
        let call = grpc.unary(client.request(request.to_vec()), path.parse().unwrap(), Raw);
        let answer = tokio::time::timeout(SOON, call).await;
        match answer.unwrap_or_else(|_| panic!("{path} is not answered")) {
            Ok(answer) => {
                let status = Answer::decode(&answer.into_inner()[..]).ok().and_then(|answer| answer.status);
                let pb::Status { code, message } = status.unwrap_or_default();
                let own_fault = [Code::InternalServerError, Code::InternalError].map(i32::from);
                assert!(!own_fault.contains(&code), "{path}: {message}");
                (number, code, begin(&message))
            }
            // Tonic's own answer.
            Err(status) if status.message().starts_with("failed to decode Protobuf message") => {
                (number, -1, String::new())
            }
            Err(status) => {
                let of_a_request = matches!(
                    status.code(),
                    tonic::Code::InvalidArgument | tonic::Code::NotFound | tonic::Code::FailedPrecondition
                );
                assert!(of_a_request, "{path}: {status}");
                (number, status.code().into(), begin(status.message()))
            }
        }
    }
}

/// The first word of a message, which is never quoted from the request.
fn begin(message: &str) -> String {
    message.split_whitespace().next().unwrap_or_default().to_owned()
}

/// What all answers of the RocketMQ API begin with.
#[derive(Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    status: Option<pb::Status>,
}

/// Bytes as they are, instead of messages.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}

/// A message of a topic and with a tag of its own.
fn tagged(topic: &str, id: &str) -> pb::Message {
    let mut tagged = message(topic, id, id);
    tagged.system_properties.as_mut().unwrap().tag = Some("tag".to_owned());
    tagged
}

fn in_delays(message: pb::Message) -> pb::Message {
    pb::Message { topic: Some(resource("delays")), ..message }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fuzzed_calls_are_answered_and_take_nothing_that_no_valid_handle_names() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok((0..3).map(|n| tagged("plain", &format!("plain-{n}"))).collect()).await;
    let received = client.receive("g", "plain").await;
    let delivered = [0, 1, 2].map(|at| received.handle(at));
    client.send_ok((0..2).map(|n| tagged("failing", &format!("failing-{n}"))).collect()).await;
    let failed = client.receive(DEAD_LETTERS, "failing").await;
    for at in 0..2 {
        assert_eq!(client.dead_letter(DEAD_LETTERS, "failing", &failed.handle(at)).await, Code::Ok);
    }
    let halves = client.send(["known", "kept"].map(|id| half(id, id)).to_vec()).await;
    let later = SystemTime::now() + LATER;
    let delays = client.send(["known", "kept"].map(|id| in_delays(delayed(id, later))).to_vec()).await;
    // Another delivery of the same group, whose handle no request has; its lease outlasts the longest run.
    client.send_ok(vec![tagged("elsewhere", "kept")]).await;
    let wish = pb::ReceiveMessageRequest {
        invisible_duration: Some(prost_types::Duration { seconds: 12 * 3_600, nanos: 0 }),
        ..Client::wish("g", "elsewhere", SOON)
    };
    let kept_delivery = client.receive_as(wish).await.handle(0);

    let mut calls = Calls { channel: broker.channel().await, paths: Vec::new(), seeds: Vec::new() };
    let open = &halves.entries[0].transaction_id;
    calls.messaging(&delivered, open, &delays.entries[0].recall_handle);
    calls.administration(open);
    let (runtime, caller) = (Handle::current(), client.clone());
    let fuzzing = tokio::task::spawn_blocking(move || {
        let seeds = calls.seeds.clone();
        rq_fuzz::fuzz(seeds, |input| runtime.block_on(calls.call(&caller, input)));
    });
    fuzzing.await.unwrap();

    let mut admin = AdminClient::new(broker.channel().await);
    let held = |topic: &str| Request::new(admin::DescribeTopicRequest { name: topic.to_owned() });
    let delays = admin.describe_topic(held("delays")).await.unwrap().into_inner();
    assert!((1..=2).contains(&delays.delayed), "{} delayed messages", delays.delayed);
    let kept = &halves.entries[1].transaction_id;
    assert_eq!(client.end(kept, TransactionResolution::Rollback).await.code(), Code::Ok);
    let group = admin::DescribeGroupRequest { name: "g".to_owned() };
    let group = admin.describe_group(group).await.unwrap().into_inner();
    let open = group.progress.iter().filter(|queue| queue.topic == "elsewhere");
    assert_eq!(open.map(|queue| queue.in_flight).sum::<u64>(), 1, "it was acked or buried");
    assert_eq!(client.ack("g", "elsewhere", &[&kept_delivery]).await.status.unwrap().code(), Code::Ok);
}
