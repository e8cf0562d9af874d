//! Two engines in one process, with a configuration in memory: the log of the master arrives at its slave.

mod compare;
mod install;
mod repair;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rq_core::config::{Config, Member};
use rq_core::hash;
use rq_core::ids::{ConnectionId, Epoch, Lane, LogTime, Lsn, Nonce, Session, StoreId, TagHash};
use rq_core::message::MessageContent;
use rq_core::queue::request::{CreateTopic, Delivery, Filter, NewMessage, Receive, Send};
use rq_core::queue::settings::{TopicKind, TopicSettings};
use rq_core::replication::{Answer, Catchup, Halt, Link, Message};
use rq_log::StdDisk;
use rq_proto::reliablequeue::replication_client::ReplicationClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;

use super::wire::Greeting;
use super::*;
use crate::engine::EngineOptions;
use crate::engine::cluster::{Cluster, ConfigRequest, Frames, News, ReplicaView, Role, Rules, ToPeer};

const SESSION: Session = Session(1);
/// Much longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The newest configuration.
type Stored = Arc<Mutex<Option<Config>>>;

struct Broker {
    engine: Engine,
    address: SocketAddr,
    /// Ends its service.
    serving: CancellationToken,
    following: CancellationToken,
    data: TempDir,
}

impl Broker {
    /// What the group `g` gets of a topic at once.
    async fn receive(&self, topic: &str) -> Vec<Delivery> {
        let receive = Receive {
            group: "g".into(),
            topic: topic.into(),
            filter: Filter::All,
            batch: 32,
            invisible_ms: 60_000,
            auto_renew: false,
            attempt: None,
            client: hash::client("client"),
            connection: ConnectionId(1),
            nonce: Nonce(1),
            wait_ms: 0,
        };
        self.engine.receive(receive).await.unwrap().unwrap()
    }

    async fn start(stored: &Stored, options: EngineOptions) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), stored, options).await
    }

    async fn start_on(data: TempDir, stored: &Stored, options: EngineOptions) -> Self {
        let engine = join(&EngineOptions { data: data.path().to_owned(), ..options }, Arc::clone(stored));
        let mut broker = Self {
            engine,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            serving: CancellationToken::new(),
            following: CancellationToken::new(),
            data,
        };
        broker.serve().await;
        broker
    }

    /// Serves at its address, of which it chooses the port the first time.
    async fn serve(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        self.serving = CancellationToken::new();
        let service = service(self.engine.clone(), self.serving.clone());
        let stop = self.serving.clone().cancelled_owned();
        let server = rq_proto::server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop));
    }

    fn follow(&self) {
        start_follower(self.engine.clone(), PeerLinks::default(), self.following.clone());
    }

    fn store(&self) -> StoreId {
        self.engine.identity().store_id
    }

    fn member(&self) -> (StoreId, Member) {
        (self.store(), Member { name: String::new(), address: self.address.to_string() })
    }

    async fn sees(&self, what: &str, seen: impl FnMut(&ReplicaView) -> bool) -> ReplicaView {
        let mut view = self.engine.view();
        let seen = tokio::time::timeout(PATIENCE, view.wait_for(seen)).await;
        seen.unwrap_or_else(|_| panic!("never seen: {what}; last {:?}", self.engine.view().borrow()))
            .unwrap()
            .clone()
    }

    /// Waits until this master's slave counts.
    async fn has_in_sync(&self, slave: &Self) {
        let config = |view: &ReplicaView| view.config.as_ref().map(|config| config.in_sync.clone());
        let in_sync = |view: &ReplicaView| config(view).is_some_and(|set| set.contains_key(&slave.store()));
        self.sees("the slave in the set", in_sync).await;
    }

    async fn send(&self, body_bytes: usize) {
        self.send_to("t", "id", body_bytes).await;
    }

    async fn send_to(&self, topic: &str, id: &str, body_bytes: usize) {
        let body = Bytes::from(vec![7; body_bytes]);
        let message = NewMessage {
            kind: TopicKind::Normal,
            key: hash::send_key("client", id, body_bytes as u32),
            tag: TagHash(0),
            lane: Lane(0),
            deliver_at: LogTime(0),
            recover_after_ms: None,
            content: MessageContent { message_id: id, body, ..MessageContent::default() }.encode(),
        };
        self.engine.send(Send { topic: topic.into(), messages: vec![message] }).await.unwrap().unwrap();
    }

    async fn create_topic(&self, name: &str) {
        let settings = TopicSettings { kind: TopicKind::Normal, queues: 1 };
        self.engine.create_topic(CreateTopic { name: name.into(), settings }).await.unwrap().unwrap();
    }

    /// Stops, and leaves its data directory.
    async fn stop(self) -> TempDir {
        self.serving.cancel();
        self.following.cancel();
        self.engine.stop().await;
        self.data
    }
}

fn options() -> EngineOptions {
    let log = rq_log::Options {
        cluster: "test".into(),
        segment_bytes: 64 << 20,
        prepared_segments: 1,
        // Little enough that a slave that comes late is served from the disk.
        tail_cache_bytes: 4 << 20,
        allow_unsafe_filesystem: true,
        ..rq_log::Options::default()
    };
    EngineOptions { log, ..EngineOptions::default() }
}

fn join(options: &EngineOptions, stored: Stored) -> Engine {
    let (config, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let cluster = Cluster { session: SESSION, config, rules: Rules::default() };
    let engine = Engine::join(options, cluster).unwrap();
    let to = engine.clone();
    std::thread::spawn(move || {
        while let Some(request) = requests.blocking_recv() {
            answer(&to, &stored, request);
        }
    });
    engine
}

fn answer(engine: &Engine, stored: &Stored, request: ConfigRequest) {
    let mut stored = stored.lock().unwrap();
    let news = match (request, &*stored) {
        (ConfigRequest::Propose(id, config), Some(present)) if present.version + 1 != config.version => {
            News::Answered(id, Answer::Conflict(present.clone()))
        }
        (ConfigRequest::Propose(id, config), _) => {
            *stored = Some(config);
            News::Answered(id, Answer::Done)
        }
        (ConfigRequest::Read, Some(present)) => News::Config(present.clone()),
        (ConfigRequest::Read, None) => return,
    };
    engine.tell(news);
}

/// A master that serves, with a topic, and a slave that does not follow it yet.
async fn pair() -> (Broker, Broker) {
    pair_with(&Stored::default(), &options()).await
}

async fn pair_with(stored: &Stored, options: &EngineOptions) -> (Broker, Broker) {
    let master = Broker::start(stored, options.clone()).await;
    let slave = Broker::start(stored, options.clone()).await;
    let members = BTreeMap::from([master.member(), slave.member()]);
    let config = Config::form(master.store(), SESSION, members, 1);
    *stored.lock().unwrap() = Some(config.clone());
    for broker in [&master, &slave] {
        broker.engine.tell(News::Config(config.clone()));
    }
    master.sees("a master that serves", ReplicaView::serves).await;
    master.create_topic("t").await;
    (master, slave)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_gets_what_was_written_before_it_came_and_everything_after() {
    let (master, slave) = pair().await;
    for kib in 1_000..1_070 {
        master.send(kib << 10).await;
    }
    // As large as a record may be, but for what belongs to it besides the body.
    master.send((16 << 20) - 1_024).await;
    slave.follow();
    master.has_in_sync(&slave).await;
    for bytes in 1..100 {
        let before = master.engine.progress().borrow().end;
        master.send(bytes).await;
        let end = slave.engine.progress().borrow().end;
        assert!(end > before, "confirmed and not at the slave: {end}");
    }
    master.stop().await;
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_cut_is_made_again_and_goes_on_where_it_was() {
    let (mut master, slave) = pair().await;
    slave.follow();
    master.has_in_sync(&slave).await;
    for bytes in 1..4 {
        master.serving.cancel();
        let unlinked =
            |view: &ReplicaView| view.config.as_ref().is_none_or(|config| config.in_sync.len() < 2);
        master.sees("the slave out of the set", unlinked).await;
        master.send(bytes).await;
        master.serve().await;
        master.has_in_sync(&slave).await;
    }
    let end = master.engine.progress().borrow().end;
    let mut progress = slave.engine.progress();
    let arrived = tokio::time::timeout(PATIENCE, progress.wait_for(|log| log.end >= end)).await;
    assert!(arrived.is_ok_and(|log| log.is_ok()), "the slave's log does not reach {end}");
    master.stop().await;
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_means_another_store_is_told_so() {
    let (master, slave) = pair().await;
    let mut following = slave.engine.following();
    let order =
        tokio::time::timeout(PATIENCE, following.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    let hello = order.map(|order| order.hello);
    let shard = master.engine.identity().shard;
    let greeting = Greeting { shard, master: StoreId(1), hello: hello.unwrap() };
    let mut client = ReplicationClient::connect(format!("http://{}", master.address)).await.unwrap();
    let refused = client.follow(tokio_stream::once(greeting.write())).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&master.store().to_string()), "{}", refused.message());
    master.stop().await;
    slave.stop().await;
}

/// A frame of a master that writes a record of a later release.
fn from_the_future() -> rq_log::Frame {
    let dir = tempfile::tempdir().unwrap();
    let mut log = rq_log::open(StdDisk, dir.path(), options().log).unwrap().finish().unwrap();
    let record = [255, 1];
    let mut frame = log.begin(Epoch(1), LogTime(1), record.len()).unwrap();
    frame.push(&record);
    log.append(frame, Lsn(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_sent_a_record_it_does_not_know_stops_and_says_what_to_do() {
    let stored = Stored::default();
    let slave = Broker::start(&stored, options()).await;
    let master = (StoreId(1), Member::default());
    let config = Config::form(master.0, SESSION, [master, slave.member()].into(), 1);
    *stored.lock().unwrap() = Some(config.clone());
    slave.engine.tell(News::Config(config));
    slave.sees("a slave", |view| matches!(view.role, Role::Slave(_))).await;

    let (peer, mut said) = tokio::sync::mpsc::unbounded_channel();
    let (link, epoch) = (Link(1), Epoch(1));
    slave.engine.tell(News::Connected(link, peer));
    let welcome = Message::Welcome { epoch, catchup: Catchup::Resume };
    slave.engine.tell(News::Message(link, welcome, Frames::default()));
    let rq_log::Frame { lsn, end, bytes } = from_the_future();
    let frames = Message::Frames { epoch, from: lsn, end, commit: Lsn(0) };
    slave.engine.tell(News::Message(link, frames, Frames { bytes, permit: None }));
    let view = slave.sees("a halt", |view| view.halted.is_some()).await;
    assert_eq!(view.halted, Some(Halt::Unreadable { at: lsn }));
    assert!(Halt::Unreadable { at: lsn }.to_string().contains("update this broker"));
    while let Some(said) = said.recv().await {
        if let ToPeer::Message(Message::Ack { received, durable, .. }) = said {
            assert_eq!((received, durable), (Lsn(0), Lsn(0)), "it must not count for what it cannot read");
        }
    }
    slave.stop().await;
}
