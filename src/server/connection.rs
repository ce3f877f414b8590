use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tower::ServiceExt;
use tracing::debug;

use super::door::Door;
use super::frame_watch::FrameWatch;
use super::held::Held;
use super::lifetime::{Activity, Lifetime};
use super::listener::Serve;
use super::preface;
use super::request_body::{Begun, RequestBody};
use super::streams::{Streams, WithStreams};
use super::unread::{Unread, UnreadWatch};
use crate::clock::Clock;
use crate::grpc::layers::{AnswerBody, Arrival, Asked, Hits, Place};
use crate::grpc::{Calls, layers};
use crate::identifiers::Peer;
use crate::identity::ConnectionIdentity;
use crate::log_pace::LogPace;

/// A peer has this long for a TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// After that it has this long to say that it speaks HTTP/2.
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that we reset for the peer's faults before the connection goes (CVE-2025-8671, RUSTSEC-2024-0003).
const MAX_LOCAL_RESETS: usize = 256;
/// Streams that the peer resets before they are looked at (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
const MAX_HEADER_LIST: u32 = 16 * 1024;
const MAX_FRAME: u32 = 16 * 1024;
const STREAM_WINDOW: u32 = 65_535;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The longest request that is looked at without the layers, in bytes: a tenant's name and a duration are much shorter.
const LONGEST_HIT: usize = 256;

/// What the connections of callers and of kubelets have in common.
#[derive(Clone, Debug)]
pub(super) struct Connections<D> {
    pub(super) door: D,
    pub(super) calls: Calls,
    /// What is answered without the layers, if anything is.
    pub(super) hits: Option<Hits>,
    pub(super) max_calls: u32,
    pub(super) lifetime: Lifetime,
    pub(super) pace: Arc<LogPace>,
}

impl<S: Send + 'static, D: Door<S>> Serve<S> for Connections<D> {
    async fn serve(self, socket: S, peer: Peer) {
        self.lifetime.until_cut(self.serve_until_closed(socket, peer)).await;
    }

    fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }
}

impl<D> Connections<D> {
    /// The same calls, behind another door.
    pub(super) fn behind<E>(&self, door: E) -> Connections<E> {
        let Self { door: _, calls, hits, max_calls, lifetime, pace } = self;
        let (calls, hits, lifetime, pace) = (calls.clone(), hits.clone(), lifetime.clone(), Arc::clone(pace));
        Connections { door, calls, hits, max_calls: *max_calls, lifetime, pace }
    }

    async fn serve_until_closed<S: Send + 'static>(&self, socket: S, peer: Peer)
    where
        D: Door<S>,
    {
        let Some((stream, identity)) = self.unless_late(HANDSHAKE_DEADLINE, self.door.open(socket, peer)).await else {
            return;
        };
        let watch = FrameWatch::new(peer, self.max_calls, Arc::clone(&self.lifetime.clock), Arc::clone(&self.pace));
        match self.unless_late(PREFACE_DEADLINE, async { Some(preface::read(stream, watch).await) }).await {
            Some(Ok(stream)) => self.serve_http2(stream, identity).await,
            Some(Err(error)) => debug!(%peer, %error, "connection without a preface"),
            None => {}
        }
    }

    /// What a peer does before it may call: nothing when the server closes meanwhile, or it takes too long.
    async fn unless_late<T>(&self, deadline: Duration, doing: impl Future<Output = Option<T>>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.lifetime.phases.closing.cancelled() => None,
            () = self.lifetime.clock.sleep(deadline) => None,
            done = doing => done,
        }
    }

    async fn serve_http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        identity: ConnectionIdentity,
    ) {
        let activity = Activity::default();
        let answers = Answers {
            calls: self.calls.clone(),
            hits: self.hits.clone(),
            clock: Arc::clone(&self.lifetime.clock),
            activity: activity.clone(),
            unread: Unread::default(),
            identity,
        };
        let unread =
            UnreadWatch::new(answers.unread.clone(), activity.unread.clone(), Arc::clone(&self.lifetime.clock));
        // Taken when the call arrives, not when it is first looked at: a connection with a call is not silent.
        let answers = Arc::new(answers);
        let service =
            service_fn(move |request| Arc::clone(&answers).answer(request, answers.activity.under_way.token()));
        let connect = |streams| self.http2(streams).serve_connection(TokioIo::new(stream), service);
        self.lifetime.see_through(WithStreams::new(unread, connect), WithStreams::close, &activity).await;
    }

    fn http2(&self, streams: Streams) -> http2::Builder<Streams> {
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            // Callers of gRPC have no use for one.
            .auto_date_header(false)
            .max_concurrent_streams(self.max_calls)
            .max_local_error_reset_streams(MAX_LOCAL_RESETS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_frame_size(MAX_FRAME)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        builder
    }
}

/// What the calls of one connection have in common.
#[derive(Debug)]
struct Answers {
    calls: Calls,
    hits: Option<Hits>,
    clock: Arc<dyn Clock>,
    activity: Activity,
    unread: Unread,
    identity: ConnectionIdentity,
}

impl Answers {
    async fn answer(
        self: Arc<Self>,
        mut request: http::Request<Incoming>,
        token: TaskTrackerToken,
    ) -> Result<http::Response<Held<AnswerBody>>, Infallible> {
        let mut begun = Begun::default();
        if let Some(hits) = self.hits.as_ref().filter(|_| Hits::may_be_one(&request)) {
            let place = self.begin(hits, &mut request, &mut begun).await;
            let asked = Asked {
                headers: request.headers(),
                body: begun.read.as_deref().unwrap_or_default(),
                connection: &self.identity,
                arrival: begun.waits_since,
            };
            let hit = place.and_then(|place| hits.answer(&asked, place));
            if let Some(hit) = hit {
                // It is unread from when it could be read.
                let held = |body| Held { body, _token: token, _unread: Some(self.unread.answer()) };
                return Ok(hit.await.map(held));
            }
        }
        // In a box, as most calls have no need for so much room.
        Box::pin(self.answer_in_layers(request, begun, token)).await
    }

    /// Reads the message of what may be a hit, and gives it a place. There is none if all are taken, or if the message is
    /// too long for a hit or does not come in its time.
    async fn begin(&self, hits: &Hits, request: &mut http::Request<Incoming>, begun: &mut Begun) -> Option<Place> {
        if let Some(is_whole) = read(request.body_mut(), &mut begun.read).now_or_never() {
            return hits.place().filter(|_| is_whole);
        }
        // The message comes in a frame of its own, often a moment after its headers. Nobody is waited for who would be
        // refused by these.
        let place = hits.place_for(request.headers(), &self.identity)?;
        begun.waits_since = Some(self.clock.elapsed());
        let late = self.clock.sleep(hits.time_for(request.headers()));
        tokio::select! {
            biased;
            is_whole = read(request.body_mut(), &mut begun.read) => is_whole.then_some(place),
            () = late => None,
        }
    }

    async fn answer_in_layers(
        self: Arc<Self>,
        mut request: http::Request<Incoming>,
        begun: Begun,
        token: TaskTrackerToken,
    ) -> Result<http::Response<Held<AnswerBody>>, Infallible> {
        let is_stream = layers::is_stream(request.uri().path());
        request.extensions_mut().insert(self.identity.clone());
        if is_stream {
            request.extensions_mut().insert(layers::Closing(self.activity.closing.clone()));
        }
        if let Some(arrival) = begun.waits_since {
            request.extensions_mut().insert(Arrival(arrival));
        }
        let held_back = if is_stream { CancellationToken::new() } else { self.activity.held_back.clone() };
        let request = request.map(|body| Body::new(RequestBody::new(body, begun, Arc::clone(&self.clock), held_back)));
        let response = self.calls.clone().oneshot(request).await?;
        let unread = (!is_stream).then(|| self.unread.answer());
        Ok(response.map(|body| Held { body: AnswerBody::Layered(body), _token: token, _unread: unread }))
    }
}

/// Reads a body to its end, unless it is too long for a hit or broken. Whether it did. It may be given up at any moment.
async fn read(body: &mut Incoming, read: &mut Option<Bytes>) -> bool {
    let is_short = |read: &Option<Bytes>| read.as_ref().is_none_or(|read| read.len() <= LONGEST_HIT);
    while !body.is_end_stream() && is_short(read) {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                *read = Some(match read.take() {
                    None => data,
                    Some(read) => [read, data].concat().into(),
                });
            }
            Some(Err(_)) => return false,
            None => break,
        }
    }
    is_short(read)
}
