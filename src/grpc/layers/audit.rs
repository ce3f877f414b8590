use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderValue, Request, Response};
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use super::Arrival;
use super::call_record::{CallRecord, End, Head, REQUEST_ID, name_of_call};
use super::span::{method, status_of_head};
use crate::audit::{Audit, AuditUnavailable, Lines, Receipt};
use crate::clock::Clock;
use crate::grpc::status;
use crate::identity::ConnectionIdentity;

/// These hand out nothing and change nothing: who asks them is not written down.
const UNAUDITED: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// Writes what became of each call before its answer leaves, and withholds the answer when that cannot be written. While it
/// cannot, nothing is begun.
#[derive(Clone, Debug)]
pub(super) struct Audited<S> {
    inner: S,
    common: Arc<Common>,
}

/// What all calls have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) audit: Audit,
    pub(super) clock: Arc<dyn Clock>,
}

impl<S> Audited<S> {
    pub(super) fn new(inner: S, audit: Audit, clock: Arc<dyn Clock>) -> Self {
        Self { inner, common: Arc::new(Common { audit, clock }) }
    }

    fn begin(&self, request: &Request<Body>) -> Open {
        let common = &self.common;
        let request_id = name_of_call(request.headers(), &common.audit);
        let peer = request.extensions().get::<ConnectionIdentity>().map(|identity| identity.peer);
        let arrival: Option<&Arrival> = request.extensions().get();
        let begun = arrival.map_or_else(|| common.clock.elapsed(), |Arrival(time)| *time);
        let head = Head::new(common, request.headers(), method(request.uri().path()), peer, begun);
        Open { record: CallRecord::new(head), request_id, polling: false, closed: None }
    }
}

impl<S> Service<Request<Body>> for Audited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Unpin>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Answering<S::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if !self.common.audit.is_on() || UNAUDITED.iter().any(|service| path.starts_with(service)) {
            return Either::Left(self.inner.call(request));
        }
        let (open, receipt) = (self.begin(&request), Receipt::default());
        if self.common.audit.check().is_err() {
            // It is not begun: there is nothing to withhold but the answer that it is not.
            open.record.reached();
            let answer = Answer::There(status::audit_unavailable().into_http());
            return Either::Right(Answering { answer, open, receipt });
        }
        request.extensions_mut().insert(open.record.clone());
        Either::Right(Answering { answer: Answer::Awaited(self.inner.call(request)), open, receipt })
    }
}

/// The answer to a call, which waits for the call's event once it is there.
pub(super) struct Answering<F> {
    answer: Answer<F>,
    open: Open,
    receipt: Receipt,
}

enum Answer<F> {
    Awaited(F),
    There(Response<Body>),
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { answer, open, receipt } = &mut *self;
        if let Answer::Awaited(awaited) = answer {
            open.polling = true;
            let polled = Pin::new(awaited).poll(context);
            open.polling = false;
            let Ok(there) = ready!(polled);
            *answer = Answer::There(there);
        }
        let Answer::There(answer) = answer else { return Poll::Pending };
        if ready!(open.poll_close(answer, receipt, context)).is_err() {
            *answer = status::audit_unavailable().into_http();
        }
        let mut answer = mem::take(answer);
        answer.headers_mut().insert(REQUEST_ID, mem::replace(&mut open.request_id, HeaderValue::from_static("")));
        Poll::Ready(Ok(answer))
    }
}

/// A call that may have no event yet. Dropped, it was given up or has panicked.
struct Open {
    record: CallRecord,
    request_id: HeaderValue,
    /// Whether its answer is being worked on. Still so when it is dropped, that panicked: by then the panic may be caught,
    /// and the thread does not tell of it any more.
    polling: bool,
    /// When its answer was there, by monotonic time.
    closed: Option<Duration>,
}

impl Open {
    /// Ready once the call's event is written, or why it is not is.
    fn poll_close(
        &mut self,
        answer: &Response<Body>,
        receipt: &mut Receipt,
        context: &Context<'_>,
    ) -> Poll<Result<(), AuditUnavailable>> {
        let Some(Common { audit, clock }) = self.record.common() else { return Poll::Ready(Ok(())) };
        let is_first = self.closed.is_none();
        let elapsed = *self.closed.get_or_insert_with(|| clock.elapsed());
        let refusal = if is_first { status_of_head(answer) } else { None };
        let refusal = refusal.filter(|status| status.code() != Code::Ok);
        let end = refusal.as_ref().map_or(End::Answered, End::Refused);
        if refusal.is_some() && !self.record.has_reached_a_service() {
            self.record.write_off(&self.request_id, end, elapsed);
            return Poll::Ready(Ok(()));
        }
        let add = |lines: &mut Lines| self.record.add_to(lines, &self.request_id, end, elapsed);
        let written = ready!(audit.poll_write(receipt, elapsed, add, context));
        if written.is_err() {
            let unavailable = status::audit_unavailable();
            let end = End::Refused(&unavailable);
            let add = |lines: &mut Lines| self.record.add_to(lines, &self.request_id, end, elapsed);
            audit.amend(*receipt, add);
        }
        Poll::Ready(written)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(common) = self.record.common().filter(|_| self.closed.is_none()) {
            let end = if self.polling || std::thread::panicking() { End::Broken } else { End::GivenUp };
            self.record.write_off(&self.request_id, end, common.clock.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;
    use tower::{ServiceExt, service_fn};

    use super::super::span::CallSpan;
    use super::*;
    use crate::audit::{Output, Settings};
    use crate::clock::SystemClock;
    use crate::identifiers::{ClientSecret, Environment};
    use crate::log_pace::LogPace;

    #[tokio::test]
    async fn a_call_that_panics_is_not_told_of_as_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let settings = Settings { output: Output::File(path.clone()), ..Settings::default() };
        let secret = ClientSecret::new("secret");
        let audit = Audit::open(&settings, Environment::Sod, &secret, Arc::new(SystemClock)).await.unwrap();
        for waits in [false, true] {
            let handler = service_fn(move |_request: Request<Body>| {
                Box::pin(async move {
                    if waits {
                        tokio::task::yield_now().await;
                    }
                    assert!(REQUEST_ID.as_str().is_empty(), "it panics");
                    Ok::<_, Infallible>(Response::new(Body::empty()))
                })
            });
            let audited = Audited::new(handler, audit.clone(), Arc::new(SystemClock));
            let pace = Arc::new(LogPace::new(Arc::new(SystemClock)));
            let service = CallSpan::new(audited, Arc::new(SystemClock), pace);
            let request = Request::post("/superoffice.ticket.v1.TicketService/GetSystemTicket");
            service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        }
        audit.close().await;
        let events = fs::read_to_string(path).unwrap();
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let calls: Vec<_> = events.filter(|event| event["kind"] == "call").collect();
        assert_eq!(calls.len(), 2);
        for call in calls {
            assert_eq!((&call["decision"], &call["outcome"]), (&"refused".into(), &"INTERNAL".into()), "{call}");
        }
    }
}
