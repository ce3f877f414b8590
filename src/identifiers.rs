//! The names and secrets that every other module speaks of. This module imports nothing of ours.

mod caller;
mod context_identifier;
mod environment;
mod secrets;
mod spiffe_id;

pub use caller::{Caller, CallerId, CallerIdError, Peer, ServiceAccount, ServiceAccountError};
pub use context_identifier::{ContextIdentifier, ContextIdentifierError};
pub use environment::{Environment, UnknownEnvironment};
pub use secrets::{
    AccessToken, AuthorizationCode, BrowserSecret, ClientSecret, CodeVerifier, DatabasePassword, Nonce, RefreshToken,
    SignInState, SignedSystemToken, SystemUserToken, Ticket, UnverifiedJwt,
};
pub use spiffe_id::{SpiffeId, SpiffeIdError};

/// The application's OAuth `client_id` in one environment. It is public: 32 hexadecimal digits in every example seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApplicationId(String);

impl ApplicationId {
    /// Takes the identifier as the Developer Portal shows it.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self(client_id.into())
    }

    /// The identifier as it goes into requests.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
