use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::telemetry::Exposition;

/// How many scrapes are written at once: signing has its threads from the same pool.
const SCRAPES: usize = 1;

/// What Prometheus scrapes.
pub(super) fn routes() -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Arc::new(Semaphore::new(SCRAPES)))
}

async fn metrics(State(scrapes): State<Arc<Semaphore>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let exposition = Exposition::accepted(&accept);
    match in_turn(scrapes, move || exposition.read()).await {
        Some(text) => ([(CONTENT_TYPE, exposition.media_type())], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Looking through all tickets takes a while, and goes on when nobody waits for it any more: the turn ends with the work.
async fn in_turn<T: Send + 'static>(scrapes: Arc<Semaphore>, scrape: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let turn = scrapes.acquire_owned().await.ok()?;
    let scrape = move || {
        let _turn = turn;
        scrape()
    };
    tokio::task::spawn_blocking(scrape).await.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_scrape_that_nobody_waits_for_has_its_turn_until_it_has_ended() {
        let scrapes = Arc::new(Semaphore::new(SCRAPES));
        let (begun, begins) = oneshot::channel();
        let (end, ends) = mpsc::channel::<()>();
        let first = in_turn(Arc::clone(&scrapes), move || {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        });
        // The first is given up once it is under way.
        tokio::select! {
            biased;
            _ = first => panic!("it has not ended"),
            begun = begins => begun.unwrap(),
        }
        let mut second = Box::pin(in_turn(Arc::clone(&scrapes), || "scraped"));
        assert_eq!(second.as_mut().now_or_never(), None);
        assert_eq!(scrapes.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(second.await, Some("scraped"));
        assert_eq!(in_turn(scrapes, || "scraped again").await, Some("scraped again"));
    }
}
