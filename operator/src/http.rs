//! The HTTP side: `/metrics`, `/livez` (nothing hangs that a restart would mend) and `/readyz` (failures are looked for).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use kube::Client;
use tokio::net::TcpListener;

use crate::detector::{Pulse, WATCH_SECONDS};
use crate::metrics::Metrics;

/// Watches may say nothing for so long though all is well and nothing happens; after that the API server is asked.
const SILENT_WATCH: Duration = Duration::from_secs(2 * WATCH_SECONDS as u64 + 5);
/// The loop of the detector turns every second.
const STILL_LOOP: Duration = Duration::from_secs(30);
/// The API server has so long to say which version it is.
const PATIENCE: Duration = Duration::from_secs(3);
const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages show.
#[derive(Clone)]
pub(crate) struct Pages {
    /// The API server is asked by it.
    pub(crate) client: Client,
    /// Whether the detector lives.
    pub(crate) pulse: Arc<Pulse>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves the pages until `stop` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    pages: Pages,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(pages)).with_graceful_shutdown(stop).await
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(pages)
}

async fn metrics(State(pages): State<Pages>) -> Response {
    for (kind, ago) in pages.pulse.watches() {
        pages.metrics.watched(kind, ago);
    }
    match pages.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

async fn live(State(pages): State<Pages>) -> Response {
    if pages.pulse.turned() > STILL_LOOP {
        return refuse("the failure detector hangs\n");
    }
    if pages.pulse.watches().into_iter().all(|(_, ago)| ago < SILENT_WATCH) {
        return "alive\n".into_response();
    }
    match tokio::time::timeout(PATIENCE, pages.client.apiserver_version()).await {
        // Each watch begins anew every some seconds, if it can.
        Ok(Ok(_)) => refuse("a watch says nothing although the API server answers\n"),
        // No restart brings the API server back, and what is known now would be forgotten.
        Ok(Err(_)) | Err(_) => "alive, and waits for the API server\n".into_response(),
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    if pages.pulse.looks() { "ready\n".into_response() } else { refuse("the queues are not known yet\n") }
}

fn refuse(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
