//! What surrounds every request, outermost first: the headers that every answer has, a span that ends with the answer's
//! status, a net for panics, the audit, the deadline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::Settings;
use super::audited::{self, Audited};
use super::failure::{Failure, Refused};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::log_pace::LogPace;

/// What is posted is a few short fields.
const MAX_BODY: usize = 16 * 1024;
/// A method or a path that is not ours. Whatever it says stays out of names and labels.
const OTHER: &str = "_OTHER";

/// What the layers know.
#[derive(Clone, Debug)]
struct Around {
    settings: Settings,
    clock: Arc<dyn Clock>,
    pace: Arc<LogPace>,
}

/// Puts the layers around `routes`, and answers what they do not.
pub(super) fn around(routes: Router, settings: &Settings, audit: Audit, clock: Arc<dyn Clock>) -> Router {
    let pace = Arc::new(LogPace::new(Arc::clone(&clock)));
    let audited = Audited { audit, clock: Arc::clone(&clock) };
    let around = Around { settings: settings.clone(), clock, pace };
    routes
        .fallback(async || Failure::not_found())
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(around.clone(), in_time))
        .layer(from_fn_with_state(audited, audited::audited))
        .layer(from_fn_with_state(around.clone(), in_span))
        .layer(from_fn_with_state(around, with_headers))
}

/// Nothing of what is answered is kept, framed, sniffed or told to the next site.
async fn with_headers(State(around): State<Around>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if around.settings.public_url.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// Gives the request a span with OpenTelemetry's attributes, and logs why it was refused: of each reason one line a
/// second. The query is in neither, since it holds states and codes.
async fn in_span(State(around): State<Around>, request: Request, next: Next) -> Response {
    let span = span_of(&request);
    // Nothing that the request has to itself is looked at after a panic.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let response = answer
        .unwrap_or_else(|_panic| Failure::internal(&"a handler panicked: the panic is in the log").into_response());
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", response.status().as_str());
    }
    if let Some(refused) = response.extensions().get::<Refused>() {
        span.in_scope(|| log(refused, response.status(), &around.pace));
    }
    response
}

fn span_of(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or(OTHER, MatchedPath::as_str);
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => OTHER,
    };
    // A filter drops spans like events: at this level it drops none, and every line says which request it is about.
    tracing::error_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        "error.type" = Empty,
        superoffice.context_identifier = Empty,
    )
}

fn log(refused: &Refused, status: StatusCode, pace: &LogPace) {
    let Refused { reason, cause } = refused;
    let Some(unlogged) = pace.admit(reason) else {
        tracing::debug!(reason, cause, "request refused");
        return;
    };
    match status {
        StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(reason, cause, unlogged, "request failed"),
        status if status.is_server_error() => tracing::warn!(reason, cause, unlogged, "request failed"),
        _ => tracing::info!(reason, cause, unlogged, "request refused"),
    }
}

/// Answers when the time is up, whether what is asked for is done or not.
async fn in_time(State(around): State<Around>, request: Request, next: Next) -> Response {
    tokio::select! {
        // An answer that is there when the time is up is an answer.
        biased;
        response = next.run(request) => response,
        () = around.clock.sleep(around.settings.request_timeout) => Failure::too_slow().into_response(),
    }
}
