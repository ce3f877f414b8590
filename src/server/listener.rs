use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::lifetime::Lifetime;
use super::per_ip::PerIp;
use crate::log_pace::LogPace;

/// How long to wait after a failed accept: doubled from one to the other. Without it, exhausted file descriptors burn a
/// core.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where connections come from: a socket, or what a test has in its place.
pub(super) trait Accept: Send + Sync + 'static {
    /// The next connection and its peer.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// What is done with the connections of one listener.
pub(super) trait Serve: Clone + Send + Sync + 'static {
    /// Serves one connection until it has ended.
    fn serve(self, socket: TcpStream) -> impl Future<Output = ()> + Send;
    /// How long they last, and by which clock.
    fn lifetime(&self) -> &Lifetime;
}

/// How many connections a listener has at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    /// In all. Those beyond wait in the kernel.
    pub(super) connections: usize,
    /// Of one IP address, or 0 for as many as it likes. Those beyond are closed, so that other peers need not wait.
    pub(super) per_ip: usize,
}

/// Accepts connections, within the caps, until the listener is closed. Each is served by a task of `serving`.
pub(super) async fn serve(listener: impl Accept, caps: Caps, connections: impl Serve, serving: TaskTracker) {
    let places = Arc::new(Semaphore::new(caps.connections.min(Semaphore::MAX_PERMITS)));
    let per_ip = PerIp::new(caps.per_ip);
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
                let Some(peers_place) = per_ip.place(peer.ip()) else {
                    if let Some(unlogged) = pace.admit("per_ip") {
                        warn!(ip = %peer.ip(), unlogged, "connection closed: its address has as many as one may have");
                    }
                    continue;
                };
                let connection = connections.clone().serve(socket);
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

async fn accept(
    listener: &impl Accept,
    places: &Arc<Semaphore>,
    pace: &LogPace,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    if places.available_permits() == 0
        && let Some(unlogged) = pace.admit("full")
    {
        warn!(unlogged, "as many connections as there may be: new ones wait");
    }
    let permit = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (socket, peer) = listener.accept().await?;
    // Small frames are answered one by one: waiting to fill a packet would only delay them.
    socket.set_nodelay(true)?;
    Ok((socket, peer, permit))
}

/// Errors of one connection, which say nothing about the next. (`InvalidInput` is what `set_nodelay` says of a
/// connection that its peer has reset already.)
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput | NotConnected)
}
