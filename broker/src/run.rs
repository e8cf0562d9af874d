//! The life of a broker: recover, serve, stop in order. Everything it needs comes from its caller, so that a test
//! runs it as the process does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rq_config_files::ConfigFiles;
use rq_core::ids::{Lsn, Session};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::config::Config;
use crate::config::units::Span;
use crate::engine::cluster::Cluster;
use crate::engine::{Engine, EngineOptions, RecoverError, StartError};
use crate::forwarding::master::Master;
use crate::grpc::admin::{AdminOptions, Figures};
use crate::grpc::replica::ReplicaOptions;
use crate::grpc::server::{ClusterServices, Ports};
use crate::grpc::{Gateway, server};
use crate::http::{self, Pages};
use crate::metrics::{EngineFigures, Metrics};
use crate::peer::{PeerLinks, PeerTlsError};
use crate::scrub::mend::mend_closed;
use crate::{config_store, data_directory, replication, scrub};

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

/// Why a broker ended other than by being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The engine did not start.
    #[error("the broker did not start")]
    Start(#[from] StartError),
    /// It has nothing to show to the other brokers.
    #[error("the links to other brokers cannot be had")]
    Peers(#[from] PeerTlsError),
    /// A socket failed.
    #[error("a listening socket failed")]
    Socket(#[from] std::io::Error),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
    /// The data directory is not there any more. Threads of the engine still run: the caller ends the process.
    #[error(
        "{} is gone while the broker ran: what it would store is in no place where a restart finds it; bring it back, or start with an empty directory and let it copy another replica",
        .0.display()
    )]
    DataGone(PathBuf),
    /// The stop took too long, so it was given up. Threads of the engine still run: the caller ends the process.
    #[error(
        "the broker was told to stop, and {doing} did not end within {within}: its disk may be slow or full; nothing acknowledged is lost, the next start recovers it"
    )]
    NotStopped {
        /// What went on.
        doing: &'static str,
        /// How long it was given.
        within: Span,
    },
    /// A task of the broker panicked.
    #[error("a task of the broker failed")]
    Task(#[from] tokio::task::JoinError),
}

/// Runs a broker until `shutdown` completes: then it takes no new work, answers open polls, closes connections
/// and the log.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    crate::open_files::raise_limit();
    let stopping = CancellationToken::new();
    let stopped = CancellationToken::new();
    let pages = Pages::new(stopping.clone());
    let http = tokio::spawn(http::serve(listeners.http, pages.clone(), stopped.clone().cancelled_owned()));
    let watch = tokio::spawn({
        let stopping = stopping.clone();
        async move {
            shutdown.await;
            stopping.cancel();
        }
    });

    let served = serve(&config, listeners.clients, listeners.peers, &pages, &stopping).await;
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
    stopping: &CancellationToken,
) -> Result<(), RunError> {
    let options = config.engine();
    let limits = &config.limits;
    let stop_timeout = limits.stop_timeout;
    let session = config_store::session();
    let links = config.peer_links()?;
    let engine = tokio::select! {
        started = start(&options, config.config_store.as_deref(), &links, session) => started?,
        () = overdue(stopping, stop_timeout.duration()) => {
            return Err(RunError::NotStopped { doing: "its start", within: stop_timeout });
        }
    };
    let clients = Arc::new(Clients::default());
    let figures = EngineFigures { engine: engine.clone(), clients: Arc::clone(&clients) };
    let metrics = Arc::new(Metrics::new(figures));
    let address = listener.local_addr()?;
    let admin = admin_options(config, &engine, &clients);
    let replicates = config.config_store.is_some();
    let (request_bytes, held_bytes) = (config.server().request_bytes, limits.max_sends.bytes());
    let master =
        replicates.then(|| Arc::new(Master::new(engine.view(), links.clone(), request_bytes, held_bytes)));
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
    let replica = ReplicaOptions { name, data_dir: config.data.display().to_string(), session: session.0 };
    let follower =
        replicates.then(|| replication::start_follower(engine.clone(), links.clone(), stopping.clone()));
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
    if let Some(follower) = follower {
        follower.await?;
    }
    scrub.await?;
    if tokio::time::timeout(patience, engine.stop()).await.is_err() {
        return Err(RunError::NotStopped { doing: "closing the log", within: half });
    }
    tracing::info!("stopped");
    Ok(served?)
}

/// Starts the engine: alone, or as a member of the cluster of a config store. Whatever another replica can repair of a log
/// that cannot be opened is repaired first: until then nobody hears of this one, so it is neither promoted nor thrown out.
async fn start(
    options: &EngineOptions,
    store: Option<&Path>,
    links: &PeerLinks,
    session: Session,
) -> Result<Engine, RunError> {
    let Some(store) = store else {
        let options = options.clone();
        return Ok(tokio::task::spawn_blocking(move || Engine::start(&options)).await??);
    };
    let mut mended = BTreeSet::new();
    loop {
        let (files, options) = (ConfigFiles::at(store), options.clone());
        // For a repair alone. Where it cannot be read now, the replica starts all the same and waits for it.
        let config = files.read().unwrap_or_default();
        let (data, shard) = (options.data.clone(), options.log.shard);
        let started = tokio::task::spawn_blocking(move || join(&options, files, session)).await?;
        let damaged = started.as_ref().err().and_then(damaged_segment);
        let (Some(base), Some(config)) = (damaged, config) else { return started };
        if !mended.insert(base) {
            return started;
        }
        tracing::error!(base = base.0, "a segment of the log is damaged: it is fetched from another replica");
        if let Err(error) = mend_closed(&data, links, shard, base, &config).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(base = base.0, error, "the damaged segment could not be repaired");
            return started;
        }
        tracing::info!(base = base.0, "a damaged segment was replaced by another replica's copy");
    }
}

/// The segment because of which the log could not be opened.
fn damaged_segment(error: &RunError) -> Option<Lsn> {
    match error {
        RunError::Start(StartError::Recover(RecoverError::Open(error))) => rq_log::damaged_segment(error),
        _ => None,
    }
}

/// Starts the engine as a member of the cluster that the store is of.
fn join(options: &EngineOptions, store: ConfigFiles, session: Session) -> Result<Engine, RunError> {
    let (requests, asked) = std::sync::mpsc::channel();
    let engine = Engine::join(options, Cluster { session, config: requests })?;
    config_store::start(store, asked, engine.clone()).map_err(StartError::Thread)?;
    Ok(engine)
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
