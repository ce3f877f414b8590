use std::time::Duration;

use thiserror::Error;

use super::refusals::{Memorable, Memory};
use crate::crypto::JwtRejection;
use crate::store::StoreError;
use crate::superoffice::{AuthorizeErrorCode, TenantState, UpstreamError};

/// Asking again sooner about a tenant that is not registered gives the same answer.
const NOT_REGISTERED: Duration = Duration::from_secs(30);
/// Someone has to act before the answer changes.
pub(super) const PERMANENT: Duration = Duration::from_mins(1);
/// When to ask again after SuperOffice failed or asked to wait, if nothing better is known.
const UPSTREAM_PAUSE: Duration = Duration::from_secs(1);
/// The same for the store.
pub(super) const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Why there is no ticket. All callers that wait for one exchange share one value of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketError {
    /// No system user token is known for the tenant.
    #[error("the tenant is not registered: put its system user token first")]
    NotRegistered,
    /// The caller wants a ticket that lives longer than any can be promised to.
    #[error("no ticket can be promised to live that long: ask for at most {longest:?}")]
    MinValidityTooLarge {
        /// The longest that can be asked for.
        longest: Duration,
    },
    /// The tenant's authorization of the application does not hold (codes 1, 3, 4 and 5).
    #[error("SuperOffice refused the tenant's authorization: {0}")]
    Authorization(AuthorizeErrorCode),
    /// SuperOffice refused for a cause that it did not tell in a known way.
    #[error("SuperOffice refused the exchange: {message}")]
    Refused {
        /// What SuperOffice said, cut short and cleaned; it holds no secret of ours.
        message: String,
    },
    /// No configured signing key is the registered one (code 7).
    #[error("SuperOffice took none of the configured signing keys")]
    SigningKeyRejected,
    /// SuperOffice refused the signature's time (code 6), by its own clock too.
    #[error("this machine's clock and SuperOffice's are too far apart")]
    ClockSkew {
        /// When the next try is made.
        retry_after: Duration,
    },
    /// The tenant is suspended, deleted or not there yet.
    #[error("the tenant is not running: it is {0}")]
    TenantNotRunning(TenantState),
    /// The tenant is in maintenance.
    #[error("the tenant is in maintenance")]
    TenantMaintenance {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// SuperOffice asked us to wait.
    #[error("SuperOffice asked to wait")]
    Throttled {
        /// How long.
        retry_after: Duration,
    },
    /// SuperOffice cannot be reached or fails.
    #[error("SuperOffice cannot be used at the moment: {cause}")]
    Unavailable {
        /// What went wrong last, without secrets.
        cause: String,
        /// When the next try is made.
        retry_after: Duration,
    },
    /// SuperOffice has failed so often that it is not asked but for a probe now and then. Nothing is remembered of it.
    #[error("SuperOffice keeps failing: it is asked once in a while only")]
    CircuitOpen {
        /// When the next probe is made.
        retry_after: Duration,
    },
    /// SuperOffice's JWT does not verify.
    #[error("SuperOffice's token does not verify: {0}")]
    TokenInvalid(JwtRejection),
    /// SuperOffice's JWT is for another tenant, another system user token or another database.
    #[error("SuperOffice's token is not for this tenant: {0}")]
    TenantMismatch(JwtRejection),
    /// The cache is full of tickets that just came in: displacing one of them would mean an exchange per call.
    #[error("more tenants are in use than the cache holds: raise tickets.capacity")]
    CacheFull {
        /// When a place may be free.
        retry_after: Duration,
    },
    /// The store cannot be read.
    #[error("the tenants cannot be read: {cause}")]
    StoreUnavailable {
        /// Why.
        cause: String,
        /// When the next look is made.
        retry_after: Duration,
    },
    /// Another process has been getting the tenant's ticket for longer than it is waited for. Nothing is remembered of it.
    #[error("another replica is getting the tenant's ticket and does not finish")]
    HeldElsewhere {
        /// When to ask again.
        retry_after: Duration,
    },
    /// What is kept of the tenant, its file or its record, cannot be used until somebody mends it.
    #[error("what is kept of the tenant cannot be used: {0}")]
    TenantUnusable(String),
    /// As many loads as may be are under way. Nothing is remembered of it.
    #[error("too many requests to SuperOffice are under way")]
    Overloaded,
    /// A fault of ours.
    #[error("an internal fault: {0}")]
    Internal(String),
}

impl TicketError {
    /// A short name out of a fixed set, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotRegistered => "not_registered",
            // No load ends with it.
            Self::MinValidityTooLarge { .. } | Self::Internal(_) => "internal",
            Self::Authorization(code) => code.kind(),
            Self::Refused { .. } => "refused",
            Self::SigningKeyRejected => "signing_key_rejected",
            Self::ClockSkew { .. } => "clock_skew",
            Self::TenantNotRunning(_) => "tenant_not_running",
            Self::TenantMaintenance { .. } => "tenant_maintenance",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::TokenInvalid(_) => "token_invalid",
            Self::TenantMismatch(_) => "tenant_mismatch",
            Self::CacheFull { .. } => "cache_full",
            Self::StoreUnavailable { .. } => "store_unavailable",
            Self::HeldElsewhere { .. } => "held_elsewhere",
            Self::TenantUnusable(_) => "tenant_unusable",
            Self::Overloaded => "overloaded",
        }
    }
}

/// Why there is no access token.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessTokenError {
    /// SuperOffice does not take the refresh token (`invalid_grant`).
    #[error("SuperOffice does not take the refresh token: the user has to sign in again")]
    RefreshTokenRefused,
    /// The tenant's authorization of the application does not hold (codes 1, 3, 4 and 5).
    #[error("SuperOffice refused the tenant's authorization: {0}")]
    Authorization(AuthorizeErrorCode),
    /// No grant of the user is kept.
    #[error("no grant of the user is kept: the user has to sign in")]
    GrantNotKept,
    /// The user's grant does not hold any more. It is removed.
    #[error("the user's grant was withdrawn: the user has to sign in again")]
    GrantRevoked,
    /// The tenant of the user is not registered.
    #[error("the tenant is not registered: a user of it has to sign in")]
    TenantNotRegistered,
    /// SuperOffice does not take the client id and secret, or the request.
    #[error("SuperOffice does not take this application's request: {0}")]
    ClientRefused(String),
    /// SuperOffice asked us to wait.
    #[error("SuperOffice asked to wait")]
    Throttled {
        /// How long.
        retry_after: Duration,
    },
    /// SuperOffice cannot be reached or fails.
    #[error("SuperOffice cannot be used at the moment: {cause}")]
    Unavailable {
        /// What went wrong last, without secrets.
        cause: String,
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// SuperOffice has failed so often that it is not asked but for a probe now and then. Nothing is remembered of it.
    #[error("SuperOffice keeps failing: it is asked once in a while only")]
    CircuitOpen {
        /// When the next probe is made.
        retry_after: Duration,
    },
    /// The store cannot be read or written.
    #[error("the grants cannot be read or written: {cause}")]
    StoreUnavailable {
        /// Why.
        cause: String,
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// What is kept of the tenant or the grant cannot be used until somebody mends it, or the user signs in again.
    #[error("what is kept of the tenant or the user's grant cannot be used: {0}")]
    GrantUnusable(String),
    /// The access token is for another tenant.
    #[error("SuperOffice's access token is not for this tenant")]
    TenantMismatch,
    /// As many loads as may be are under way. Nothing is remembered of it.
    #[error("too many requests to SuperOffice are under way")]
    Overloaded,
    /// A fault of ours.
    #[error("an internal fault: {0}")]
    Internal(String),
}

/// What became of a caller's report that a ticket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidateOutcome {
    /// The ticket was current and is dropped.
    Invalidated,
    /// Another ticket is current, or none.
    NotCurrent,
    /// The ticket is too young to be replaced by report, or what is known of its tenant's address to be asked for anew.
    TooRecent,
    /// The ticket stays; its tenant's address is asked for anew.
    Relocated,
}

impl From<UpstreamTrouble> for TicketError {
    fn from(trouble: UpstreamTrouble) -> Self {
        match trouble {
            UpstreamTrouble::Throttled { retry_after } => Self::Throttled { retry_after },
            UpstreamTrouble::Unavailable { cause, retry_after } => Self::Unavailable { cause, retry_after },
            UpstreamTrouble::CircuitOpen { retry_after } => Self::CircuitOpen { retry_after },
        }
    }
}

impl From<UpstreamTrouble> for AccessTokenError {
    fn from(trouble: UpstreamTrouble) -> Self {
        match trouble {
            UpstreamTrouble::Throttled { retry_after } => Self::Throttled { retry_after },
            UpstreamTrouble::Unavailable { cause, retry_after } => Self::Unavailable { cause, retry_after },
            UpstreamTrouble::CircuitOpen { retry_after } => Self::CircuitOpen { retry_after },
        }
    }
}

/// What every kind of credential can suffer on the way to SuperOffice.
pub(super) enum UpstreamTrouble {
    Throttled { retry_after: Duration },
    Unavailable { cause: String, retry_after: Duration },
    CircuitOpen { retry_after: Duration },
}

impl From<UpstreamError> for UpstreamTrouble {
    fn from(error: UpstreamError) -> Self {
        let retry_after = error.retry_after().unwrap_or(UPSTREAM_PAUSE);
        match error {
            UpstreamError::Throttled { .. } => Self::Throttled { retry_after },
            UpstreamError::CircuitOpen { .. } => Self::CircuitOpen { retry_after },
            _ => Self::Unavailable { cause: error.to_string(), retry_after },
        }
    }
}

impl Memorable for TicketError {
    fn memory(&self) -> Memory {
        match self {
            Self::NotRegistered | Self::TenantUnusable(_) => Memory::For(NOT_REGISTERED),
            Self::MinValidityTooLarge { .. }
            | Self::Authorization(_)
            | Self::Refused { .. }
            | Self::SigningKeyRejected
            | Self::ClockSkew { .. }
            | Self::TenantNotRunning(_)
            | Self::TokenInvalid(_)
            | Self::TenantMismatch(_) => Memory::For(PERMANENT),
            Self::TenantMaintenance { retry_after } => Memory::For((*retry_after).min(PERMANENT)),
            Self::Throttled { retry_after } | Self::CacheFull { retry_after } => Memory::For(*retry_after),
            Self::Unavailable { retry_after, .. } if *retry_after > UPSTREAM_PAUSE => Memory::For(*retry_after),
            Self::Unavailable { .. } | Self::StoreUnavailable { .. } | Self::Overloaded | Self::Internal(_) => {
                Memory::Backoff
            }
            Self::CircuitOpen { .. } | Self::HeldElsewhere { .. } => Memory::Nothing,
        }
    }

    fn is_free(&self) -> bool {
        matches!(
            self,
            Self::NotRegistered | Self::CacheFull { .. } | Self::StoreUnavailable { .. } | Self::TenantUnusable(_)
        )
    }

    fn with_retry_after(self, after: Duration) -> Self {
        match self {
            Self::TenantMaintenance { .. } => Self::TenantMaintenance { retry_after: after },
            Self::Throttled { .. } => Self::Throttled { retry_after: after },
            Self::Unavailable { cause, .. } => Self::Unavailable { cause, retry_after: after },
            Self::CircuitOpen { .. } => Self::CircuitOpen { retry_after: after },
            Self::CacheFull { .. } => Self::CacheFull { retry_after: after },
            Self::ClockSkew { .. } => Self::ClockSkew { retry_after: after },
            Self::HeldElsewhere { .. } => Self::HeldElsewhere { retry_after: after },
            Self::StoreUnavailable { cause, .. } => Self::StoreUnavailable { cause, retry_after: after },
            other => other,
        }
    }
}

impl Memorable for AccessTokenError {
    fn memory(&self) -> Memory {
        match self {
            Self::RefreshTokenRefused
            | Self::GrantRevoked
            | Self::Authorization(_)
            | Self::ClientRefused(_)
            | Self::TenantMismatch => Memory::For(PERMANENT),
            // What may change at any moment, and is found out without SuperOffice.
            Self::GrantNotKept | Self::TenantNotRegistered | Self::GrantUnusable(_) => Memory::For(Duration::ZERO),
            Self::Throttled { retry_after } => Memory::For(*retry_after),
            Self::Unavailable { retry_after, .. } if *retry_after > UPSTREAM_PAUSE => Memory::For(*retry_after),
            Self::Unavailable { .. } | Self::StoreUnavailable { .. } | Self::Overloaded | Self::Internal(_) => {
                Memory::Backoff
            }
            Self::CircuitOpen { .. } => Memory::Nothing,
        }
    }

    fn is_free(&self) -> bool {
        matches!(
            self,
            Self::GrantNotKept | Self::TenantNotRegistered | Self::GrantUnusable(_) | Self::StoreUnavailable { .. }
        )
    }

    fn with_retry_after(self, after: Duration) -> Self {
        match self {
            Self::Throttled { .. } => Self::Throttled { retry_after: after },
            Self::Unavailable { cause, .. } => Self::Unavailable { cause, retry_after: after },
            Self::CircuitOpen { .. } => Self::CircuitOpen { retry_after: after },
            Self::StoreUnavailable { cause, .. } => Self::StoreUnavailable { cause, retry_after: after },
            other => other,
        }
    }
}

impl From<StoreError> for AccessTokenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TenantFile { .. } | StoreError::BadRecord { .. } | StoreError::BadGrant { .. } => {
                Self::GrantUnusable(error.to_string())
            }
            other => Self::StoreUnavailable { cause: other.to_string(), retry_after: STORE_PAUSE },
        }
    }
}
