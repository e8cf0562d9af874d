//! The gRPC server of the client port: its services and its graceful end.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::Request;
use rq_proto::rocketmq::messaging_service_server::MessagingServiceServer;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;
use tower::Service;

use super::admin::{self, AdminOptions};
use crate::forwarding::Forwarding;

use super::replica::{self, ReplicaOptions};
use super::{Gateway, connections, liveness};

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Most connections.
    pub connections: usize,
    /// Largest send, in bytes.
    pub request_bytes: usize,
    /// Largest request that is no send, in bytes. Decoded, one may take many times as much.
    pub small_request_bytes: usize,
}

/// What the client port serves for the other replicas and for whoever watches over them.
#[derive(Clone, Debug)]
pub struct ClusterServices {
    /// How this replica introduces itself.
    pub replica: ReplicaOptions,
    /// Whether slaves may follow: not if it is alone.
    pub replicates: bool,
}

/// The RocketMQ API, with a limit of its own for sends: only they carry bodies.
#[derive(Clone)]
struct Messaging {
    sends: MessagingServiceServer<Gateway>,
    others: MessagingServiceServer<Gateway>,
}

impl Messaging {
    fn new(gateway: &Gateway, limits: &ServerLimits) -> Self {
        let server = |bytes| MessagingServiceServer::new(gateway.clone()).max_decoding_message_size(bytes);
        Self { sends: server(limits.request_bytes), others: server(limits.small_request_bytes) }
    }
}

impl NamedService for Messaging {
    const NAME: &'static str = <MessagingServiceServer<Gateway> as NamedService>::NAME;
}

impl Service<Request<Body>> for Messaging {
    type Response = <MessagingServiceServer<Gateway> as Service<Request<Body>>>::Response;
    type Error = <MessagingServiceServer<Gateway> as Service<Request<Body>>>::Error;
    type Future = <MessagingServiceServer<Gateway> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_send = request.uri().path().ends_with("/SendMessage");
        if is_send { self.sends.call(request) } else { self.others.call(request) }
    }
}

/// Serves clients until the gateway's stop is cancelled and its last call is answered.
pub async fn serve(
    gateway: Gateway,
    admin: AdminOptions,
    cluster: ClusterServices,
    listener: TcpListener,
    limits: ServerLimits,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = health_reporter();
    health.set_serving::<MessagingServiceServer<Gateway>>().await;
    let admin = admin::service(gateway.engine.clone(), admin);
    let clients = Arc::clone(&gateway.clients);
    let messaging = Messaging::new(&gateway, &limits);
    let vouching = tokio::spawn(liveness::vouch(gateway.clone()));
    let stopping = gateway.stopping.clone();
    let stop = async move {
        stopping.cancelled_owned().await;
        health.set_service_status("", ServingStatus::NotServing).await;
        health.set_not_serving::<MessagingServiceServer<Gateway>>().await;
    };
    let served = rq_proto::server::builder()
        .add_service(Forwarding::new(messaging, gateway.master.clone()))
        .add_service(Forwarding::new(admin, gateway.master.clone()))
        .add_service(replica::service(gateway.engine.clone(), cluster.replica))
        .add_optional_service(
            cluster
                .replicates
                .then(|| crate::replication::service(gateway.engine.clone(), gateway.stopping.clone())),
        )
        .add_service(health_service)
        .serve_with_incoming_shutdown(connections::accept(listener, clients, limits.connections), stop)
        .await;
    gateway.stopping.cancel();
    if let Err(error) = vouching.await {
        tracing::error!(%error, "the task that vouches for clients failed");
    }
    served
}
