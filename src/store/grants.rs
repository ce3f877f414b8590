use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::identifiers::{ContextIdentifier, RefreshToken};

/// What a user allowed the application to do in the user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The tenant that the user signed in to.
    pub context_identifier: ContextIdentifier,
    /// The user's name at SuperID, as it was spelled last. Case means nothing.
    pub user: String,
    /// What access tokens are had for.
    pub refresh_token: RefreshToken,
    /// The user's number in the tenant.
    pub associate_id: Option<String>,
    /// When the user first signed in.
    pub create_time: Timestamp,
    /// When the refresh token was last replaced.
    pub update_time: Timestamp,
}

/// Under which name a user's grant is found: case means nothing in it.
pub fn user_key(user: &str) -> String {
    user.to_lowercase()
}

/// The users' grants. They live as long as their tenant is registered.
#[async_trait]
pub trait Grants: fmt::Debug + Send + Sync {
    /// The user's grant as it is this moment.
    async fn find(&self, tenant: ContextIdentifier, user: &str) -> Result<Option<Grant>, StoreError>;

    /// Up to `limit` grants of the tenant whose users' keys come after `after`, ordered by them. Fewer than `limit` means
    /// that there are no others. One that cannot be used is left out and logged.
    async fn list(&self, tenant: ContextIdentifier, after: Option<&str>, limit: u32) -> Result<Vec<Grant>, StoreError>;

    /// Keeps a grant in place of the user's former one, whose `create_time` it keeps.
    async fn put(&self, grant: &Grant) -> Result<(), StoreError>;

    /// Replaces the refresh token, if it is still `expected`. False when it is another one, or none.
    async fn replace(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        expected: &RefreshToken,
        new: &RefreshToken,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Removes the grant, if its refresh token is still `expected`. False when it is another one, or none.
    async fn remove_refused(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        expected: &RefreshToken,
    ) -> Result<bool, StoreError>;

    /// Removes the grant, and lets every process on this store hear of a change of its tenant: what they have in memory
    /// for the user has to go. False when there is none.
    async fn delete(&self, tenant: ContextIdentifier, user: &str) -> Result<bool, StoreError>;
}
