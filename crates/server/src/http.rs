//! Plain HTTP, for machines that watch: `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::metrics;
use crate::publishing::Publishing;
use crate::work::Work;

/// The routes. `ready` turns true when requests are answered.
pub(crate) fn routes(
    measured: Option<PrometheusHandle>,
    work: Arc<Work>,
    publishing: Option<Arc<Publishing>>,
    ready: watch::Receiver<bool>,
) -> Router {
    let metrics = move || {
        metrics::schedule(work.schedule.load(Instant::now()));
        publishing.iter().for_each(|publishing| publishing.measure());
        let text = measured.as_ref().map(PrometheusHandle::render).unwrap_or_default();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let is_ready = move || {
        let ready = *ready.borrow();
        async move {
            if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(is_ready))
}
