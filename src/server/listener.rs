use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::lifetime::Lifetime;
use super::per_ip::PerIp;
use super::settings::Settings;
use crate::identifiers::Peer;
use crate::log_pace::LogPace;

/// How long to wait after a failed accept: doubled from one to the other. Without it, exhausted file descriptors burn a
/// core.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where connections come from: a socket, or what a test has in its place.
pub(super) trait Accept: Send + Sync + 'static {
    /// What it accepts.
    type Stream: Send + 'static;

    /// The next connection and its peer.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (socket, address) = Self::accept(self).await?;
        // Small frames are answered one by one: waiting to fill a packet would only delay them.
        socket.set_nodelay(true)?;
        Ok((socket, Peer::Tcp(address)))
    }
}

/// What is done with the connections of one listener.
pub(super) trait Serve<S>: Clone + Send + Sync + 'static {
    /// Serves one connection until it has ended.
    fn serve(self, socket: S, peer: Peer) -> impl Future<Output = ()> + Send;
    /// How long they last, and by which clock.
    fn lifetime(&self) -> &Lifetime;
}

/// How many connections a listener has at once.
#[derive(Clone, Debug)]
pub(super) struct Caps {
    /// In all. Those beyond wait in the kernel.
    pub(super) connections: usize,
    /// Of one IP address, or 0 for as many as it likes. Those beyond are closed, so that other peers need not wait.
    pub(super) per_ip: usize,
    /// Addresses that stand for many peers, and have as many connections as they like.
    pub(super) proxies: Arc<[IpNet]>,
}

impl Caps {
    /// What all listeners have but the pages', which have settings of their own.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            connections: settings.max_connections,
            per_ip: settings.max_connections_per_ip,
            proxies: settings.proxy_networks.as_slice().into(),
        }
    }
}

/// Accepts connections, within the caps, until the listener is closed. Each is served by a task of `serving`.
pub(super) async fn serve<A: Accept>(
    listener: A,
    caps: Caps,
    connections: impl Serve<A::Stream>,
    serving: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(caps.connections.min(Semaphore::MAX_PERMITS)));
    let per_ip = PerIp::new(caps.per_ip, caps.proxies);
    let Lifetime { phases, clock, .. } = connections.lifetime().clone();
    let (pace, closing) = (LogPace::new(Arc::clone(&clock)), phases.closing);
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            accepted = accept(&listener, &places, &pace) => accepted,
        };
        match accepted {
            Ok((socket, peer, permit)) => {
                pause = SHORTEST_PAUSE;
                let Some(peers_place) = per_ip.place(peer) else {
                    if let Some(unlogged) = pace.admit("per_ip") {
                        warn!(%peer, unlogged, "connection closed: its address has as many as one may have");
                    }
                    continue;
                };
                let connection = connections.clone().serve(socket, peer);
                serving.spawn(async move {
                    connection.await;
                    drop((permit, peers_place));
                });
            }
            Err(error) if is_of_the_peer(&error) => debug!(%error, "connection lost before it was accepted"),
            Err(error) => {
                warn!(%error, ?pause, "no connection can be accepted");
                tokio::select! {
                    () = closing.cancelled() => return,
                    () = clock.sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn accept<A: Accept>(
    listener: &A,
    places: &Arc<Semaphore>,
    pace: &LogPace,
) -> io::Result<(A::Stream, Peer, OwnedSemaphorePermit)> {
    if places.available_permits() == 0
        && let Some(unlogged) = pace.admit("full")
    {
        warn!(unlogged, "as many connections as there may be: new ones wait");
    }
    let permit = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (socket, peer) = listener.accept().await?;
    Ok((socket, peer, permit))
}

/// Errors of one connection, which say nothing about the next. (`InvalidInput` is what `set_nodelay` says of a
/// connection that its peer has reset already.)
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected)
}
