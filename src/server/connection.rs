use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tower::ServiceExt;
use tracing::debug;

use super::door::Door;
use super::frame_watch::FrameWatch;
use super::lifetime::{Activity, Lifetime};
use super::listener::Serve;
use super::preface;
use super::request_body::RequestBody;
use crate::clock::Clock;
use crate::grpc::{Calls, layers};
use crate::identifiers::Peer;
use crate::identity::ConnectionIdentity;
use crate::log_pace::LogPace;

/// A peer has this long for a TLS handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// After that it has this long to say that it speaks HTTP/2.
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// A peer that has not read an answer so long after it was there is cut: the answer and the call's place are its only
/// use of us. (hyper offers no way to give up one answer that its peer does not read.)
const READ_DEADLINE: Duration = Duration::from_secs(30);

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

/// What the connections of callers and of kubelets have in common.
#[derive(Clone, Debug)]
pub(super) struct Connections<D> {
    pub(super) door: D,
    pub(super) calls: Calls,
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
        let Self { door: _, calls, max_calls, lifetime, pace } = self;
        let (calls, lifetime, pace) = (calls.clone(), lifetime.clone(), Arc::clone(pace));
        Connections { door, calls, max_calls: *max_calls, lifetime, pace }
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
            clock: Arc::clone(&self.lifetime.clock),
            activity: activity.clone(),
            identity,
        };
        // Taken when the call arrives, not when it is first looked at: a connection with a call is not silent.
        let service = service_fn(move |request| answers.clone().answer(request, answers.activity.under_way.token()));
        self.lifetime.see_through(self.http2().serve_connection(TokioIo::new(stream), service), &activity).await;
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
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
#[derive(Clone, Debug)]
struct Answers {
    calls: Calls,
    clock: Arc<dyn Clock>,
    activity: Activity,
    identity: ConnectionIdentity,
}

impl Answers {
    async fn answer(
        self,
        mut request: http::Request<Incoming>,
        token: TaskTrackerToken,
    ) -> Result<http::Response<Body>, Infallible> {
        let is_stream = layers::is_stream(request.uri().path());
        request.extensions_mut().insert(self.identity);
        if is_stream {
            request.extensions_mut().insert(layers::Closing(self.activity.closing.clone()));
        }
        let held_back = if is_stream { CancellationToken::new() } else { self.activity.held_back.clone() };
        let request = request.map(|body| Body::new(RequestBody::new(body, Arc::clone(&self.clock), held_back)));
        let response = self.calls.oneshot(request).await?;
        let is_sent = response.body().is_end_stream();
        let sent = CancellationToken::new();
        if !is_stream && !is_sent {
            let (sent, late) = (sent.clone(), self.clock.sleep(READ_DEADLINE));
            tokio::spawn(async move {
                tokio::select! {
                    () = sent.cancelled() => {}
                    () = late => self.activity.unread.cancel(),
                }
            });
        }
        Ok(response.map(|body| layers::held_by_body(body, (token, sent.drop_guard()))))
    }
}
