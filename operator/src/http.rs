//! The HTTP side: `/metrics`, `/livez` (nothing hangs that a restart would mend) and `/readyz` (failures are looked for).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::detector::Pulse;
use crate::metrics::Metrics;

/// The loop of the detector turns every second, and the task of each watch every five.
const STILL: Duration = Duration::from_secs(30);
const TEXT_FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the pages show.
#[derive(Clone)]
pub(crate) struct Pages {
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
    hangs(pages.pulse.turned(), &pages.pulse.watches()).map_or_else(|| "alive\n".into_response(), refuse)
}

/// What hangs, since these turned. That nothing happens, and that the API server is away, is nothing that a restart mends:
/// what is known now would be forgotten.
fn hangs(turned: Duration, watches: &[(&'static str, Duration)]) -> Option<&'static str> {
    if turned > STILL {
        Some("the failure detector hangs\n")
    } else if watches.iter().any(|(_, turned)| *turned > STILL) {
        Some("a watch of the failure detector hangs\n")
    } else {
        None
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    if pages.pulse.looks() { "ready\n".into_response() } else { refuse("the queues are not known yet\n") }
}

fn refuse(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_turn_hangs() {
        let (now, long) = (Duration::from_secs(5), STILL + Duration::from_secs(1));
        assert_eq!(hangs(now, &[]), None, "it begins");
        assert_eq!(hangs(now, &[("pods", now), ("nodes", now)]), None);
        assert!(hangs(long, &[("pods", now)]).is_some());
        assert!(hangs(now, &[("pods", long), ("nodes", now)]).is_some());
    }
}
