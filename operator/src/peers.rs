//! The way to the brokers: gRPC with certificates on both sides. One certificate a queue; its authority vouches for nobody
//! else, so that a pod that got the address of another queue's is not believed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use rq_core::config::{FlushMode, FlushPolicy};
use rq_core::ids::StoreId;
use rq_operator_core::children::{PEER_PORT, certificate_secret, is_ours, peer_name};
use rq_operator_core::queue::ReliableQueue;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use thiserror::Error;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error as TransportError};

use crate::certificates::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};

/// A connection must stand after so long.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// A broker that is told to do something has so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// A connection whose other end is gone without a word is given up after twice this.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A broker could not be told something.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    /// There is no certificate yet.
    #[error("there is no certificate in Secret {0} yet")]
    NoCertificate(String),
    /// The certificate could not be read.
    #[error("the certificate of the queue: {0}")]
    Api(#[from] kube::Error),
    /// The certificate or the address is none.
    #[error("no way to {address}: {source}")]
    Way {
        /// Whose.
        address: String,
        /// What is wrong.
        source: TransportError,
    },
    /// It said no, or did not answer.
    #[error("the broker at {address}: {}", source.message())]
    Refused {
        /// Whose.
        address: String,
        /// What it said.
        source: Box<Status>,
    },
}

/// With what the operator shows who it is, and knows who the brokers of a queue are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    authority: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
    peer: String,
}

impl Identity {
    /// From the Secret of a queue; none if something is missing there, or somebody else made it.
    pub(crate) fn read(secret: &Secret, queue: &ReliableQueue) -> Option<Self> {
        let secret = Some(secret).filter(|secret| is_ours(queue, *secret))?;
        let file = |name: &str| Some(secret.data.as_ref()?.get(name)?.0.clone());
        Some(Self {
            authority: file(AUTHORITY_FILE)?,
            certificate: file(CERTIFICATE_FILE)?,
            key: file(KEY_FILE)?,
            peer: peer_name(queue),
        })
    }

    /// Asks for the one of a queue.
    pub(crate) async fn fetch(client: Client, queue: &ReliableQueue) -> kube::Result<Option<Self>> {
        let secrets = Api::<Secret>::namespaced(client, &queue.namespace().unwrap_or_default());
        let secret = secrets.get_opt(&certificate_secret(queue)).await?;
        Ok(secret.and_then(|secret| Self::read(&secret, queue)))
    }

    /// A connection to `HOST:PORT`, made when it is needed, and again when it broke.
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, TransportError> {
        let tls = ClientTlsConfig::new()
            .domain_name(&self.peer)
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(tonic::transport::Identity::from_pem(&self.certificate, &self.key));
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
        Ok(endpoint
            .connect_timeout(CONNECT_PATIENCE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .connect_lazy())
    }
}

/// Where the broker of a pod serves other brokers.
pub(crate) fn address(ip: IpAddr) -> String {
    SocketAddr::new(ip, PEER_PORT).to_string()
}

/// A master, to be told something.
pub(crate) struct Master {
    address: String,
    channel: Channel,
}

impl Master {
    /// At this address.
    pub(crate) async fn at(client: Client, queue: &ReliableQueue, address: &str) -> Result<Self, PeerError> {
        let identity = Identity::fetch(client, queue).await?;
        let identity = identity.ok_or_else(|| PeerError::NoCertificate(certificate_secret(queue)))?;
        let way = |source| PeerError::Way { address: address.to_owned(), source };
        Ok(Self { address: address.to_owned(), channel: identity.channel(address).map_err(way)? })
    }

    /// Has it hand over to a store of the in-sync set.
    pub(crate) async fn hand_over(self, to: StoreId) -> Result<(), PeerError> {
        let mut replica = ReplicaClient::new(self.channel);
        let request = pb::HandOverRequest { to_store: to.to_string() };
        answered(&self.address, replica.hand_over(request)).await
    }

    /// Has it write into the log how that is flushed.
    pub(crate) async fn set_flush_mode(self, policy: FlushPolicy) -> Result<(), PeerError> {
        let mode = match policy.mode {
            FlushMode::Sync => pb::FlushMode::Sync,
            FlushMode::Async => pb::FlushMode::Async,
        };
        let request = pb::SetFlushModeRequest { mode: mode.into(), interval_ms: policy.interval_ms };
        answered(&self.address, AdminClient::new(self.channel).set_flush_mode(request)).await
    }
}

async fn answered<T>(address: &str, call: impl Future<Output = Result<T, Status>>) -> Result<(), PeerError> {
    let answer = tokio::time::timeout(PATIENCE, call).await;
    let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
    let refused = |source| PeerError::Refused { address: address.to_owned(), source: Box::new(source) };
    answer.map(drop).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_for_either_family() {
        assert_eq!(address("10.1.2.3".parse().unwrap()), "10.1.2.3:8083");
        assert_eq!(address("fd00::1".parse().unwrap()), "[fd00::1]:8083");
    }
}
