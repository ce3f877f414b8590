use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use crate::authorization::{Pace, PolicyInForce};
use crate::grpc::status;
use crate::identifiers::Caller;

/// Refuses the calls of a caller that calls more often than the policy lets it, before anything of them is read. A call
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let caller = request.extensions().get::<Caller>();
        let limited = caller.and_then(|caller| Some((&caller.id, self.policy.current().limits(&caller.id)?)));
        match limited.map_or(Ok(()), |(caller, limits)| self.pace.admit(caller, limits, 1)) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(wait) => Either::Right(ready(Ok(status::rate_limited(wait).into_http()))),
        }
    }
}
