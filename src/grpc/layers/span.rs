use std::convert::Infallible;
use std::error::Error;
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
use tracing::{Instrument, Level, Span};

use super::{Arrival, is_about_several};
use crate::clock::Clock;
use crate::grpc::status;
use crate::identifiers::{CallerId, ContextIdentifier};
use crate::log_pace::LogPace;
use crate::metrics::{self, METHODS, OTHER, TraceContext};
use crate::trace_context;

const FAILED: &str = "call failed";
const REFUSED: &str = "call refused";

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

/// Logs, of each reason one a second, the others at DEBUG. `tenant` is which it is about, where the span does not say.
fn log(
    pace: &LogPace,
    (level, event): (Level, &str),
    reason: &str,
    status: &Status,
    tenant: Option<ContextIdentifier>,
) {
    let (code, cause) = (code_name(status.code()), causes(status));
    let tenant = tenant.map(tracing::field::display);
    let Some(unlogged) = pace.admit(reason) else {
        tracing::debug!(code, reason, cause, tenant, "{event}");
        return;
    };
    match level {
        Level::ERROR => tracing::error!(code, reason, cause, tenant, unlogged, "{event}"),
        Level::WARN => tracing::warn!(code, reason, cause, tenant, unlogged, "{event}"),
        _ => tracing::info!(code, reason, cause, tenant, unlogged, "{event}"),
    }
}

/// In the extensions of a request about several tenants: where it is told why there is nothing of one of them, as it is of a
/// call that ends so.
#[derive(Clone, Debug)]
pub struct PartLog {
    span: Span,
    pace: Arc<LogPace>,
}

impl PartLog {
    /// Logs why the tenant is refused.
    pub fn refused(&self, tenant: ContextIdentifier, status: &Status) {
        let reason = status.get_details_error_info().map(|info| info.reason);
        let reason = reason.as_deref().unwrap_or(code_name(status.code()));
        self.span.in_scope(|| log(&self.pace, severity(status.code()), reason, status, Some(tenant)));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&given_up());
        }
    }
}

/// How loudly a call's end is told, and in which words.
fn severity(code: Code) -> (Level, &'static str) {
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => (Level::ERROR, FAILED),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unimplemented => (Level::WARN, FAILED),
        Code::ResourceExhausted => (Level::WARN, REFUSED),
        _ => (Level::INFO, REFUSED),
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

/// The error behind a status and what caused that, or the status's message when it came without.
fn causes(status: &Status) -> String {
    let mut cause = status.source();
    let mut text = cause.map_or_else(|| status.message().to_owned(), ToString::to_string);
    while let Some(deeper) = cause.and_then(Error::source) {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = Some(deeper);
    }
    text
}

/// The method that a path names, as `package.Service/Method`.
pub(super) fn method(path: &str) -> &'static str {
    let path = path.trim_start_matches('/');
    METHODS.iter().find(|method| **method == path).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::{self, Write};
    use std::sync::Mutex;

    use jiff::Timestamp;
    use prost::Message;
    use prost_types::FileDescriptorSet;
    use serde_json::Value;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::clock::ManualClock;
    use crate::credentials::TicketError;
    use crate::grpc::FILE_DESCRIPTOR_SETS;

    const CANARY: &str = "canary-3f9a61c2";
    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Collects what a subscriber writes.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn lines(&self) -> Vec<Value> {
            let bytes = self.0.lock().unwrap();
            bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
        }
    }

    fn spanned<S>(handler: S) -> CallSpan<S> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        CallSpan::new(handler, Arc::clone(&clock), Arc::new(LogPace::new(clock)))
    }

    /// What is logged of a call to `path` that `answer` answers.
    async fn logged(path: &str, answer: impl Fn() -> Option<Status> + Clone + Send + 'static) -> Vec<Value> {
        logged_of(1, path, answer).await
    }

    /// What is logged of so many calls at the same moment.
    async fn logged_of(
        calls: usize,
        path: &str,
        answer: impl Fn() -> Option<Status> + Clone + Send + 'static,
    ) -> Vec<Value> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let _subscribed = tracing::subscriber::set_default(subscriber);
        let handler = service_fn(move |request: Request<Body>| {
            let (answer, parts) = (answer(), request.extensions().get::<PartLog>().cloned());
            async move {
                record_caller(&CallerId::ServiceAccount("crm/sync".parse().unwrap()));
                record_tenant("Cust12345".parse().unwrap());
                let Some(status) = answer else { return std::future::pending().await };
                let status = parts.map_or_else(
                    || status.clone(),
                    |log| {
                        log.refused("Cust1".parse().unwrap(), &status);
                        Status::new(Code::Ok, "")
                    },
                );
                Ok::<_, Infallible>(status.into_http())
            }
        });
        let service = spanned(handler);
        for _ in 0..calls {
            let request = Request::post(path).header("traceparent", TRACEPARENT).header("tracestate", CANARY);
            let mut call = service.clone().oneshot(request.body(Body::empty()).unwrap());
            let _answered = futures_util::poll!(&mut call);
            drop(call);
        }
        log.lines()
    }

    #[tokio::test]
    async fn a_failed_call_is_logged_once_with_its_cause_method_and_tenant() {
        let path = "/superoffice.ticket.v1.TicketService/GetSystemTicket";
        let lines = logged(path, || Some(TicketError::Internal(CANARY.to_owned()).into())).await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["code"], "INTERNAL");
        assert_eq!(line["fields"]["cause"], format!("an internal fault: {CANARY}"));
        assert_eq!(line["span"]["rpc.method"], "superoffice.ticket.v1.TicketService/GetSystemTicket");
        assert_eq!(line["span"]["rpc.response.status_code"], "INTERNAL");
        assert_eq!(line["span"]["error.type"], "INTERNAL");
        assert_eq!(line["span"]["superoffice.context_identifier"], "Cust12345");
        assert_eq!(line["span"]["ticketd.caller"], "serviceaccount:crm/sync");
        assert_eq!(line["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[tokio::test]
    async fn what_there_is_not_of_one_of_several_tenants_is_logged_as_a_call_that_fails_once_a_second() {
        let path = "/superoffice.ticket.v1.TicketService/BatchGetSystemTickets";
        let lines = logged_of(10, path, || Some(TicketError::Internal(CANARY.to_owned()).into())).await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((&line["level"], &line["fields"]["reason"]), (&"ERROR".into(), &"INTERNAL".into()));
        assert_eq!((&line["fields"]["tenant"], &line["fields"]["unlogged"]), (&"Cust1".into(), &0.into()));
        assert_eq!(line["fields"]["cause"], format!("an internal fault: {CANARY}"));
        assert_eq!(line["span"]["ticketd.caller"], "serviceaccount:crm/sync");
        assert!(line["span"]["otel.status_code"].is_null(), "the call did not fail: {line}");
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_and_logged_as_a_fault() {
        let handler = service_fn(|_request: Request<Body>| async move {
            assert!(CANARY.is_empty(), "{CANARY}");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let service = spanned(handler);
        let answer = service.oneshot(Request::post("/x").body(Body::empty()).unwrap()).await.unwrap();
        let status = Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.get_details_error_info().unwrap().reason, "INTERNAL");
        assert!(!format!("{answer:?}").contains(CANARY), "{answer:?}");
    }

    #[tokio::test]
    async fn an_overload_does_not_flood_the_log() {
        let lines = logged_of(1_000, "/grpc.health.v1.Health/Check", || Some(status::overloaded())).await;
        let [line] = lines.as_slice() else { panic!("{} lines", lines.len()) };
        assert_eq!((&line["level"], &line["fields"]["reason"]), (&"WARN".into(), &"OVERLOADED".into()));
    }

    #[tokio::test]
    async fn a_path_that_is_no_method_of_ours_is_not_repeated() {
        let lines = logged(&format!("/{CANARY}/x"), || Some(Status::unimplemented(""))).await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["span"]["rpc.method"], OTHER);
        assert!(!line.to_string().contains("canary"), "{line}");
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_counts_as_cancelled_and_a_good_one_is_not_logged() {
        let lines = logged("/grpc.health.v1.Health/Check", || None).await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["span"]["rpc.response.status_code"], "CANCELLED");
        assert_eq!(logged("/grpc.health.v1.Health/Check", || Some(Status::new(Code::Ok, ""))).await, [] as [Value; 0]);
    }

    /// Every method that may be served.
    fn methods() -> HashSet<String> {
        let sets = FILE_DESCRIPTOR_SETS.iter().filter_map(|set| FileDescriptorSet::decode(*set).ok());
        let mut methods = HashSet::new();
        for file in sets.flat_map(|set| set.file) {
            for service in &file.service {
                for method in &service.method {
                    methods.insert(format!("{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        methods
    }

    #[test]
    fn methods_of_every_service_are_known() {
        let methods = methods();
        for known in [
            "superoffice.ticket.v1.TicketService/GetSystemTicket",
            "superoffice.ticket.v1.TenantService/ListTenants",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(methods.contains(known), "{known} in {methods:?}");
        }
        assert_eq!(methods.len(), 5 + 2 + 6 + 2 + 2, "{methods:?}");
        let named: HashSet<_> =
            METHODS.iter().filter(|method| **method != OTHER).map(|method| (*method).to_owned()).collect();
        assert_eq!(methods, named, "metrics know each of them, and no other");
    }
}
