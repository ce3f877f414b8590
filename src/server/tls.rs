//! TLS: the certificate we show, the certificates we accept, and the handshake.

mod failure;
mod files;
mod generation;

use std::iter;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::door::Door;
use super::settings::TlsSettings;
use crate::admin::{Certificate, Certificates};
use crate::clock::Clock;
use crate::identifiers::Peer;
use crate::identity::ConnectionIdentity;
use crate::log_pace::LogPace;

use self::failure::Failure;
pub(super) use self::generation::Generation;
pub use self::generation::TlsError;

impl TlsSettings {
    /// Whether handshakes can be made with them: reads every file. It may block.
    pub fn check(&self, clock: &Arc<dyn Clock>) -> Result<(), TlsError> {
        Generation::read(self, clock).map(drop)
    }
}

/// The one protocol that is spoken behind the handshake.
const HTTP2: &[u8] = b"h2";

/// Lets in who completes a TLS handshake, with the caller that its certificate names.
///
/// No session is ever resumed: certificates are verified on every connection, with the rules of that moment.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// Replaced as a whole when its files change: handshakes under way keep theirs.
    current: Arc<ArcSwap<Generation>>,
    pace: Arc<LogPace>,
}

impl Tls {
    /// Shakes hands with what `current` holds at that moment.
    pub(super) fn new(current: Arc<ArcSwap<Generation>>, clock: Arc<dyn Clock>) -> Self {
        Self { current, pace: Arc::new(LogPace::new(clock)) }
    }

    /// What handshakes are made with, to be replaced.
    pub(super) fn certificates(&self) -> Arc<ArcSwap<Generation>> {
        Arc::clone(&self.current)
    }

    async fn shake_hands(&self, socket: TcpStream, peer: Peer) -> Result<Accepted, Failure> {
        let generation = self.current.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&generation.config)).accept(socket).await?;
        let (_, session) = stream.get_ref();
        // One that offers other protocols is refused within the handshake; one that offers none is not.
        if session.alpn_protocol() != Some(HTTP2) {
            return Err(Failure::NoHttp2);
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let id = certificate.map(|certificate| generation.caller(certificate)).transpose()?;
        Ok((stream, ConnectionIdentity { peer, id, is_private: true }))
    }
}

impl Certificates for Tls {
    fn certificates(&self) -> Vec<Certificate> {
        let generation = self.current.load();
        let ours = Certificate { name: "ticketd's certificate".to_owned(), expire_time: generation.expire_time };
        iter::once(ours).chain(generation.authorities.iter().cloned()).collect()
    }
}

type Accepted = (TlsStream<TcpStream>, ConnectionIdentity);

impl Door<TcpStream> for Tls {
    type Stream = TlsStream<TcpStream>;

    async fn open(&self, socket: TcpStream, peer: Peer) -> Option<Accepted> {
        match self.shake_hands(socket, peer).await {
            Ok(accepted) => Some(accepted),
            // Load balancers look whether the port is open, all day.
            Err(Failure::Ended) => {
                debug!(%peer, "connection without a TLS handshake");
                None
            }
            Err(failure) => {
                let reason = failure.to_string();
                if let Some(unlogged) = self.pace.admit(&reason) {
                    warn!(%peer, reason, unlogged, "TLS handshake failed");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
