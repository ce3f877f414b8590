//! What surrounds every request: the headers that every answer has, a net for panics, the deadline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use crate::clock::Clock;

/// Nobody waits longer for a page or a scrape.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Says that no other site may read or embed what is here.
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Puts the layers around `routes`, and answers what they do not.
pub(super) fn around(routes: Router, clock: Arc<dyn Clock>) -> Router {
    routes
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "everything here is only read\n"))
        .layer(from_fn_with_state(clock, in_time))
        .layer(from_fn(with_headers))
}

/// Nothing of what is answered is kept, framed, sniffed or told to the next site.
async fn with_headers(request: Request, next: Next) -> Response {
    // Nothing that the request has to itself is looked at after a panic, which is in the log.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_panic| {
        (StatusCode::INTERNAL_SERVER_ERROR, "a fault of ticketd: its log has more\n").into_response()
    });
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// Answers when the time is up, whether what is asked for is there or not.
async fn in_time(State(clock): State<Arc<dyn Clock>>, request: Request, next: Next) -> Response {
    tokio::select! {
        // An answer that is there when the time is up is an answer.
        biased;
        response = next.run(request) => response,
        () = clock.sleep(REQUEST_TIMEOUT) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the answer was not there in time\n").into_response()
        }
    }
}
