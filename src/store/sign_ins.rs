use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::crypto::SecretHash;
use crate::identifiers::{CodeVerifier, ContextIdentifier, Nonce};

/// How many sign-ins may wait for their users at once. Whoever may begin one could else fill the disk.
pub const MAX_PENDING_SIGN_INS: u32 = 10_000;

/// A sign-in that waits for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSignIn {
    /// Where SuperOffice sends the browser afterwards.
    pub redirect_uri: String,
    /// Comes back in the ID token.
    pub nonce: Nonce,
    /// Redeems the code.
    pub code_verifier: CodeVerifier,
    /// The only tenant that may be signed in to.
    pub tenant: Option<ContextIdentifier>,
    /// The only user that may sign in.
    pub login_hint: Option<String>,
    /// The hash of what only its owner has, a browser or a caller: nobody else may end the sign-in.
    pub owner: SecretHash,
    /// From then on it is gone.
    pub expire_time: Timestamp,
}

/// What was found under a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenSignIn {
    /// The sign-in, which nobody else gets any more.
    Taken(Box<PendingSignIn>),
    /// A sign-in of another owner, which goes on waiting for that one.
    OtherOwner,
    /// Nothing: it never began, has expired, or was taken.
    Nothing,
}

/// The sign-ins that wait for their users.
#[async_trait]
pub trait PendingSignIns: fmt::Debug + Send + Sync {
    /// Keeps a sign-in under the hash of its state, and forgets those that have expired by `now`. More than
    /// [`MAX_PENDING_SIGN_INS`] are [`StoreError::TooManyPending`].
    async fn add(&self, state: SecretHash, sign_in: &PendingSignIn, now: Timestamp) -> Result<(), StoreError>;

    /// Takes the sign-in out, for its owner. Of many who ask at once one gets it.
    async fn take(&self, state: SecretHash, owner: SecretHash, now: Timestamp) -> Result<TakenSignIn, StoreError>;
}
