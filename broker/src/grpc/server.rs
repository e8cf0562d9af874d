//! The gRPC server of the client port: its services and its graceful end.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::Request;
use rq_proto::rocketmq::messaging_service_server::MessagingServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;
use tower::Service;

use super::admin::{self, AdminOptions};
use super::replica::{self, ReplicaOptions};
use super::{Gateway, connections, liveness};
use crate::engine::cluster::ReplicaView;
use crate::forwarding::Forwarding;

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

/// Serves clients until the gateway's stop is cancelled and its last call is answered. When this replica is master no
/// more, its connections are told to go (GOAWAY): what is under way on them goes on, and the next calls come over new
/// ones, which whoever distributes them brings to the new master.
pub async fn serve(
    gateway: Gateway,
    admin: AdminOptions,
    cluster: ClusterServices,
    listener: TcpListener,
    limits: ServerLimits,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = health_reporter();
    health.set_serving::<MessagingServiceServer<Gateway>>().await;
    let vouching = tokio::spawn(liveness::vouch(gateway.clone()));
    let listener = Arc::new(listener);
    let serve_until = |stop: CancellationToken| {
        let services = rq_proto::server::builder()
            .add_service(Forwarding::new(Messaging::new(&gateway, &limits), gateway.master.clone()))
            .add_service(Forwarding::new(
                admin::service(gateway.engine.clone(), admin.clone()),
                gateway.master.clone(),
            ))
            .add_service(replica::service(
                gateway.engine.clone(),
                cluster.replica.clone(),
                gateway.stopping.clone(),
            ))
            .add_optional_service(
                cluster
                    .replicates
                    .then(|| crate::replication::service(gateway.engine.clone(), gateway.stopping.clone())),
            )
            .add_service(health_service.clone());
        let clients = Arc::clone(&gateway.clients);
        let connections = connections::accept(Arc::clone(&listener), clients, limits.connections);
        services.serve_with_incoming_shutdown(connections, stop.cancelled_owned())
    };
    let mut served = JoinSet::new();
    let mut outcome = Ok(());
    while outcome.is_ok() && !gateway.stopping.is_cancelled() {
        let goaway = gateway.stopping.child_token();
        let _told = goaway.clone().drop_guard();
        served.spawn(serve_until(goaway));
        outcome = tokio::select! {
            () = deposed(gateway.engine.view()) => Ok(()),
            () = gateway.stopping.cancelled() => Ok(()),
            Some(ended) = failed(&mut served) => ended,
        };
    }
    gateway.stopping.cancel();
    health.set_service_status("", ServingStatus::NotServing).await;
    health.set_not_serving::<MessagingServiceServer<Gateway>>().await;
    while let Some(ended) = served.join_next().await {
        outcome = outcome.and(ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a server of the client port failed");
            Ok(())
        }));
    }
    if let Err(error) = vouching.await {
        tracing::error!(%error, "the task that vouches for clients failed");
    }
    outcome
}

/// Waits until this replica is master and then until it is that no more.
async fn deposed(mut view: watch::Receiver<ReplicaView>) {
    let became = view.wait_for(ReplicaView::leads).await.is_ok();
    if !became || view.wait_for(|view| !view.leads()).await.is_err() {
        // The engine has ended, and the process is about to.
        std::future::pending::<()>().await;
    }
}

/// The first failure; connections that ended because they were told to are none.
async fn failed(
    served: &mut JoinSet<Result<(), tonic::transport::Error>>,
) -> Option<Result<(), tonic::transport::Error>> {
    loop {
        if let Ok(ended @ Err(_)) = served.join_next().await? {
            return Some(ended);
        }
    }
}
