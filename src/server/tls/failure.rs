use std::io;

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

use crate::identity::{CertificateRefusal, refusal_of};

/// Why a handshake came to nothing, in words of ours: nothing that the peer sent is repeated.
#[derive(Clone, Debug, Error)]
pub(super) enum Failure {
    /// The peer left.
    #[error("the connection ended")]
    Ended,
    #[error("the peer offers no HTTP/2 (ALPN h2)")]
    NoHttp2,
    #[error("the peer shows no client certificate")]
    NoCertificate,
    #[error("the client certificate is refused: {0}")]
    Certificate(CertificateRefusal),
    #[error("the client certificate is refused: {0}")]
    Chain(&'static str),
    /// It does not like what it sees of us, or ends a handshake that it cannot complete.
    #[error("the peer ended the handshake with the alert {0:?}")]
    Alert(AlertDescription),
    #[error("the peer has no TLS version or cipher suite in common with us")]
    Incompatible,
    #[error("the peer does not speak TLS")]
    NotTls,
    #[error("the peer breaks the rules of TLS")]
    Protocol,
}

impl From<CertificateRefusal> for Failure {
    fn from(refusal: CertificateRefusal) -> Self {
        Self::Certificate(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::of(error),
            None => Self::Ended,
        }
    }
}

impl Failure {
    fn of(error: &rustls::Error) -> Self {
        use rustls::Error as Tls;
        if let Some(refusal) = refusal_of(error) {
            return Self::Certificate(refusal);
        }
        match error {
            Tls::NoCertificatesPresented => Self::NoCertificate,
            Tls::InvalidCertificate(error) => Self::Chain(of_chain(error)),
            Tls::InvalidCertRevocationList(_) => Self::Chain("its revocation list cannot be verified"),
            Tls::NoApplicationProtocol => Self::NoHttp2,
            Tls::AlertReceived(alert) => Self::Alert(*alert),
            Tls::PeerIncompatible(_) => Self::Incompatible,
            Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. } => Self::NotTls,
            _ => Self::Protocol,
        }
    }
}

fn of_chain(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it, or one above it, is expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it, or one above it, is not valid yet"
        }
        CertificateError::Revoked => "it, or one above it, is revoked",
        CertificateError::UnknownRevocationStatus => "no revocation list speaks of it",
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "its revocation list is out of date"
        }
        CertificateError::UnknownIssuer => "no authority of its bundle vouches for it",
        CertificateError::BadSignature => "a signature on it is wrong",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it, or one above it, is for another purpose"
        }
        CertificateError::BadEncoding => "it is malformed",
        _ => "its chain cannot be verified",
    }
}
