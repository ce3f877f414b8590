use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::Service;

use super::{held_by_body, is_stream};
use crate::grpc::status;

/// Refuses calls beyond a number that is shared by all connections: a queue would only answer them too late.
///
/// A call leaves its place when its answer is sent: until then it is in memory. A stream, such as a watch over health,
/// leaves it when it begins.
#[derive(Clone, Debug)]
pub(super) struct LoadShed<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> LoadShed<S> {
    pub(super) fn new(inner: S, max_calls: usize) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(max_calls.min(Semaphore::MAX_PERMITS))) }
    }
}

impl<S> Service<Request<Body>> for LoadShed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Box::pin(async { Ok(status::overloaded().into_http()) });
        };
        let is_stream = is_stream(request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(if is_stream { answer } else { answer.map(|body| held_by_body(body, place)) })
        })
    }
}
