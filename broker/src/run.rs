//! The life of a broker: recover, serve, stop in order. Everything it needs comes from its caller, so that a test
//! runs it as the process does.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::config::Config;
use crate::config::units::Span;
use crate::engine::{Engine, StartError};
use crate::grpc::admin::{AdminOptions, Figures};
use crate::grpc::{Gateway, server};
use crate::http::{self, Pages};
use crate::metrics::{EngineFigures, Metrics};

/// Pages that are not served so long after the stop are cut off.
const HTTP_PATIENCE: Duration = Duration::from_secs(1);

/// The sockets that a broker serves.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: TcpListener,
    /// For metrics and health.
    pub http: TcpListener,
}

/// Why a broker ended other than by being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The engine did not start.
    #[error("the broker did not start")]
    Start(#[from] StartError),
    /// A socket failed.
    #[error("a listening socket failed")]
    Socket(#[from] std::io::Error),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
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

    let served = serve(&config, listeners.clients, &pages, &stopping).await;
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
    pages: &Pages,
    stopping: &CancellationToken,
) -> Result<(), RunError> {
    let options = config.engine();
    let stop_timeout = config.limits.stop_timeout;
    let engine = tokio::select! {
        started = tokio::task::spawn_blocking(|| Engine::start(options)) => started??,
        () = overdue(stopping, stop_timeout.duration()) => {
            return Err(RunError::NotStopped { doing: "its start", within: stop_timeout });
        }
    };
    let clients = Arc::new(Clients::default());
    let figures = EngineFigures { engine: engine.clone(), clients: Arc::clone(&clients) };
    let metrics = Arc::new(Metrics::new(figures));
    let address = listener.local_addr()?;
    let admin = admin_options(config, &engine, &clients);
    let gateway = Gateway::new(
        engine.clone(),
        clients,
        Arc::clone(&metrics),
        config.gateway(address),
        stopping.clone(),
    );
    pages.serving(engine.clone(), metrics);
    tracing::info!(%address, data = %config.data.display(), cluster = config.cluster, "serving clients");

    let serving = server::serve(gateway, admin, listener, config.server());
    let half = Span::millis(stop_timeout.0 / 2);
    let patience = half.duration();
    let served = tokio::select! {
        served = serving => served,
        () = overdue(stopping, patience) => {
            tracing::warn!("some calls did not end in time and were cut off");
            Ok(())
        }
    };
    if tokio::time::timeout(patience, engine.stop()).await.is_err() {
        return Err(RunError::NotStopped { doing: "closing the log", within: half });
    }
    tracing::info!("stopped");
    Ok(served?)
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
            store_id: identity.store.to_string(),
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
