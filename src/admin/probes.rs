use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::watch;

use super::Readiness;

/// For probes over HTTP: the same truth as on the health port.
pub(super) fn routes(readiness: watch::Receiver<Readiness>) -> Router {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(readiness)
}

/// That this is answered is the answer: the event loop turns. A restart would mend nothing else.
async fn live() -> &'static str {
    "alive\n"
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> (StatusCode, String) {
    let readiness = *readiness.borrow();
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", readiness.name()))
}
