//! The HTTP side: `/metrics`, `/livez` (the process lives; `/healthz` is the same), `/startupz` (it recovers its log, or has
//! done so) and `/readyz` (clients are served). Serves from the start of the process. Never changes anything.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError};
use crate::metrics::Metrics;

/// The log thread answers a readiness probe within this time, or the broker is not ready.
const READY_WITHIN: Duration = Duration::from_secs(2);
const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages show: nothing until the engine runs.
#[derive(Clone, Default)]
pub struct Pages {
    serving: Arc<OnceLock<Serving>>,
    stopping: CancellationToken,
}

struct Serving {
    engine: Engine,
    metrics: Arc<Metrics>,
}

impl Pages {
    /// Pages that turn "not ready" once `stopping` is cancelled.
    pub fn new(stopping: CancellationToken) -> Self {
        Self { serving: Arc::default(), stopping }
    }

    /// The engine runs and clients are served.
    pub fn serving(&self, engine: Engine, metrics: Arc<Metrics>) {
        // Said once at start; a second time would change nothing.
        let _ = self.serving.set(Serving { engine, metrics });
    }
}

/// Serves the pages until `stop` completes.
pub async fn serve(
    listener: TcpListener,
    pages: Pages,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        // Neither asks anything of disk, peers or config store: a restart would mend none of them.
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/startupz", get(started))
        .route("/readyz", get(ready))
        .with_state(pages);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let Some(serving) = pages.serving.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the log is being recovered\n").into_response();
    };
    // The last known numbers are shown where the log thread does not answer in time.
    let counts = serving.engine.inspect(|shard| {
        let state = shard.state();
        (shard.topic_count(), shard.group_count(), state.remembered_sends(), state.forgotten_sends())
    });
    if let Ok(Ok((topics, groups, remembered, forgotten))) = tokio::time::timeout(READY_WITHIN, counts).await
    {
        serving.metrics.topics.set(topics.cast_signed() as i64);
        serving.metrics.groups.set(groups.cast_signed() as i64);
        serving.metrics.sends_remembered.set(remembered.cast_signed());
        serving.metrics.sends_forgotten.set(forgotten.cast_signed());
    }
    match serving.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

async fn live() -> &'static str {
    "ok\n"
}

/// A recovery may take as long as it takes. One that fails ends the process.
async fn started(State(pages): State<Pages>) -> &'static str {
    if pages.serving.get().is_some() { "started\n" } else { "the log is being recovered\n" }
}

async fn ready(State(pages): State<Pages>) -> Response {
    let refuse = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if pages.stopping.is_cancelled() {
        return refuse("the broker is stopping\n");
    }
    let Some(serving) = pages.serving.get() else { return refuse("the log is being recovered\n") };
    match tokio::time::timeout(READY_WITHIN, serving.engine.inspect(|_| ())).await {
        Ok(Ok(())) => "ready\n".into_response(),
        // It forwards to the master.
        Ok(Err(EngineError::NotMaster)) if serving.engine.view().borrow().master_address().is_some() => {
            "ready\n".into_response()
        }
        Ok(Err(EngineError::NotMaster)) => refuse("no master is known\n"),
        Ok(Err(_)) => refuse("the log thread has ended\n"),
        Err(_) => refuse("the log thread does not answer\n"),
    }
}
