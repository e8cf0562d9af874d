//! The gRPC server of the client port: its services and its graceful end.

use std::sync::Arc;

use rq_proto::rocketmq::messaging_service_server::MessagingServiceServer;
use tokio::net::TcpListener;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

use super::admin::{self, AdminOptions};
use super::{Gateway, connections, liveness};

/// Bounds of the server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Most connections.
    pub connections: usize,
    /// Largest request, in bytes.
    pub request_bytes: usize,
}

/// Serves clients until the gateway's stop is cancelled and its last call is answered.
pub async fn serve(
    gateway: Gateway,
    admin: AdminOptions,
    listener: TcpListener,
    limits: ServerLimits,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = health_reporter();
    health.set_serving::<MessagingServiceServer<Gateway>>().await;
    let admin = admin::service(gateway.engine.clone(), admin);
    let clients = Arc::clone(&gateway.clients);
    let messaging =
        MessagingServiceServer::new(gateway.clone()).max_decoding_message_size(limits.request_bytes);
    let vouching = tokio::spawn(liveness::vouch(gateway.clone()));
    let stopping = gateway.stopping.clone();
    let stop = async move {
        stopping.cancelled_owned().await;
        health.set_service_status("", ServingStatus::NotServing).await;
        health.set_not_serving::<MessagingServiceServer<Gateway>>().await;
    };
    let served = rq_proto::server::builder()
        .add_service(messaging)
        .add_service(admin)
        .add_service(health_service)
        .serve_with_incoming_shutdown(connections::accept(listener, clients, limits.connections), stop)
        .await;
    gateway.stopping.cancel();
    if let Err(error) = vouching.await {
        tracing::error!(%error, "the task that vouches for clients failed");
    }
    served
}
