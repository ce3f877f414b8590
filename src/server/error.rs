use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::tls::TlsError;
use super::unix::UnixSocketError;
use crate::audit::AuditError;
use crate::crypto::RandomnessError;
use crate::identity;
use crate::store::StoreError;
use crate::superoffice::SetupError;

/// Why a server did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Callers could prove nothing.
    #[error(
        "server.address is {address} and callers cannot identify themselves there: set tls.certificate_file and \
         tls.key_file, or serve callers of this machine on server.unix_socket; for development, \
         server.allow_unidentified_callers = true lets everybody in who can connect"
    )]
    Unidentified {
        /// The address.
        address: SocketAddr,
    },
    /// Callers that prove nothing would be served on an address that others can reach.
    #[error(
        "server.address is {address}, which is not on the loopback interface: server.allow_unidentified_callers is for \
         127.0.0.1 and [::1] only; set tls.certificate_file and tls.key_file"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// There is no place where callers could connect.
    #[error("callers cannot connect: set server.address or server.unix_socket")]
    Nowhere,
    /// There is no TLS with these files.
    #[error("callers cannot be served over TLS")]
    Tls(#[from] TlsError),
    /// A Unix socket cannot be listened on.
    #[error("server.unix_socket {} cannot be listened on: {source}", path.display())]
    UnixSocket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: UnixSocketError,
    },
    /// An address cannot be listened on.
    #[error("{setting} {address} cannot be listened on")]
    Listen {
        /// The setting that has it.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// The client of SuperOffice's side cannot be built.
    #[error("the client of SuperOffice cannot be built")]
    SuperOffice(#[from] SetupError),
    /// Callers' tokens cannot be verified.
    #[error("callers' tokens cannot be verified")]
    Identity(#[from] identity::SetupError),
    /// The operating system gives no random numbers.
    #[error("no key can be drawn")]
    Randomness(#[from] RandomnessError),
    /// What is handed out could not be written down.
    #[error("the audit cannot be written")]
    Audit(#[from] AuditError),
    /// The services cannot be described to reflection.
    #[error("the reflection service cannot be built")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Why a server ended other than by draining.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeError {
    /// Something that runs as long as the server has ended. The server drained, rather than run on without it.
    #[error("the {0} ended by itself: this is a fault of ticketd, its log has more")]
    TaskEnded(&'static str),
    /// It was asked to stop at once.
    #[error("aborted: calls under way were cut")]
    Aborted,
}
