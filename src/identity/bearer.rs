use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::crypto::JwtRejection;
use crate::identifiers::ServiceAccount;

/// Whom a verified token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The account.
    pub account: ServiceAccount,
    /// The pod that the token was made for, unless it was made for none.
    pub pod_uid: Option<Arc<str>>,
}

/// Why a bearer token proves nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BearerError {
    /// It is not one of ours.
    #[error(transparent)]
    Rejected(#[from] JwtRejection),
    /// The cluster does not vouch for it: its account, its pod or what else it was bound to is gone.
    #[error("the cluster does not take the token any more")]
    Withdrawn,
    /// It cannot be said, since the cluster's keys or its word cannot be had.
    #[error("the cluster cannot be asked about the token: {cause}")]
    Unavailable {
        /// What failed.
        cause: Arc<str>,
        /// When to ask again.
        retry_after: Duration,
    },
    /// As many tokens are asked about as may be at once, and it was not its turn in time.
    #[error("the cluster is asked about too many tokens at once")]
    Overloaded,
}
