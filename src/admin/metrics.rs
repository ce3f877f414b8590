use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::telemetry::Exposition;

/// What Prometheus scrapes.
pub(super) fn routes() -> Router {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let exposition = Exposition::accepted(&accept);
    // Looking through all tickets takes a while.
    match tokio::task::spawn_blocking(move || exposition.read()).await {
        Ok(text) => ([(CONTENT_TYPE, exposition.media_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
