mod failures;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use opentelemetry::trace::SpanContext;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};

pub use self::failures::PartLog;
use self::failures::{FAILED, log, severity};
use super::{Arrival, is_about_several};
use crate::clock::Clock;
use crate::grpc::status;
use crate::identifiers::{CallerId, ContextIdentifier};
use crate::log_pace::LogPace;
use crate::metrics::{self, METHODS, OTHER, TraceContext};
use crate::trace_context;

/// Gives every call a span with OpenTelemetry's attributes, and logs failed calls with their cause: of each reason one a
/// second, the others at DEBUG.
#[derive(Clone, Debug)]
pub(super) struct CallSpan<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    pace: Arc<LogPace>,
}

/// Notes in the call's span which tenant it is about.
pub fn record_tenant(context_identifier: ContextIdentifier) {
    Span::current().record("superoffice.context_identifier", context_identifier.as_str());
}

/// Notes in the call's span who calls.
pub(super) fn record_caller(caller: &CallerId) {
    Span::current().record("ticketd.caller", tracing::field::display(caller));
}

/// A code's name in the gRPC specification.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl<S> CallSpan<S> {
    /// Failures are logged at this pace.
    pub(super) fn new(inner: S, clock: Arc<dyn Clock>, pace: Arc<LogPace>) -> Self {
        Self { inner, clock, pace }
    }
}

impl<S> Service<Request<Body>> for CallSpan<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = method(request.uri().path());
        let caller = trace_context::of_caller(request.headers());
        let mut call = Call::begin(method, caller, Arc::clone(&self.clock), Arc::clone(&self.pace));
        if let Some(Arrival(time)) = request.extensions().get() {
            call.began = *time;
        }
        if is_about_several(request.uri().path()) {
            let log = PartLog { span: call.span.clone(), pace: Arc::clone(&self.pace) };
            request.extensions_mut().insert(log);
        }
        let inner = call.span.in_scope(|| self.inner.call(request));
        // Nothing that the call has to itself is looked at after a panic, and nothing shared stays locked.
        let answer = AssertUnwindSafe(inner).catch_unwind().instrument(call.span.clone());
        Box::pin(async move {
            let response = answer.await.unwrap_or_else(|_panic| Ok(status::panicked().into_http()))?;
            Ok(match status_of_head(&response) {
                Some(status) => {
                    call.end(&status);
                    response
                }
                None => response.map(|body| call.end_with(body)),
            })
        })
    }
}

/// The status of a call that is answered by its headers alone. Ours come with their cause, as an extension.
pub(super) fn status_of_head(response: &Response<Body>) -> Option<Status> {
    response.extensions().get::<Status>().cloned().or_else(|| Status::from_header_map(response.headers()))
}

/// What ends a call that is dropped before it has ended.
pub(super) fn given_up() -> Status {
    Status::cancelled("the caller gave up or its connection was cut")
}

/// A call under way. Dropped before it has ended, it was given up by the caller or cut with its connection.
#[derive(Debug)]
pub(super) struct Call {
    span: Span,
    method: &'static str,
    trace: Option<TraceContext>,
    clock: Arc<dyn Clock>,
    began: Duration,
    pace: Arc<LogPace>,
    ended: bool,
}

impl Call {
    pub(super) fn begin(
        method: &'static str,
        caller: Option<SpanContext>,
        clock: Arc<dyn Clock>,
        pace: Arc<LogPace>,
    ) -> Self {
        // A filter drops spans like events: at this level it drops none, and every line says which call it is about.
        let span = tracing::error_span!(
            "call",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = Empty,
            "error.type" = Empty,
            superoffice.context_identifier = Empty,
            ticketd.caller = Empty,
            trace_id = caller.as_ref().map(|caller| tracing::field::display(caller.trace_id())),
        );
        let is_told = caller.is_some();
        let told = caller.as_ref().and_then(trace_context::sampled);
        if let Some(caller) = caller {
            trace_context::adopt(&span, caller);
        }
        let trace = trace_context::of(&span).or(told);
        if let Some(trace) = trace.filter(|_| !is_told) {
            span.record("trace_id", tracing::field::display(trace));
        }
        let began = clock.elapsed();
        Self { span, method, trace, clock, began, pace, ended: false }
    }

    /// Ends a call that has had no span so far, and began at `began` by monotonic time. `tell` has the span know what is
    /// known of it.
    pub(super) fn end_since(mut self, began: Duration, tell: impl FnOnce(), status: &Status) {
        self.began = began;
        self.span.in_scope(tell);
        self.end(status);
    }

    /// Ends the call when the trailers of `body` have passed.
    fn end_with(mut self, body: Body) -> Body {
        Body::new(body.map_frame(move |frame| {
            if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                self.end(&status);
            }
            frame
        }))
    }

    fn end(&mut self, status: &Status) {
        self.ended = true;
        let code = code_name(status.code());
        self.span.record("rpc.response.status_code", code);
        let took = self.clock.elapsed().saturating_sub(self.began);
        metrics::RPC_SERVER_CALL_DURATION.record(took, &[self.method, code, "grpc"], self.trace);
        if status.code() == Code::Ok {
            return;
        }
        let reason = status.get_details_error_info().map(|info| info.reason);
        if reason.as_deref() == Some(status::WATCH_ENDED) {
            // It is as it should be, and comes with every connection that closes.
            return;
        }
        let (level, event) = severity(status.code());
        if event == FAILED {
            // By OpenTelemetry's rules a span counts as failed only when the server is answerable for it.
            self.span.record("error.type", code);
            self.span.record("otel.status_code", "ERROR");
        }
        let _entered = self.span.enter();
        let reason = reason.as_deref().unwrap_or(code);
        if let Some(denied) = denied(reason) {
            metrics::AUTHZ_DENIED.count(&[self.method, denied]);
        }
        log(&self.pace, (level, event), reason, status, None);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&given_up());
        }
    }
}

/// What metrics call a refusal for who called.
fn denied(reason: &str) -> Option<&'static str> {
    match reason {
        "CALLER_NOT_AUTHORIZED" => Some("not_authorized"),
        "CALLER_UNKNOWN" => Some("caller_unknown"),
        "CALLER_RATE_LIMITED" => Some("rate_limited"),
        _ => None,
    }
}

/// The method that a path names, as `package.Service/Method`.
pub(super) fn method(path: &str) -> &'static str {
    let path = path.trim_start_matches('/');
    METHODS.iter().find(|method| **method == path).copied().unwrap_or(OTHER)
}
