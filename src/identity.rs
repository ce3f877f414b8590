//! Who calls: what a connection and a call's bearer token prove.

mod bearer;
mod bundle;
mod client_certificates;
mod cluster;
mod cluster_keys;
mod leaf;
mod revocation_list;
mod service_accounts;
mod settings;
mod token_review;

pub use bearer::{Bearer, BearerError};
pub use bundle::{Bundle, BundleError, validity};
pub use client_certificates::{ClientCertificates, refusal_of};
pub use cluster::SetupError;
pub use leaf::CertificateRefusal;
pub use revocation_list::{RevocationList, RevocationListError};
pub use service_accounts::ServiceAccounts;
pub use settings::{KeySource, Settings};

use crate::identifiers::{CallerId, Peer};

/// What a connection proved about its other end, once for all of its calls: in the extensions of every request.
#[derive(Clone, Debug)]
pub struct ConnectionIdentity {
    /// From where.
    pub peer: Peer,
    /// By a client certificate or the credentials of a Unix socket; none when it proved nothing.
    pub id: Option<CallerId>,
    /// Whether nobody on the way can read what is sent: TLS, or a Unix socket.
    pub is_private: bool,
}
