//! The watch over one queue, against an API server in memory and brokers that speak over mTLS.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use rq_core::config::{self, Change, Config};
use rq_core::ids::{Session, StoreId};
use rq_operator_core::queue::status::FailoverCause;
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use rq_overseer::Trouble;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_server::{Replica, ReplicaServer};
use tokio::net::TcpListener;
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::pods::PodSeen;
use super::*;
use crate::api_server::ApiServer;
use crate::certificates::tests::{certificate, queue};
use crate::certificates::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};

const A: StoreId = StoreId(0xA);
const B: StoreId = StoreId(0xB);
const S: Session = Session(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker that says this of itself.
struct Broker {
    says: watch::Receiver<pb::ReplicaStatus>,
}

#[tonic::async_trait]
impl Replica for Broker {
    type CheckSegmentsStream = Pin<Box<dyn Stream<Item = Result<pb::SegmentCheck, Status>> + Send>>;

    async fn describe(
        &self,
        _: Request<pb::DescribeReplicaRequest>,
    ) -> Result<Response<pb::ReplicaStatus>, Status> {
        Ok(Response::new(self.says.borrow().clone()))
    }

    async fn hand_over(
        &self,
        _: Request<pb::HandOverRequest>,
    ) -> Result<Response<pb::HandOverResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn accept_data_loss(
        &self,
        _: Request<pb::AcceptDataLossRequest>,
    ) -> Result<Response<pb::AcceptDataLossResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn vouch(&self, _: Request<pb::VouchRequest>) -> Result<Response<pb::VouchResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn take_checks(
        &self,
        _: Request<pb::TakeChecksRequest>,
    ) -> Result<Response<pb::TakeChecksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn report_checks(
        &self,
        _: Request<pb::ReportChecksRequest>,
    ) -> Result<Response<pb::ReportChecksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn state_hash(
        &self,
        _: Request<pb::StateHashRequest>,
    ) -> Result<Response<pb::StateHashResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check_segments(
        &self,
        _: Request<pb::CheckSegmentsRequest>,
    ) -> Result<Response<Self::CheckSegmentsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn status(name: &str, store: StoreId) -> pb::ReplicaStatus {
    pb::ReplicaStatus {
        name: name.to_owned(),
        cluster: "orders".to_owned(),
        store_id: store.to_string(),
        session: S.0,
        ..pb::ReplicaStatus::default()
    }
}

/// Of a store that follows, or leads, this configuration.
fn used(name: &str, store: StoreId, config: &Config) -> pb::ReplicaStatus {
    let role = if config.master == store { pb::Role::Master } else { pb::Role::Slave };
    pb::ReplicaStatus {
        role: role.into(),
        serving: config.master == store,
        epoch: config.epoch.0,
        promised: config.epoch.0,
        log_epoch: config.epoch.0,
        config_version: config.version,
        end_lsn: 100,
        durable_lsn: 100,
        ..status(name, store)
    }
}

/// A queue of two brokers, and what is around it.
struct Scene {
    server: ApiServer,
    detector: Detector,
    key: QueueKey,
    brokers: BTreeMap<String, (watch::Sender<pb::ReplicaStatus>, String)>,
    tell: watch::Sender<Surroundings>,
    _watch: AbortOnDropHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        let (server, clock) = (ApiServer::default(), Clock::start());
        let secret = certificate();
        server.put(&secret);
        let mut shard = QueueShard::new("orders", QueueShardSpec::unformed());
        shard.metadata.namespace = Some("shop".to_owned());
        server.put(&shard);
        let mut brokers = BTreeMap::new();
        for (name, store) in [("orders-0", A), ("orders-1", B)] {
            brokers.insert(name.to_owned(), serve(&secret, status(name, store)).await);
        }
        let detector = Detector {
            client: server.client(),
            without_retries: server.client(),
            clock,
            board: Arc::new(Board::new()),
            pulse: Arc::new(Pulse::new(clock)),
            metrics: Arc::new(Metrics::new()),
            teller: Teller::new(server.client(), "operator-0".to_owned()),
            is_leader: watch::channel(true).1,
        };
        let key = QueueKey::from(&queue());
        let shown = Surroundings { queue: Arc::new(queue()), version: None, pods: pods(&brokers, &[]) };
        let (tell, told) = watch::channel(shown);
        let task = QueueWatch::new(detector.clone(), key.clone(), told).run();
        Self { server, detector, key, brokers, tell, _watch: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    fn config(&self) -> Option<Config> {
        self.server.get::<QueueShard>("shop", "orders")?.spec.config().unwrap()
    }

    /// Has somebody else write this configuration.
    fn write(&self, config: &Config) {
        let mut shard: QueueShard = self.server.get("shop", "orders").unwrap();
        shard.spec = QueueShardSpec::from(config);
        self.server.put(&shard);
    }

    /// The watch shows that there is another version of the configuration.
    fn touch(&self, version: &str) {
        self.tell.send_modify(|shown| shown.version = Some(version.to_owned()));
    }

    /// Waits until the configuration is so.
    async fn configured(&self, is_so: impl Fn(&Config) -> bool) -> Config {
        let waited = async {
            loop {
                if let Some(config) = self.config().filter(&is_so) {
                    return config;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        waited.unwrap_or_else(|_| panic!("the configuration is {:?}", self.config()))
    }

    /// Waits until this is found.
    async fn found(&self, is_so: impl Fn(&Findings) -> bool) -> Findings {
        let mut news = self.detector.board.news();
        let waited = async {
            while !is_so(&self.detector.board.of(&self.key)) {
                let _ = tokio::time::timeout(Duration::from_millis(100), news.recv()).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        let found = self.detector.board.of(&self.key);
        waited.unwrap_or_else(|_| panic!("found is {found:?}"));
        found
    }

    fn says(&self, config: &Config) {
        for (name, (says, _)) in &self.brokers {
            let store = if name == "orders-0" { A } else { B };
            says.send_replace(used(name, store, config));
        }
    }

    /// Both brokers are in sync, orders-0 is master.
    async fn in_sync() -> (Self, Config) {
        let scene = Self::new().await;
        let formed = scene.configured(|_| true).await;
        assert_eq!((formed.master, formed.members.len()), (A, 2));
        let expand = Change::Expand { by: (A, formed.epoch), add: B, session: S };
        let config = config::next(&formed, &expand).unwrap();
        scene.write(&config);
        scene.says(&config);
        scene.found(|found| found.version == config.version).await;
        (scene, config)
    }
}

/// A broker with the certificate of the queue, and where it is.
async fn serve(
    secret: &k8s_openapi::api::core::v1::Secret,
    says: pb::ReplicaStatus,
) -> (watch::Sender<pb::ReplicaStatus>, String) {
    let file = |name: &str| secret.data.as_ref().unwrap()[name].0.clone();
    let identity = tonic::transport::Identity::from_pem(file(CERTIFICATE_FILE), file(KEY_FILE));
    let tls =
        ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(file(AUTHORITY_FILE)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, says) = watch::channel(says);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = Server::builder().tls_config(tls).unwrap().add_service(ReplicaServer::new(Broker { says }));
    tokio::spawn(server.serve_with_incoming(incoming));
    (tell, address.to_string())
}

fn pods(
    brokers: &BTreeMap<String, (watch::Sender<pb::ReplicaStatus>, String)>,
    ended: &[&str],
) -> BTreeMap<String, PodSeen> {
    let pod = |(name, (_, address)): (&String, &(_, String))| {
        let seen = PodSeen {
            uid: format!("uid of {name}"),
            container: (!ended.contains(&name.as_str())).then(|| "c".to_owned()),
            address: Some(address.clone()),
            ..PodSeen::default()
        };
        (name.clone(), seen)
    };
    brokers.iter().map(pod).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_formed_and_when_the_container_of_its_master_ends_the_slave_is_promoted() {
    let (scene, before) = Scene::in_sync().await;
    scene.tell.send_modify(|shown| shown.pods = pods(&scene.brokers, &["orders-0"]));
    let after = scene.configured(|config| config.master == B).await;
    assert_eq!((after.epoch, after.in_sync.len()), (before.epoch.next(), 1));
    scene.says(&after);
    let found = scene.found(|found| found.failover.as_ref().is_some_and(|it| it.served_at.is_some())).await;
    let failover = found.failover.unwrap();
    assert_eq!((failover.from.as_deref(), failover.to.as_str()), (Some("orders-0"), "orders-1"));
    assert_eq!(failover.cause, Some(FailoverCause::ContainerTerminated));
    assert!(failover.dead_at <= failover.decided_at && failover.decided_at <= failover.served_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_by_a_broker_is_told_and_no_other_is_made() {
    let (scene, before) = Scene::in_sync().await;
    let promote = Change::Promote { to: B, session: S, keep: vec![A, B] };
    let after = config::next(&before, &promote).unwrap();
    scene.write(&after);
    scene.says(&after);
    let found = scene.found(|found| found.failover.is_some()).await;
    assert_eq!(found.failover.unwrap().cause, Some(FailoverCause::HandedOver));
    scene.tell.send_modify(|shown| shown.pods = pods(&scene.brokers, &["orders-0"]));
    let gone = |found: &Findings| found.replicas.iter().any(|seen| !seen.running);
    scene.found(gone).await;
    assert_eq!(scene.config(), Some(after), "the one that ended was the slave");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_promoted_by_a_configuration_that_went_back_until_the_newest_one_is_put_back() {
    let (scene, both) = Scene::in_sync().await;
    let shrink = Change::Shrink { by: (A, both.epoch), remove: B };
    let alone = config::next(&both, &shrink).unwrap();
    scene.write(&alone);
    // Nobody but the operator has seen it.
    scene.touch("2");
    scene.found(|found| found.version == alone.version).await;
    scene.tell.send_modify(|shown| shown.pods = pods(&scene.brokers, &["orders-0"]));
    scene.found(|found| matches!(found.trouble, Some(Trouble::Stalled(_)))).await;
    scene.write(&both);
    scene.touch("3");
    scene.found(|found| matches!(found.trouble, Some(Trouble::ConfigBehind { .. }))).await;
    assert_eq!(scene.config(), Some(both), "orders-1 lacks what orders-0 has acknowledged alone");

    scene.write(&alone);
    scene.touch("4");
    scene.found(|found| matches!(found.trouble, Some(Trouble::Stalled(_)))).await;
    scene.tell.send_modify(|shown| shown.pods = pods(&scene.brokers, &[]));
    scene.says(&alone);
    scene.found(|found| found.trouble.is_none() && found.version == alone.version).await;
}
