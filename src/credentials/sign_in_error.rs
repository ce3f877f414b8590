use std::time::Duration;

use thiserror::Error;

use super::error::{STORE_PAUSE, UpstreamTrouble};
use crate::store::StoreError;
use crate::superoffice::{AuthorizeErrorCode, OAuthError};

/// Why a sign-in did not begin or not succeed. Each text says what to do; no secret is in it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInError {
    /// No sign-in waits under this `state`: it never began, has expired, or was used.
    #[error("no such sign-in is under way: it has expired or was used already; begin again")]
    Unknown,
    /// Another browser or caller began the sign-in. It still waits for that one.
    #[error("this sign-in was begun in another browser or by another caller: go on there, or begin again here")]
    OtherOwner,
    /// The caller may not sign users of this tenant in. Nothing of the tenant was touched.
    #[error("the caller may not sign in to the tenant that the user signed in to")]
    NotEntitled,
    /// The user signed in to another tenant than the one that was asked for.
    #[error("the user signed in to another tenant than the one asked for: begin again and choose that tenant")]
    WrongTenant,
    /// Another user signed in than the one that was asked for.
    #[error("another user signed in than the one asked for: sign out at SuperOffice and begin again")]
    WrongUser,
    /// The tenant is not registered, and SuperOffice sent no system user token to register it with.
    #[error(
        "SuperOffice sent no system user token: an administrator of the tenant has to approve the application, which \
         has to be one with a system user, and sign in"
    )]
    NoSystemUserToken,
    /// SuperOffice does not take the code.
    #[error("SuperOffice does not take the authorization code: it has expired or was used already; begin again")]
    CodeRefused,
    /// What came in place of a code cannot be one. The sign-in still waits.
    #[error("an authorization code has 1 to 512 visible characters")]
    CodeInvalid,
    /// The tenant's authorization of the application does not hold (codes 1, 3, 4 and 5).
    #[error("SuperOffice refused the tenant's authorization: {0}")]
    Authorization(AuthorizeErrorCode),
    /// SuperOffice does not take the client id and secret, or the request.
    #[error("SuperOffice does not take this application's request: {0}")]
    ClientRefused(String),
    /// The ID token is missing or does not verify.
    #[error("SuperOffice's ID token cannot be used ({0}): begin again")]
    TokenInvalid(&'static str),
    /// Access token and ID token are of two tenants, or the tenant's database is not the one that is pinned.
    #[error("SuperOffice's tokens are not of one tenant and its known database: {0}")]
    TenantMismatch(&'static str),
    /// The redirect URI is not one of the configured ones.
    #[error("the redirect URI is not one of superoffice.redirect_uris")]
    RedirectUriNotAllowed,
    /// The login hint cannot be a user's name.
    #[error("a login hint has 1 to 320 bytes and no invisible characters")]
    LoginHintInvalid,
    /// As many sign-ins as may be wait for their users.
    #[error("too many sign-ins are under way")]
    TooManyPending,
    /// The tenant's system user token comes from the mounted directory and is another one.
    #[error("the tenant comes from the mounted directory with another system user token: change its file")]
    TenantReadOnly,
    /// What is kept of the tenant cannot be used until somebody mends it.
    #[error("what is kept of the tenant cannot be used: {0}")]
    TenantUnusable(String),
    /// SuperOffice asked us to wait.
    #[error("SuperOffice asked to wait")]
    Throttled {
        /// How long.
        retry_after: Duration,
    },
    /// SuperOffice cannot be reached or fails.
    #[error("SuperOffice cannot be used at the moment: {cause}")]
    Unavailable {
        /// What went wrong, without secrets.
        cause: String,
        /// When it makes sense to begin again.
        retry_after: Duration,
    },
    /// SuperOffice has failed so often that it is not asked but for a probe now and then.
    #[error("SuperOffice keeps failing: it is asked once in a while only")]
    CircuitOpen {
        /// When the next probe is made.
        retry_after: Duration,
    },
    /// The store cannot be read or written.
    #[error("the store cannot be used at the moment: {cause}")]
    StoreUnavailable {
        /// Why.
        cause: String,
        /// When it makes sense to begin again.
        retry_after: Duration,
    },
    /// As many sign-ins as may be are being finished.
    #[error("too many requests to SuperOffice are under way")]
    Overloaded,
    /// A fault of ours.
    #[error("an internal fault: {0}")]
    Internal(String),
}

impl From<UpstreamTrouble> for SignInError {
    fn from(trouble: UpstreamTrouble) -> Self {
        match trouble {
            UpstreamTrouble::Throttled { retry_after } => Self::Throttled { retry_after },
            UpstreamTrouble::Unavailable { cause, retry_after } => Self::Unavailable { cause, retry_after },
            UpstreamTrouble::CircuitOpen { retry_after } => Self::CircuitOpen { retry_after },
        }
    }
}

impl From<OAuthError> for SignInError {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::InvalidGrant => Self::CodeRefused,
            OAuthError::Authorization(code) => Self::Authorization(code),
            OAuthError::Refused(message) => Self::ClientRefused(message),
            OAuthError::Upstream(error) => UpstreamTrouble::from(error).into(),
        }
    }
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::ReadOnly { .. } => Self::TenantReadOnly,
            StoreError::TooManyPending => Self::TooManyPending,
            StoreError::TenantFile { .. } | StoreError::BadRecord { .. } => Self::TenantUnusable(error.to_string()),
            other => Self::StoreUnavailable { cause: other.to_string(), retry_after: STORE_PAUSE },
        }
    }
}
