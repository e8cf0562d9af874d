//! Brokers that talk to each other over a port of their own, with mutual TLS: the cluster works as it does in the clear,
//! and nobody else gets in.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use rq_proto::reliablequeue::replication_client::ReplicationClient;
use rq_proto::reliablequeue::{DescribeReplicaRequest, HandOverRequest, ReplicaStatus, VouchRequest};
use rq_proto::rocketmq::{Code, SendMessageRequest};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Status, transport};

use crate::cluster::{Cluster, NAMES, expected, send_all, take_all};
use crate::harness::{Broker, Client, SOON, collect, message};
use crate::telemetry::{Telemetry, consumer};

const NAME: &str = "orders.shop.reliablequeue.internal";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }

    fn write(&self, dir: &Path) {
        let [certificate, key] = self.issue(NAME);
        for (file, text) in [("ca.crt", self.0.pem()), ("tls.crt", certificate), ("tls.key", key)] {
            fs::write(dir.join(file), text).unwrap();
        }
    }

    /// What the operator connects with: tonic's own TLS.
    fn tls(&self, identity: Option<[String; 2]>) -> ClientTlsConfig {
        let config =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.0.pem())).domain_name(NAME);
        match identity {
            Some([certificate, key]) => config.identity(Identity::from_pem(certificate, key)),
            None => config,
        }
    }
}

/// Two replicas with certificates of this authority.
async fn cluster(authority: &Authority) -> (Cluster, TempDir) {
    let dir = TempDir::new().unwrap();
    authority.write(dir.path());
    (Cluster::start_with(Some((dir.path().to_owned(), NAME))).await, dir)
}

async fn connect(broker: &Broker, tls: ClientTlsConfig) -> Result<Channel, transport::Error> {
    let endpoint = Channel::from_shared(format!("https://{}", broker.peers.unwrap())).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await
}

/// Describes a replica over its port for others.
async fn describe(broker: &Broker, tls: ClientTlsConfig) -> Result<ReplicaStatus, Status> {
    let channel = connect(broker, tls).await.map_err(|error| Status::from_error(error.into()))?;
    let mut replica = ReplicaClient::new(channel);
    let described = replica.describe(DescribeReplicaRequest {});
    Ok(tokio::time::timeout(SOON, described).await.expect("an answer in time")?.into_inner())
}

async fn hand_over(cluster: &Cluster, from: &str, to: &str) {
    let to_store = cluster.describe(to).await.store_id;
    cluster.replica(from).await.hand_over(HandOverRequest { to_store }).await.unwrap();
    cluster.in_sync(to, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_certificates_copy_forward_and_hand_over() {
    let (cluster, _certificates) = cluster(&Authority::new()).await;
    let client = cluster.client("r1").await;
    let mut telemetry = Telemetry::open(&client).await;
    telemetry.settings(consumer("g")).await;
    send_all(&client, 0..20).await;
    hand_over(&cluster, "r0", "r1").await;
    send_all(&cluster.client("r0").await, 20..40).await;
    assert_eq!(take_all(&cluster.client("r0").await, 40).await, expected(40));
    cluster.caught_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_takes_over_by_tls_when_nobody_listens_where_the_master_was() {
    let (mut cluster, _certificates) = cluster(&Authority::new()).await;
    send_all(&cluster.client("r0").await, 0..20).await;
    cluster.stop("r0").await;
    cluster.in_sync("r1", 1).await;
    send_all(&cluster.client("r1").await, 20..40).await;
    cluster.restart("r0").await;
    cluster.in_sync("r1", 2).await;
    assert_eq!(take_all(&cluster.client("r1").await, 40).await, expected(40));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_a_certificate_of_the_authority_and_the_name_gets_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (cluster, _certificates) = cluster(&authority).await;
    let broker = &cluster.brokers["r0"];
    let described = describe(broker, authority.tls(Some(authority.issue(NAME)))).await.unwrap();
    assert_eq!(described.name, "r0");
    for (who, identity) in [
        ("somebody without a certificate", None),
        ("one of another authority", Some(stranger.issue(NAME))),
        ("one of another queue", Some(authority.issue("bills.shop.reliablequeue.internal"))),
    ] {
        let refused = describe(broker, authority.tls(identity)).await;
        assert!(refused.is_err(), "{who} got in");
    }
    // Nor does a broker give itself up to somebody else.
    assert!(describe(broker, stranger.tls(Some(authority.issue(NAME)))).await.is_err());
    let clear = Channel::from_shared(format!("http://{}", broker.peers.unwrap())).unwrap().connect_lazy();
    assert!(ReplicaClient::new(clear).describe(DescribeReplicaRequest {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_for_clients_serves_nothing_that_is_for_brokers() {
    let (cluster, _certificates) = cluster(&Authority::new()).await;
    let channel = cluster.brokers["r0"].channel().await;
    let followed = ReplicationClient::new(channel.clone()).follow(tokio_stream::empty()).await;
    assert_eq!(followed.unwrap_err().code(), tonic::Code::Unimplemented);
    let vouched = ReplicaClient::new(channel).vouch(VouchRequest::default()).await;
    assert_eq!(vouched.unwrap_err().code(), tonic::Code::PermissionDenied);
    // Somebody who says to be a gateway is a client all the same: his call goes to the master.
    let client = cluster.client("r1").await;
    let mut request = client.request(SendMessageRequest { messages: vec![message("t", "id", "body")] });
    request.metadata_mut().insert("rq-forwarded", "1".parse().unwrap());
    let answer = client.rpc.clone().send_message(request).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().code(), Code::Ok);
    let mut request = client.request(Client::wish("g", "nothing-in-it", Duration::from_secs(4)));
    request.metadata_mut().insert("rq-waited", "0".parse().unwrap());
    let began = Instant::now();
    let frames = client.rpc.clone().receive_message(request).await.unwrap().into_inner();
    assert_eq!(collect(frames).await.status.code(), Code::MessageNotFound);
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_count_from_the_next_connection_on() {
    let (cluster, certificates) = cluster(&Authority::new()).await;
    let renewed = Authority::new();
    renewed.write(certificates.path());
    for name in NAMES {
        let described = describe(&cluster.brokers[name], renewed.tls(Some(renewed.issue(NAME)))).await;
        assert_eq!(described.unwrap().name, name);
    }
    hand_over(&cluster, "r0", "r1").await;
    send_all(&cluster.client("r0").await, 0..5).await;
}
