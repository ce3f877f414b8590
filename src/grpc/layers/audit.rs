use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use tonic::body::Body;
use tower::Service;

use super::call_record::{CallRecord, End, Head, REQUEST_ID, request_id};
use super::span::{methods, status_of_head};
use crate::audit::Audit;
use crate::clock::Clock;
use crate::grpc::status;
use crate::identity::ConnectionIdentity;

/// A path that is no method of ours. Whatever it says stays out.
const OTHER: &str = "_OTHER";
/// These hand out nothing and change nothing: who asks them is not written down.
const UNAUDITED: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// Writes what became of each call before its answer leaves, and withholds the answer when that cannot be written. While it
/// cannot, nothing is begun.
#[derive(Clone, Debug)]
pub(super) struct Audited<S> {
    inner: S,
    audit: Audit,
    methods: Arc<HashMap<String, Arc<str>>>,
    other: Arc<str>,
    clock: Arc<dyn Clock>,
}

impl<S> Audited<S> {
    pub(super) fn new(inner: S, audit: Audit, clock: Arc<dyn Clock>) -> Self {
        let ours = methods().into_iter().filter(|method| !method.starts_with("grpc."));
        let methods = ours.map(|method| (format!("/{method}"), Arc::from(method))).collect();
        Self { inner, audit, methods: Arc::new(methods), other: OTHER.into(), clock }
    }

    fn head(&self, request: &Request<Body>) -> Head {
        let drawn = || HeaderValue::try_from(self.audit.draw_id()).ok();
        Head {
            audit: self.audit.clone(),
            request_id: request_id(request.headers()).or_else(drawn).unwrap_or(HeaderValue::from_static("")),
            trace_id: request.headers().get("traceparent").cloned(),
            rpc: Arc::clone(self.methods.get(request.uri().path()).unwrap_or(&self.other)),
            peer: request.extensions().get::<ConnectionIdentity>().map(|identity| identity.peer),
            begun: self.clock.elapsed(),
        }
    }
}

impl<S> Service<Request<Body>> for Audited<S>
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
        let path = request.uri().path();
        if !self.audit.is_on() || UNAUDITED.iter().any(|service| path.starts_with(service)) {
            return Box::pin(self.inner.call(request));
        }
        let head = self.head(&request);
        let (audit, request_id) = (self.audit.clone(), head.request_id.clone());
        let record = CallRecord::new(head);
        let mut open = Open { record: Some(record.clone()), clock: Arc::clone(&self.clock) };
        if audit.check().is_err() {
            // It is not begun: there is nothing to withhold but the answer that it is not.
            record.reached();
            return Box::pin(async move { Ok(named(open.withhold(&audit).await, request_id)) });
        }
        request.extensions_mut().insert(record);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(named(open.close(&audit, answer).await, request_id))
        })
    }
}

fn named(mut answer: Response<Body>, request_id: HeaderValue) -> Response<Body> {
    answer.headers_mut().insert(REQUEST_ID, request_id);
    answer
}

/// A call without an event. Dropped, it was given up or has panicked.
struct Open {
    record: Option<CallRecord>,
    clock: Arc<dyn Clock>,
}

impl Open {
    /// The answer once its event is written, or what is answered in its place.
    async fn close(&mut self, audit: &Audit, answer: Response<Body>) -> Response<Body> {
        let Some(record) = self.record.take() else { return answer };
        let refusal = status_of_head(&answer).filter(|status| status.code() != tonic::Code::Ok);
        let end = refusal.as_ref().map_or(End::Answered, End::Refused);
        let elapsed = self.clock.elapsed();
        if refusal.is_some() && !record.has_reached_a_service() {
            record.write_off(end, elapsed);
            return answer;
        }
        let Some(lines) = record.lines(end, elapsed) else { return answer };
        let unavailable = status::audit_unavailable();
        let otherwise = || record.lines(End::Refused(&unavailable), elapsed).unwrap_or_else(|| audit.lines([]));
        match audit.write(lines, otherwise).await {
            Ok(()) => answer,
            Err(_) => unavailable.into_http(),
        }
    }

    /// The refusal of a call that is not begun.
    async fn withhold(&mut self, audit: &Audit) -> Response<Body> {
        let unavailable = status::audit_unavailable();
        self.close(audit, unavailable.into_http()).await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let end = if std::thread::panicking() { End::Broken } else { End::GivenUp };
            record.write_off(end, self.clock.elapsed());
        }
    }
}
