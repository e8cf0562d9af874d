//! Two replicas: the slave has all that was acknowledged, and takes over when it is told to or the master is gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rq_broker::config::units::Span;
use rq_config_files::ConfigFiles;
use rq_core::config::{Change, Config, Member, Written, next};
use rq_core::ids::{Session, StoreId};
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use rq_proto::reliablequeue::{
    DescribeReplicaRequest, FlushMode, HandOverRequest, ReplicaStatus, SetFlushModeRequest, StatusRequest,
};
use rq_proto::rocketmq::Code;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::{Broker, Client, SOON, message, system};
use crate::telemetry::{Telemetry, consumer};

pub(crate) const NAMES: [&str; 2] = ["r0", "r1"];

pub(crate) struct Cluster {
    dir: TempDir,
    files: ConfigFiles,
    /// Directory and name of the certificates of all brokers, where they use some.
    tls: Option<(PathBuf, &'static str)>,
    pub(crate) brokers: BTreeMap<&'static str, Broker>,
}

impl Cluster {
    /// Two replicas that were never used form a cluster; the first is its master.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(tls: Option<(PathBuf, &'static str)>) -> Self {
        let dir = TempDir::new().unwrap();
        let files = ConfigFiles::make(&dir.path().join("config")).unwrap();
        let mut cluster = Self { dir, files, tls, brokers: BTreeMap::new() };
        for name in NAMES {
            cluster.start_broker(name).await;
        }
        let mut members = BTreeMap::new();
        for name in NAMES {
            let status = cluster.describe(name).await;
            members.insert(store(&status), cluster.member(name));
        }
        let master = cluster.describe("r0").await;
        let config = Config::form(store(&master), Session(master.session), members, 1);
        assert_eq!(cluster.files.compare_and_set(&config).unwrap(), Written::Done);
        cluster.in_sync("r0", 2).await;
        cluster
    }

    async fn start_broker(&mut self, name: &'static str) {
        let (config_store, data) = (self.dir.path().join("config"), self.dir.path().join(name));
        let tls = self.tls.clone();
        let broker = Broker::start_with(|config| {
            config.auto_create = true;
            config.limits.transaction_immunity = Span::millis(200);
            config.data = data;
            config.config_store = Some(config_store);
            name.clone_into(&mut config.name);
            if let Some((dir, name)) = tls {
                config.peer_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
                config.peer_tls = Some(dir);
                config.peer_tls_name = Some(name.to_owned());
            }
        });
        self.brokers.insert(name, broker.await);
    }

    /// Starts a replica again, at another address.
    pub(crate) async fn restart(&mut self, name: &'static str) {
        self.start_broker(name).await;
        self.register(name, self.member(name)).await;
    }

    /// Says in the configuration what this replica is called and where it serves.
    pub(crate) async fn register(&self, name: &str, member: Member) {
        let store = store(&self.describe(name).await);
        loop {
            let config = self.files.read().unwrap().unwrap();
            let moved = next(&config, &Change::Register { store, member: member.clone() }).unwrap();
            if self.files.compare_and_set(&moved).unwrap() == Written::Done {
                return;
            }
        }
    }

    pub(crate) async fn stop(&mut self, name: &'static str) {
        self.stopping(name).await;
    }

    /// Tells a broker to stop; completes what is returned when it has.
    pub(crate) fn stopping(&mut self, name: &str) -> impl Future<Output = ()> + Send + use<> {
        let mut broker = self.brokers.remove(name).unwrap();
        broker.tell_to_stop();
        broker.stopped()
    }

    /// The newest configuration.
    pub(crate) fn config(&self) -> Config {
        self.files.read().unwrap().unwrap()
    }

    pub(crate) fn member(&self, name: &str) -> Member {
        let broker = &self.brokers[name];
        Member { name: name.to_owned(), address: broker.peers.unwrap_or(broker.address).to_string() }
    }

    pub(crate) async fn replica(&self, name: &str) -> ReplicaClient<Channel> {
        ReplicaClient::new(self.brokers[name].channel().await)
    }

    pub(crate) async fn describe(&self, name: &str) -> ReplicaStatus {
        self.replica(name).await.describe(DescribeReplicaRequest {}).await.unwrap().into_inner()
    }

    /// Waits until this replica serves with so many copies in sync.
    pub(crate) async fn in_sync(&self, name: &str, copies: usize) {
        let wait = async {
            loop {
                let config = self.files.read().unwrap().unwrap();
                if self.describe(name).await.serving && config.in_sync.len() == copies {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(SOON, wait).await;
        assert!(waited.is_ok(), "{:#?}\n{:#?}", self.files.read(), self.describe(name).await);
    }

    /// Waits until both logs are the same and all of them is committed.
    pub(crate) async fn caught_up(&self) {
        let wait = async {
            loop {
                let (one, two) = (self.describe("r0").await, self.describe("r1").await);
                let ends = [one.end_lsn, one.durable_lsn, one.commit_lsn, two.durable_lsn, two.commit_lsn];
                if ends.iter().all(|end| *end == two.end_lsn) {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("both catch up");
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        self.brokers[name].client("c").await
    }
}

fn store(status: &ReplicaStatus) -> StoreId {
    status.store_id.parse().unwrap()
}

pub(crate) async fn send_all(client: &Client, ids: std::ops::Range<usize>) {
    for number in ids {
        client.send_ok(vec![message("t", &format!("{number:032}"), "body")]).await;
    }
}

/// The ids of all messages that there are, acked.
pub(crate) async fn take_all(client: &Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let received = client.receive("g", "t").await;
        for message in &received.messages {
            let acked = client.ack("g", "t", &[&system(message).receipt_handle.clone().unwrap()]).await;
            assert_eq!(acked.status.unwrap().code(), Code::Ok);
            ids.push(system(message).message_id.clone());
        }
    }
    ids.sort();
    ids
}

pub(crate) fn expected(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:032}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_master_acknowledged_the_slave_has_flushed() {
    let cluster = Cluster::start().await;
    send_all(&cluster.client("r0").await, 0..50).await;
    let (master, slave) = (cluster.describe("r0").await, cluster.describe("r1").await);
    assert!(slave.durable_lsn >= master.commit_lsn, "{slave:?} of {master:?}");
    cluster.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_switch_loses_nothing_and_the_old_master_follows() {
    let cluster = Cluster::start().await;
    let client = cluster.client("r0").await;
    send_all(&client, 0..20).await;
    let to_store = cluster.describe("r1").await.store_id;
    cluster.replica("r0").await.hand_over(HandOverRequest { to_store }).await.unwrap();
    cluster.in_sync("r1", 2).await;
    let client = cluster.client("r1").await;
    send_all(&client, 20..40).await;
    assert_eq!(take_all(&client, 40).await, expected(40));
    cluster.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_told_to_stop_hands_over_first_and_comes_back_as_a_slave() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client("r0").await;
    send_all(&client, 0..20).await;
    let r1 = store(&cluster.describe("r1").await);
    cluster.stop("r0").await;
    assert_eq!(cluster.files.read().unwrap().unwrap().master, r1, "by the time it has stopped");
    cluster.in_sync("r1", 1).await;
    let client = cluster.client("r1").await;
    send_all(&client, 20..40).await;
    cluster.restart("r0").await;
    cluster.in_sync("r1", 2).await;
    assert_eq!(take_all(&client, 40).await, expected(40));
    cluster.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_an_error_of_a_master_that_is_told_to_stop() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client("r1").await;
    let sending = tokio::spawn({
        let client = client.clone();
        async move { send_all(&client, 0..300).await }
    });
    cluster.stop("r0").await;
    sending.await.unwrap();
    assert_eq!(take_all(&client, 300).await, expected(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_what_it_has_kept_and_how_full_its_disk_is() {
    let cluster = Cluster::start().await;
    for name in NAMES {
        let status = cluster.describe(name).await;
        let config = status.config.unwrap();
        assert_eq!((config.version, config.epoch), (status.config_version, status.epoch));
        assert_eq!((&config.master, config.members.len()), (&status.master, 2));
        assert_eq!(config.flush_mode(), FlushMode::Sync);
        assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
        assert!(status.disk_free_bytes > 0 && status.disk_total_bytes >= status.disk_free_bytes);
    }
    let mut admin = AdminClient::new(cluster.brokers["r0"].channel().await);
    let request = SetFlushModeRequest { mode: FlushMode::Async.into(), interval_ms: 250 };
    admin.set_flush_mode(request).await.unwrap();
    let told = async {
        loop {
            let status = cluster.describe("r1").await;
            if (status.flush_mode(), status.flush_interval_ms) == (FlushMode::Async, 250) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, told).await.expect("the slave tells the other mode");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_slave_is_served_by_the_master_through_it() {
    let cluster = Cluster::start().await;
    let client = cluster.client("r1").await;
    let mut telemetry = Telemetry::open(&client).await;
    telemetry.settings(consumer("g")).await;
    send_all(&client, 0..20).await;
    assert_eq!(take_all(&client, 20).await, expected(20));
    let unknown = client.ack("g", "t", &["no handle"]).await;
    assert_eq!(unknown.status.unwrap().code(), Code::InvalidReceiptHandle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_without_a_deadline_waits_as_long_as_it_asked_to() {
    let cluster = Cluster::start().await;
    let (wait, began) = (Duration::from_secs(4), Instant::now());
    send_all(&cluster.client("r0").await, 0..1).await;
    take_all(&cluster.client("r0").await, 1).await;
    let polls = NAMES.map(|name| {
        let client = cluster.client(name);
        async { client.await.receive_as(Client::wish("g", "t", wait)).await.status.code() }
    });
    assert_eq!(futures::future::join_all(polls).await, [Code::MessageNotFound; 2]);
    assert!(began.elapsed() >= wait, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_held_while_there_is_no_master() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client("r1").await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { take_all(&client, 1).await }
    });
    cluster.stop("r0").await;
    send_all(&client, 0..1).await;
    assert_eq!(waiting.await.unwrap(), expected(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_async_mode_sends_are_answered_before_they_are_flushed_and_in_sync_mode_after() {
    let cluster = Cluster::start().await;
    // Any process takes the order.
    let mut admin = AdminClient::new(cluster.brokers["r1"].channel().await);
    let mut mode = async |mode: FlushMode| {
        let request = SetFlushModeRequest { mode: mode.into(), interval_ms: 60_000 };
        admin.set_flush_mode(request).await.unwrap();
        let wait = async {
            while admin.status(StatusRequest {}).await.unwrap().into_inner().flush_mode() != mode {}
        };
        tokio::time::timeout(SOON, wait).await.expect("another flush mode");
    };
    let client = cluster.client("r0").await;
    mode(FlushMode::Async).await;
    send_all(&client, 0..50).await;
    let master = cluster.describe("r0").await;
    let slave = cluster.describe("r1").await;
    assert!(master.commit_lsn > master.durable_lsn, "{master:?}");
    assert!(slave.commit_lsn > slave.durable_lsn, "{slave:?}");
    mode(FlushMode::Sync).await;
    send_all(&client, 50..100).await;
    cluster.caught_up().await;
    assert_eq!(take_all(&client, 100).await, expected(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_an_error_of_a_planned_switch() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.client("r0").await, cluster.client("r1").await);
    let sending = [(one, 0..300), (two, 300..600)]
        .map(|(client, ids)| tokio::spawn(async move { send_all(&client, ids).await }));
    for (from, to) in [("r0", "r1"), ("r1", "r0"), ("r0", "r1")] {
        let to_store = cluster.describe(to).await.store_id;
        // On a busy machine a slave leaves the set for a moment.
        let order = || HandOverRequest { to_store: to_store.clone() };
        while cluster.replica(from).await.hand_over(order()).await.is_err() {
            cluster.in_sync(from, 2).await;
        }
        cluster.in_sync(to, 2).await;
    }
    for sending in sending {
        sending.await.unwrap();
    }
    assert_eq!(take_all(&cluster.client("r0").await, 600).await, expected(600));
    cluster.caught_up().await;
}
