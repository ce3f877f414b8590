use std::future::{Future, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::identifiers::Peer;
use crate::identity::ConnectionIdentity;

/// What a connection passes before it may speak HTTP/2, and where it proves what it is.
pub(super) trait Door<S>: Clone + Send + Sync + 'static {
    /// What is spoken over from then on.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Lets a connection in, or not. It may be given up at any moment.
    fn open(&self, socket: S, peer: Peer) -> impl Future<Output = Option<(Self::Stream, ConnectionIdentity)>> + Send;
}

/// Lets everybody in, unread: nothing is proved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plaintext;

impl Door<TcpStream> for Plaintext {
    type Stream = TcpStream;

    fn open(&self, socket: TcpStream, peer: Peer) -> impl Future<Output = Option<(TcpStream, ConnectionIdentity)>> {
        ready(Some((socket, ConnectionIdentity { peer, id: None, is_private: false })))
    }
}
