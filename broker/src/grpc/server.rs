//! The gRPC server of the client port: transport settings, services, and its graceful end.

use std::sync::Arc;
use std::time::Duration;

use rq_proto::rocketmq::messaging_service_server::MessagingServiceServer;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

use super::admin::{self, AdminOptions};
use super::{Gateway, connections, liveness};

/// A peer that does not answer a ping is dropped after interval plus timeout: a dead consumer is noticed, and a
/// partitioned client reconnects.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for a whole body of 4 MiB, so that one takes no more than a few round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Most calls at a time on a connection: one long poll for each queue of each topic, and acks besides.
const CONCURRENT_STREAMS: u32 = 8_192;
/// Streams that a client may reset before the server takes it for an attack. Consumers cancel long polls.
const RESET_STREAMS_MAX: usize = 8_192;

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
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
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
