//! Settings, heartbeats and goodbyes.

use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::update_group_request::Retry;
use rq_proto::reliablequeue::{CustomizedRetry, UpdateGroupRequest};
use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::retry_policy::Strategy;
use rq_proto::rocketmq::settings::PubSub;
use rq_proto::rocketmq::telemetry_command::Command;
use rq_proto::rocketmq::{ClientType, Code};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::harness::{Broker, Client, SOON, message, resource};

pub(crate) struct Telemetry {
    commands: Option<mpsc::Sender<pb::TelemetryCommand>>,
    answers: Streaming<pb::TelemetryCommand>,
}

impl Telemetry {
    pub(crate) async fn open(client: &Client) -> Self {
        let (commands, receiver) = mpsc::channel(4);
        let request = client.request(ReceiverStream::new(receiver));
        let answers = client.rpc.clone().telemetry(request).await.unwrap().into_inner();
        Self { commands: Some(commands), answers }
    }

    pub(crate) async fn say(&mut self, settings: pb::Settings) {
        let command = pb::TelemetryCommand { status: None, command: Some(Command::Settings(settings)) };
        self.commands.as_ref().unwrap().send(command).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Result<Option<pb::TelemetryCommand>, tonic::Status> {
        tokio::time::timeout(SOON, self.answers.message()).await.expect("an answer in time")
    }

    pub(crate) async fn settings(&mut self, settings: pb::Settings) -> pb::Settings {
        self.say(settings).await;
        let answer = self.hear().await.unwrap().unwrap();
        assert_eq!(answer.status.unwrap().code(), Code::Ok);
        match answer.command {
            Some(Command::Settings(settings)) => settings,
            other => panic!("no settings: {other:?}"),
        }
    }
}

pub(crate) fn producer() -> pb::Settings {
    let publishing = pb::Publishing { topics: vec![resource("t")], ..Default::default() };
    pb::Settings {
        client_type: Some(ClientType::Producer.into()),
        pub_sub: Some(PubSub::Publishing(publishing)),
        ..Default::default()
    }
}

pub(crate) fn consumer(group: &str) -> pb::Settings {
    let entry = pb::SubscriptionEntry { topic: Some(resource("t")), expression: None };
    let subscription =
        pb::Subscription { group: Some(resource(group)), subscriptions: vec![entry], ..Default::default() };
    pb::Settings {
        client_type: Some(ClientType::PushConsumer.into()),
        pub_sub: Some(PubSub::Subscription(subscription)),
        ..Default::default()
    }
}

#[tokio::test]
async fn every_settings_frame_is_answered_and_the_stream_ends_with_the_clients_side() {
    let broker = Broker::start().await;
    let mut stream = Telemetry::open(&broker.client("c").await).await;
    for _ in 0..2 {
        let settings = stream.settings(producer()).await;
        let Some(PubSub::Publishing(publishing)) = settings.pub_sub else { panic!("no publishing") };
        assert_eq!(publishing.max_body_size, 4_194_304);
    }
    stream.commands = None;
    assert_eq!(stream.hear().await.unwrap(), None);
}

#[tokio::test]
async fn a_consumers_settings_follow_its_group_and_language() {
    let broker = Broker::start().await;
    let mut client = broker.client("c").await;
    let strategy = |settings: pb::Settings| settings.backoff_policy.unwrap().strategy.unwrap();
    let settings = Telemetry::open(&client).await.settings(consumer("g")).await;
    assert!(matches!(strategy(settings), Strategy::ExponentialBackoff(_)));
    client.language = "PYTHON";
    let settings = Telemetry::open(&client).await.settings(consumer("g")).await;
    assert!(matches!(strategy(settings), Strategy::CustomizedBackoff(_)));
}

#[tokio::test]
async fn a_consumer_that_says_its_settings_again_hears_of_a_changed_retry_policy() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let mut stream = Telemetry::open(&client).await;
    let policy = stream.settings(consumer("g")).await.backoff_policy.unwrap();
    assert!(matches!(policy.strategy, Some(Strategy::ExponentialBackoff(_))));
    let retry = Retry::Customized(CustomizedRetry { delays_ms: vec![2_000] });
    let update = UpdateGroupRequest { name: "g".to_owned(), max_attempts: 4, retry: Some(retry) };
    AdminClient::new(broker.channel().await).update_group(update).await.unwrap();
    let policy = stream.settings(consumer("g")).await.backoff_policy.unwrap();
    let Some(Strategy::CustomizedBackoff(delays)) = policy.strategy else { panic!("another strategy") };
    assert_eq!((policy.max_attempts, delays.next), (4, vec![prost_types::Duration { seconds: 2, nanos: 0 }]));
}

#[tokio::test]
async fn a_node_client_hears_its_settings_again_since_it_may_have_missed_the_first() {
    let broker = Broker::start().await;
    let mut client = broker.client("c").await;
    client.language = "HTTP";
    let mut stream = Telemetry::open(&client).await;
    let first = stream.settings(producer()).await;
    let again = stream.hear().await.unwrap().unwrap();
    assert_eq!(again.command, Some(Command::Settings(first)));
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_ends_the_stream_with_an_error() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let mut rpc = Grpc::new(broker.channel().await);
    rpc.ready().await.unwrap();
    // A tag of zero where the status would be: what the Java client 5.2.0 sent when its threads wrote at once.
    let garbled = pb::Resource { resource_namespace: "\0".to_owned(), name: String::new() };
    let request = client.request(tokio_stream::once(garbled));
    let codec: ProstCodec<pb::Resource, pb::TelemetryCommand> = ProstCodec::default();
    let path = PathAndQuery::from_static("/apache.rocketmq.v2.MessagingService/Telemetry");
    let mut answers = rpc.streaming(request, path, codec).await.unwrap().into_inner();
    let end = tokio::time::timeout(SOON, answers.message()).await.expect("an answer in time");
    assert_eq!(end.unwrap_err().code(), tonic::Code::Internal);
}

#[tokio::test]
async fn illegal_settings_are_said_in_a_frame_and_end_the_stream_with_an_error() {
    let broker = Broker::start_with(|_| ()).await;
    let client = broker.client("c").await;
    let mut nothing = producer();
    nothing.pub_sub = None;
    let rows = [
        (nothing, Code::BadRequest, tonic::Code::InvalidArgument),
        (consumer(""), Code::IllegalConsumerGroup, tonic::Code::InvalidArgument),
        (consumer("unknown"), Code::ConsumerGroupNotFound, tonic::Code::NotFound),
        (
            pb::Settings { client_type: Some(0), ..producer() },
            Code::UnrecognizedClientType,
            tonic::Code::InvalidArgument,
        ),
    ];
    for (settings, body, grpc) in rows {
        let mut stream = Telemetry::open(&client).await;
        stream.say(settings).await;
        let frame = stream.hear().await.unwrap().unwrap();
        assert_eq!(frame.status.unwrap().code(), body);
        assert_eq!(stream.hear().await.unwrap_err().code(), grpc);
    }
}

#[tokio::test]
async fn a_heartbeat_needs_no_settings_and_an_empty_group_is_none() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    let mut rpc = client.rpc.clone();
    for group in [None, Some(resource("")), Some(resource("g"))] {
        let request = pb::HeartbeatRequest { group: group.clone(), client_type: 0 };
        let beat = rpc.heartbeat(client.request(request)).await.unwrap().into_inner();
        assert_eq!(beat.status.unwrap().code(), Code::Ok);
        let request = pb::NotifyClientTerminationRequest { group };
        let bye = rpc.notify_client_termination(client.request(request)).await.unwrap().into_inner();
        assert_eq!(bye.status.unwrap().code(), Code::Ok);
    }
}

#[tokio::test]
async fn what_a_client_held_with_renewal_goes_to_others_when_it_says_goodbye() {
    let broker = Broker::start().await;
    let (leaving, staying) = (broker.client("leaving").await, broker.client("staying").await);
    leaving.send_ok(vec![message("t", "1", "x")]).await;
    let mut wish = Client::wish("g", "t", std::time::Duration::from_secs(5));
    wish.auto_renew = true;
    wish.invisible_duration = None;
    assert_eq!(leaving.receive_as(wish).await.bodies(), ["x"]);
    assert_eq!(staying.receive_now("g", "t").await.status.code(), Code::MessageNotFound);
    let bye = leaving.request(pb::NotifyClientTerminationRequest { group: Some(resource("g")) });
    leaving.rpc.clone().notify_client_termination(bye).await.unwrap();
    assert_eq!(staying.receive("g", "t").await.bodies(), ["x"]);
}
