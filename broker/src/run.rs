//! The life of a broker: recover, serve, stop in order. Everything it needs comes from its caller, so that a test
//! runs it as the process does.

pub(crate) mod error;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rq_core::ids::{Lsn, Session};
use rq_log::OpenError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::error::RunError;
use crate::clients::Clients;
use crate::config::Config;
use crate::config::units::Span;
use crate::engine::{Engine, RecoverError, StartError};
use crate::forwarding::master::Master;
use crate::grpc::admin::{AdminOptions, Figures};
use crate::grpc::replica::ReplicaOptions;
use crate::grpc::server::{ClusterServices, Ports};
use crate::grpc::{Gateway, server};
use crate::http::{self, Pages};
use crate::leave::Told;
use crate::membership::{Joined, Store};
use crate::metrics::{EngineFigures, Metrics};
use crate::peer::PeerLinks;
use crate::scrub::mend::mend_closed;
use crate::shutdown::Stop;
use crate::{config_store, data_directory, leave, pod_role, replication, scrub};

/// How long a pod waits for the process of the pod before it, which was deleted by force and so is gone from the API server before
/// it has ended. To fail and be started again by the node takes longer each time.
const HELD_WITHIN: Duration = Duration::from_mins(1);
/// How soon it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Pages that are not served so long after the stop are cut off.
const HTTP_PATIENCE: Duration = Duration::from_secs(1);

/// The sockets that a broker serves.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: TcpListener,
    /// For the other brokers, where the configuration has a port for them.
    pub peers: Option<TcpListener>,
    /// For metrics and health.
    pub http: TcpListener,
}

/// Runs a broker until `shutdown` completes: then it leaves its shard if it stops alone, takes no new work, answers open polls,
/// closes connections and the log.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = Stop> + Send + 'static,
) -> Result<(), RunError> {
    crate::open_files::raise_limit();
    let told = Told::default();
    let stopped = CancellationToken::new();
    let pages = Pages::new(told.to_stop.clone());
    let http = tokio::spawn(http::serve(listeners.http, pages.clone(), stopped.clone().cancelled_owned()));
    let watch = tokio::spawn({
        let told = told.clone();
        async move { told.stop(shutdown.await) }
    });

    let served = serve(&config, listeners.clients, listeners.peers, &pages, &told).await;
    watch.abort();
    stopped.cancel();
    // A half-sent request must not hold up the stop.
    if let Ok(ended) = tokio::time::timeout(HTTP_PATIENCE, http).await {
        ended??;
    }
    served
}

async fn serve(
    config: &Config,
    listener: TcpListener,
    peers: Option<TcpListener>,
    pages: &Pages,
    told: &Told,
) -> Result<(), RunError> {
    let limits = &config.limits;
    let stop_timeout = limits.stop_timeout;
    let session = config_store::session();
    let links = config.peer_links()?;
    let store = Store::of(config).await?;
    let Joined { engine, kept } = tokio::select! {
        started = start(config, &store, &links, session) => started?,
        () = overdue(&told.to_stop, stop_timeout.duration()) => {
            return Err(RunError::NotStopped { doing: "its start", within: stop_timeout });
        }
    };
    let (parting, stopping) = (CancellationToken::new(), &CancellationToken::new());
    let replicates = config.is_member();
    let follower =
        replicates.then(|| replication::start_follower(engine.clone(), links.clone(), parting.clone()));
    let left = tokio::spawn(leave::leave(
        engine.clone(),
        follower,
        config.queue_shard.is_some(),
        parting,
        told.clone(),
        stopping.clone(),
    ));
    let labelled = store.show_role(&config.name, &engine);
    let clients = Arc::new(Clients::default());
    let figures = EngineFigures { engine: engine.clone(), clients: Arc::clone(&clients) };
    let metrics = Arc::new(Metrics::new(figures));
    let address = listener.local_addr()?;
    let admin = admin_options(config, &engine, &clients);
    let (request_bytes, held_bytes) = (config.server().request_bytes, limits.max_sends.bytes());
    let master = replicates.then(|| {
        Arc::new(Master::new(engine.view(), links.clone(), request_bytes, held_bytes, stopping.clone()))
    });
    let gateway = Gateway::new(
        engine.clone(),
        clients,
        Arc::clone(&metrics),
        config.gateway(address),
        master,
        stopping.clone(),
    );
    pages.serving(engine.clone(), metrics);
    tracing::info!(%address, data = %config.data.display(), cluster = config.cluster, "serving clients");

    let name = if config.name.is_empty() { config.cluster.clone() } else { config.name.clone() };
    let data_dir = config.data.display().to_string();
    let replica = ReplicaOptions { name, data_dir, session: session.0, kept };
    let scrub =
        scrub::start(engine.clone(), links.clone(), limits.scrub_interval.duration(), stopping.clone());
    let cluster = ClusterServices { replica, replicates };
    let ports = Ports { clients: listener, peers: peers.zip(links.tls().cloned()) };
    let serving = server::serve(gateway, admin, cluster, ports, config.server());
    let half = Span::millis(stop_timeout.0 / 2);
    let patience = half.duration();
    let served = tokio::select! {
        served = serving => served,
        () = overdue(stopping, patience) => {
            tracing::warn!("some calls did not end in time and were cut off");
            Ok(())
        }
        missing = data_directory::gone(&config.data) => return Err(RunError::DataGone(missing)),
    };
    told.to_stop.cancel();
    left.await??;
    scrub.await?;
    if tokio::time::timeout(patience, engine.stop()).await.is_err() {
        return Err(RunError::NotStopped { doing: "closing the log", within: half });
    }
    if let Some(labelled) = labelled {
        pod_role::say_last(labelled).await;
    }
    tracing::info!("stopped");
    Ok(served?)
}

/// Starts the engine: alone, or as a member of the cluster of a config store. Whatever another replica can repair of a log
/// that cannot be opened is repaired first: until then nobody hears of this one, so it is neither promoted nor thrown out.
async fn start(
    config: &Config,
    store: &Store,
    links: &PeerLinks,
    session: Session,
) -> Result<Joined, RunError> {
    let (began, mut mended, mut waits) = (Instant::now(), BTreeSet::new(), false);
    loop {
        let (own, of) = (config.clone(), store.clone());
        let started = tokio::task::spawn_blocking(move || of.join(&own, session)).await?;
        let held = started.as_ref().err().is_some_and(is_held) && config.queue_shard.is_some();
        if held && began.elapsed() < HELD_WITHIN {
            if !std::mem::replace(&mut waits, true) {
                tracing::warn!(
                    "the process before this one still has the data directory: waiting for its end"
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        let Some(base) = started.as_ref().err().and_then(damaged_segment) else { return started };
        let Some(members) = store.glance(&config.data).await else { return started };
        if !mended.insert(base) {
            return started;
        }
        tracing::error!(base = base.0, "a segment of the log is damaged: it is fetched from another replica");
        let shard = config.engine().log.shard;
        if let Err(error) = mend_closed(&config.data, links, shard, base, &members).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(base = base.0, error, "the damaged segment could not be repaired");
            return started;
        }
        tracing::info!(base = base.0, "a damaged segment was replaced by another replica's copy");
    }
}

/// Whether another process has the data directory.
fn is_held(error: &RunError) -> bool {
    matches!(error, RunError::Start(StartError::Recover(RecoverError::Open(OpenError::Locked(_)))))
}

/// The segment because of which the log could not be opened.
fn damaged_segment(error: &RunError) -> Option<Lsn> {
    match error {
        RunError::Start(StartError::Recover(RecoverError::Open(error))) => rq_log::damaged_segment(error),
        _ => None,
    }
}

/// Completes so long after the stop was asked for.
async fn overdue(stopping: &CancellationToken, after: Duration) {
    stopping.cancelled().await;
    tokio::time::sleep(after).await;
}

fn admin_options(config: &Config, engine: &Engine, clients: &Arc<Clients>) -> AdminOptions {
    let (engine, clients) = (engine.clone(), Arc::clone(clients));
    let figures = move || {
        let (identity, figures) = (engine.identity(), engine.figures());
        Figures {
            shard: identity.shard.0,
            store_id: identity.store_id.to_string(),
            epoch: engine.view().borrow().epoch().0,
            log_start: figures.start,
            durable: figures.durable,
            commit: figures.commit,
            checkpoint: figures.checkpoint,
            disk_free_bytes: figures.available_bytes,
            disk_total_bytes: figures.total_bytes,
            accepts_messages: figures.accepts_messages,
            clients: clients.live(std::time::Instant::now()).len() as u64,
        }
    };
    AdminOptions {
        cluster: config.cluster.clone(),
        data_dir: config.data.display().to_string(),
        default_queues: config.limits.default_queues as u16,
        figures: Arc::new(figures),
    }
}
