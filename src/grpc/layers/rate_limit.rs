use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::is_about_several;
use crate::authorization::{Pace, PolicyInForce};
use crate::grpc::status;
use crate::identifiers::Caller;

/// Refuses the calls of a caller that calls more often than the policy lets it, before its service reads anything. A call
/// without a caller, which is one for health, passes.
#[derive(Clone, Debug)]
pub(super) struct RateLimit<S> {
    inner: S,
    policy: PolicyInForce,
    pace: Pace,
}

impl<S> RateLimit<S> {
    pub(super) fn new(inner: S, policy: PolicyInForce, pace: Pace) -> Self {
        Self { inner, policy, pace }
    }

    /// Counts the call. One that counts as several is counted by its service, once that knows how many.
    fn admit(&self, request: &mut Request<Body>) -> Result<(), Duration> {
        let Some(caller) = request.extensions().get::<Caller>() else { return Ok(()) };
        let Some(limits) = self.policy.current().limits(&caller.id) else { return Ok(()) };
        if !is_about_several(request.uri().path()) {
            return self.pace.admit(&caller.id, limits, 1);
        }
        let uncounted = Arc::new(self.pace.begin(&caller.id, limits)?);
        request.extensions_mut().insert(uncounted);
        Ok(())
    }
}

impl<S> Service<Request<Body>> for RateLimit<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.admit(&mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(wait) => Either::Right(ready(Ok(status::rate_limited(wait).into_http()))),
        }
    }
}
