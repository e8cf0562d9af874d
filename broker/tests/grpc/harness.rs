//! A broker on free ports with its own data directory, and a client that speaks to it as the official ones do.

use std::net::SocketAddr;
use std::time::Duration;

use rq_broker::config::Config;
use rq_broker::shutdown::Stop;
use rq_broker::{Listeners, RunError, run};
use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use rq_proto::rocketmq::receive_message_response::Content;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

/// Nothing here takes so long unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) http: SocketAddr,
    /// Where other brokers reach it, if that is another port.
    pub(crate) peers: Option<SocketAddr>,
    shutdown: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RunError>>,
    data: TempDir,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config.auto_create = true).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_unchecked(|config| {
            change(config);
            config.check().unwrap();
        })
        .await
    }

    /// With what no broker of a user may be told, such as times too short for anything but a test.
    pub(crate) async fn start_unchecked(change: impl FnOnce(&mut Config)) -> Self {
        let data = TempDir::new().unwrap();
        let mut config =
            Config { data: data.path().join("data"), allow_unsafe_filesystem: true, ..Config::default() };
        config.limits.segment = rq_broker::config::units::Size::mib(16);
        config.limits.default_queues = 2;
        change(&mut config);
        let bind = || TcpListener::bind("127.0.0.1:0");
        let peers = if config.peer_listen.is_some() { Some(bind().await.unwrap()) } else { None };
        let listeners = Listeners { clients: bind().await.unwrap(), peers, http: bind().await.unwrap() };
        let peers = listeners.peers.as_ref().map(|listener| listener.local_addr().unwrap());
        let (address, http) = (listeners.clients.local_addr().unwrap(), listeners.http.local_addr().unwrap());
        let (shutdown, told) = oneshot::channel::<()>();
        let running = tokio::spawn(run(config, listeners, async {
            drop(told.await);
            Stop::Alone
        }));
        Self { address, http, peers, shutdown: Some(shutdown), running, data }
    }

    /// The file of the first segment of its log.
    pub(crate) fn first_segment(&self) -> std::path::PathBuf {
        self.data.path().join(format!("data/log/{:020}.seg", 0))
    }

    pub(crate) fn tell_to_stop(&mut self) {
        drop(self.shutdown.take());
    }

    pub(crate) async fn stopped(self) {
        tokio::time::timeout(SOON, self.running).await.expect("stops in time").unwrap().unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// A client that takes so many bytes of an answer before it reads on.
    pub(crate) async fn client_with_window(&self, id: &str, bytes: u32) -> Client {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let channel = endpoint.initial_stream_window_size(bytes).connect().await.unwrap();
        Client { rpc: MessagingServiceClient::new(channel), id: id.to_owned(), language: "GO" }
    }

    pub(crate) async fn client(&self, id: &str) -> Client {
        Client { rpc: MessagingServiceClient::new(self.channel().await), id: id.to_owned(), language: "GO" }
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) rpc: MessagingServiceClient<Channel>,
    pub(crate) id: String,
    pub(crate) language: &'static str,
}

pub(crate) fn resource(name: &str) -> pb::Resource {
    pb::Resource { resource_namespace: String::new(), name: name.to_owned() }
}

pub(crate) fn message(topic: &str, id: &str, body: impl Into<Vec<u8>>) -> pb::Message {
    pb::Message {
        topic: Some(resource(topic)),
        system_properties: Some(pb::SystemProperties { message_id: id.to_owned(), ..Default::default() }),
        body: body.into().into(),
        ..Default::default()
    }
}

/// What a receive was answered with, frame by frame.
pub(crate) struct Received {
    pub(crate) status: pb::Status,
    pub(crate) messages: Vec<pb::Message>,
}

impl Received {
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }

    pub(crate) fn handle(&self, at: usize) -> String {
        system(&self.messages[at]).receipt_handle.clone().unwrap()
    }
}

pub(crate) fn system(message: &pb::Message) -> &pb::SystemProperties {
    message.system_properties.as_ref().unwrap()
}

impl Client {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-mq-client-id", self.id.parse().unwrap());
        request.metadata_mut().insert("x-mq-language", self.language.parse().unwrap());
        request
    }

    pub(crate) async fn send(&self, messages: Vec<pb::Message>) -> pb::SendMessageResponse {
        loop {
            let request = self.request(pb::SendMessageRequest { messages: messages.clone() });
            match self.rpc.clone().send_message(request).await {
                // The connection was closed in good order before this was sent. Official clients send it over another one
                // by themselves.
                Err(status) if status.code() == tonic::Code::Cancelled => {}
                answer => return answer.unwrap().into_inner(),
            }
        }
    }

    pub(crate) async fn send_ok(&self, messages: Vec<pb::Message>) {
        let response = self.send(messages).await;
        let status = response.status.unwrap();
        assert_eq!(status.code(), pb::Code::Ok, "{}", status.message);
    }

    pub(crate) fn wish(group: &str, topic: &str, wait: Duration) -> pb::ReceiveMessageRequest {
        pb::ReceiveMessageRequest {
            group: Some(resource(group)),
            message_queue: Some(pb::MessageQueue {
                topic: Some(resource(topic)),
                id: -1,
                ..Default::default()
            }),
            batch_size: 32,
            invisible_duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            long_polling_timeout: Some(prost_types::Duration {
                seconds: wait.as_secs().cast_signed(),
                nanos: wait.subsec_nanos().cast_signed(),
            }),
            ..Default::default()
        }
    }

    pub(crate) async fn open(
        &self,
        wish: pb::ReceiveMessageRequest,
    ) -> Streaming<pb::ReceiveMessageResponse> {
        self.rpc.clone().receive_message(self.request(wish)).await.unwrap().into_inner()
    }

    pub(crate) async fn receive_as(&self, wish: pb::ReceiveMessageRequest) -> Received {
        collect(self.open(wish).await).await
    }

    pub(crate) async fn receive(&self, group: &str, topic: &str) -> Received {
        self.receive_as(Self::wish(group, topic, Duration::from_secs(5))).await
    }

    pub(crate) async fn receive_now(&self, group: &str, topic: &str) -> Received {
        self.receive_as(Self::wish(group, topic, Duration::ZERO)).await
    }

    pub(crate) async fn ack(&self, group: &str, topic: &str, handles: &[&str]) -> pb::AckMessageResponse {
        let entry = |handle: &&str| pb::AckMessageEntry {
            message_id: "id".into(),
            receipt_handle: (*handle).to_owned(),
            lite_topic: None,
        };
        let request = pb::AckMessageRequest {
            group: Some(resource(group)),
            topic: Some(resource(topic)),
            entries: handles.iter().map(entry).collect(),
        };
        self.rpc.clone().ack_message(self.request(request)).await.unwrap().into_inner()
    }

    pub(crate) async fn change_invisible(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        seconds: i64,
    ) -> pb::ChangeInvisibleDurationResponse {
        let request = pb::ChangeInvisibleDurationRequest {
            group: Some(resource(group)),
            topic: Some(resource(topic)),
            receipt_handle: handle.to_owned(),
            invisible_duration: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..Default::default()
        };
        self.rpc.clone().change_invisible_duration(self.request(request)).await.unwrap().into_inner()
    }

    pub(crate) async fn dead_letter(&self, group: &str, topic: &str, handle: &str) -> pb::Code {
        let request = pb::ForwardMessageToDeadLetterQueueRequest {
            group: Some(resource(group)),
            topic: Some(resource(topic)),
            receipt_handle: handle.to_owned(),
            ..Default::default()
        };
        let answer = self.rpc.clone().forward_message_to_dead_letter_queue(self.request(request)).await;
        answer.unwrap().into_inner().status.unwrap().code()
    }
}

/// Reads a receive to its end and checks the order of its frames.
pub(crate) async fn collect(mut frames: Streaming<pb::ReceiveMessageResponse>) -> Received {
    let read = async {
        let Some(Content::Status(status)) = frames.message().await.unwrap().unwrap().content else {
            panic!("the first frame is no status");
        };
        let mut messages = Vec::new();
        loop {
            match frames.message().await.unwrap().expect("a delivery timestamp before the end").content {
                Some(Content::Message(message)) => messages.push(message),
                Some(Content::DeliveryTimestamp(_)) => break,
                other => panic!("unexpected frame {other:?}"),
            }
        }
        assert!(frames.message().await.unwrap().is_none(), "the stream ends");
        Received { status, messages }
    };
    tokio::time::timeout(SOON, read).await.expect("the receive ends")
}
