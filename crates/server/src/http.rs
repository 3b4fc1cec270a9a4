//! Plain HTTP, for machines that watch: `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

/// The routes. `ready` turns true when requests are answered.
pub(crate) fn routes(metrics: Option<PrometheusHandle>, ready: watch::Receiver<bool>) -> Router {
    let measured = move || {
        let text = metrics.as_ref().map(PrometheusHandle::render).unwrap_or_default();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    let is_ready = move || {
        let ready = *ready.borrow();
        async move {
            if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
        }
    };
    Router::new()
        .route("/metrics", get(measured))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(is_ready))
}
