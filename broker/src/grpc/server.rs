//! The gRPC servers, for clients and for the other brokers: their services and their graceful end.

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
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;
use tower::Service;

use super::admin::{self, AdminOptions};
use super::replica::{self, ReplicaOptions};
use super::{Gateway, checks, connections, liveness};
use crate::engine::cluster::ReplicaView;
use crate::forwarding::Forwarding;
use crate::peer::PeerTls;

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

/// The sockets that are served.
#[derive(Debug)]
pub(crate) struct Ports {
    /// For clients and people.
    pub(crate) clients: TcpListener,
    /// For the other brokers and the operator, and what they have to show. Where there is none they come to the port of the
    /// clients.
    pub(crate) peers: Option<(TcpListener, Arc<PeerTls>)>,
}

/// What is served for the other replicas and for whoever watches over them.
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
pub(crate) async fn serve(
    gateway: Gateway,
    admin: AdminOptions,
    cluster: ClusterServices,
    ports: Ports,
    limits: ServerLimits,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = health_reporter();
    health.set_serving::<MessagingServiceServer<Gateway>>().await;
    let vouching = tokio::spawn(liveness::vouch(gateway.clone()));
    let asking = tokio::spawn(checks::ask_producers(gateway.clone()));
    let services = |from_peers| services(&gateway, &admin, &cluster, &limits, from_peers);
    let listener = Arc::new(ports.clients);
    let from_peers = cluster.replicates && ports.peers.is_none();
    let serve_until = |stop: CancellationToken| {
        let clients = Arc::clone(&gateway.clients);
        let connections = connections::accept(Arc::clone(&listener), clients, limits.connections);
        let services = services(from_peers).add_service(health_service.clone());
        services.serve_with_incoming_shutdown(connections, stop.cancelled_owned())
    };
    let mut served = JoinSet::new();
    if let Some((listener, tls)) = ports.peers {
        tracing::info!(address = ?listener.local_addr().ok(), "serving other brokers");
        let connections = connections::accept_peers(listener, Arc::clone(&gateway.clients), tls);
        let stop = gateway.stopping.clone().cancelled_owned();
        served.spawn(services(true).serve_with_incoming_shutdown(connections, stop));
    }
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
    gateway.engine.end_waits();
    health.set_service_status("", ServingStatus::NotServing).await;
    health.set_not_serving::<MessagingServiceServer<Gateway>>().await;
    while let Some(ended) = served.join_next().await {
        outcome = outcome.and(ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a gRPC server failed");
            Ok(())
        }));
    }
    if let Err(error) = vouching.await {
        tracing::error!(%error, "the task that vouches for clients failed");
    }
    if let Err(error) = asking.await {
        tracing::error!(%error, "the task that asks producers about their transactions failed");
    }
    outcome
}

/// What a port serves; all that replicas want of each other only where they come to.
fn services(
    gateway: &Gateway,
    admin: &AdminOptions,
    cluster: &ClusterServices,
    limits: &ServerLimits,
    from_peers: bool,
) -> Router {
    let (engine, master, stopping) = (&gateway.engine, &gateway.master, &gateway.stopping);
    let admin = admin::service(engine.clone(), admin.clone());
    let replica = replica::service(gateway.clone(), cluster.replica.clone(), from_peers);
    let replication = || crate::replication::service(engine.clone(), stopping.clone());
    rq_proto::server::builder()
        .add_service(Forwarding::new(Messaging::new(gateway, limits), master.clone(), from_peers))
        .add_service(Forwarding::new(admin, master.clone(), from_peers))
        .add_service(replica)
        .add_optional_service((cluster.replicates && from_peers).then(replication))
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
