//! A host: a port that can go down and come back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::answers;
use crate::endpoint::Host;
use crate::world::World;

/// A bound port and the task that serves it.
#[derive(Debug)]
pub(crate) struct Listener {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// Up or down, and the answer once it is so.
type Command = (bool, oneshot::Sender<io::Result<()>>);

impl Listener {
    pub(crate) fn serve(
        socket: TcpListener,
        address: SocketAddr,
        host: Host,
        acceptor: Option<TlsAcceptor>,
        world: Arc<World>,
    ) -> Self {
        let (commands, receiver) = mpsc::channel(8);
        let port = Port { address, host, acceptor, world };
        Self { commands, task: tokio::spawn(port.run(socket, receiver)) }
    }

    /// Returns when the port is open or closed. Going down cuts every connection.
    pub(crate) async fn set_up(&self, up: bool) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let (done, receiver) = oneshot::channel();
        self.commands.send((up, done)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }

    pub(crate) async fn shutdown(mut self) {
        self.task.abort();
        // Aborting is how it ends, so there is no outcome to look at.
        drop((&mut self.task).await);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Port {
    address: SocketAddr,
    host: Host,
    acceptor: Option<TlsAcceptor>,
    world: Arc<World>,
}

impl Port {
    async fn run(self, socket: TcpListener, mut commands: mpsc::Receiver<Command>) {
        let mut socket = Some(socket);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let Some((up, done)) = command else { return };
                    let outcome = match (up, &socket) {
                        (true, None) => TcpListener::bind(self.address).await.map(|bound| socket = Some(bound)),
                        (true, Some(_)) => Ok(()),
                        (false, _) => {
                            socket = None;
                            connections.shutdown().await;
                            Ok(())
                        }
                    };
                    // Nobody may be waiting for the answer any more.
                    drop(done.send(outcome));
                }
                accepted = accept(socket.as_ref()) => match accepted {
                    Ok(stream) => { connections.spawn(serve(stream, self.host, self.acceptor.clone(), Arc::clone(&self.world))); }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        // Out of descriptors, most likely: accepting at once again would spin.
                        pause().await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn accept(socket: Option<&TcpListener>) -> io::Result<TcpStream> {
    match socket {
        Some(socket) => socket.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn serve(stream: TcpStream, host: Host, acceptor: Option<TlsAcceptor>, world: Arc<World>) {
    // Small answers wait for nothing; a socket that refuses the option still works.
    drop(stream.set_nodelay(true));
    let service =
        service_fn(move |request: Request<Incoming>| answers::answer(Arc::clone(&world), host, request.map(Body::new)));
    let server = auto::Builder::new(TokioExecutor::new());
    let outcome = match acceptor {
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
            Err(error) => Err(error.into()),
        },
        None => server.serve_connection(TokioIo::new(stream), service).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(error, "a connection ended in an error");
    }
}

async fn pause() {
    #[expect(clippy::disallowed_methods, reason = "waits for the operating system, not for a clock")]
    tokio::time::sleep(Duration::from_millis(50)).await;
}
