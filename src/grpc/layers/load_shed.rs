use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::{held_by_body, is_stream};
use crate::grpc::status;

/// How many calls may be answered at once. Clones share the places.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// A call's place, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// So many, all of them free.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A place, if one is free. Nobody waits for one: a queue would only answer calls too late.
    pub fn take(&self) -> Option<Place> {
        let next = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Place(Arc::clone(&self.taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Refuses calls beyond a number that is shared by all connections.
///
/// A call leaves its place when its answer is sent: until then it is in memory. A stream, such as a watch over health,
/// leaves it when it begins.
#[derive(Clone, Debug)]
pub(super) struct LoadShed<S> {
    inner: S,
    places: Places,
}

impl<S> LoadShed<S> {
    pub(super) fn new(inner: S, places: Places) -> Self {
        Self { inner, places }
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
        let Some(place) = self.places.take() else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_no_more_however_often_one_is_refused() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!((0..10).all(|_| places.clone().take().is_none()));
        drop(first);
        let _third = places.take().unwrap();
        assert!(places.take().is_none());
    }
}
