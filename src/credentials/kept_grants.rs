use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{error, info, warn};

use super::AccessTokenError;
use crate::clock::Clock;
use crate::identifiers::{ContextIdentifier, RefreshToken};
use crate::store::{Grant, Grants, StoreError, user_key};
use crate::superoffice::{OAuthError, SuperOffice};

/// Between tries to store a refresh token: from the first to the last.
const SAVE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The grants that users gave by signing in. Clones share them.
///
/// When SuperOffice replaces a refresh token, the new one is stored before anything else is done with the answer. When
/// that fails, what it came with is handed out all the same, since withholding it would save nothing: the new token stays
/// in memory, is used from there, and is stored as soon as the store takes it. Only a process that ends before that
/// loses it, and then the user has to sign in again.
#[derive(Clone, Debug)]
pub struct KeptGrants(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    grants: Arc<dyn Grants>,
    clock: Arc<dyn Clock>,
    unsaved: Mutex<HashMap<Key, Unsaved>>,
    /// What is under way that may bring a refresh token.
    under_way: TaskTracker,
}

type Key = (ContextIdentifier, String);

/// A refresh token that the store did not take.
#[derive(Clone, Debug)]
struct Unsaved {
    /// What the store held then, and what was sent: an earlier one that the store did not take at first. When it holds
    /// neither, what it holds is newer.
    replaced: [RefreshToken; 2],
    new: RefreshToken,
}

/// A grant as it can be used.
#[derive(Debug)]
pub(super) struct UsableGrant {
    tenant: ContextIdentifier,
    pub(super) user: String,
    /// What the store holds.
    stored: RefreshToken,
    /// What SuperOffice takes.
    pub(super) refresh_token: RefreshToken,
}

impl KeptGrants {
    /// Keeps grants there.
    pub fn new(grants: Arc<dyn Grants>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { grants, clock, unsaved: Mutex::default(), under_way: TaskTracker::new() }))
    }

    /// Ends when nothing is under way any more that may bring a refresh token: whoever closes the store before loses it.
    pub async fn settled(&self) {
        self.0.under_way.close();
        self.0.under_way.wait().await;
    }

    /// Ends the user's grant: at SuperOffice, then here. While SuperOffice cannot be reached it stays: it would go on
    /// being good for whoever has it.
    pub async fn revoke(
        &self,
        superoffice: &SuperOffice,
        tenant: ContextIdentifier,
        user: &str,
    ) -> Result<(), AccessTokenError> {
        let grant = self.find(tenant, user).await?.ok_or(AccessTokenError::GrantNotKept)?;
        match superoffice.revoke(&grant.refresh_token).await {
            // What SuperOffice does not know has ended already.
            Ok(()) | Err(OAuthError::InvalidGrant) => {}
            Err(error) => return Err(error.into()),
        }
        self.0.grants.delete(tenant, user).await?;
        self.0.unsaved().remove(&key(tenant, user));
        info!(%tenant, user, "the user's grant is revoked");
        Ok(())
    }

    /// Held by what may bring a refresh token.
    pub(super) fn under_way(&self) -> TaskTrackerToken {
        self.0.under_way.token()
    }

    /// Keeps what a sign-in brought, in place of what was kept for the user.
    pub(super) async fn put(&self, grant: &Grant) -> Result<(), StoreError> {
        self.0.grants.put(grant).await?;
        self.0.unsaved().remove(&key(grant.context_identifier, &grant.user));
        Ok(())
    }

    /// The user's grant, with the newest refresh token that is known.
    pub(super) async fn find(&self, tenant: ContextIdentifier, user: &str) -> Result<Option<UsableGrant>, StoreError> {
        let key = key(tenant, user);
        let before = self.0.unsaved().get(&key).map(|unsaved| unsaved.new.clone());
        let kept = self.0.grants.find(tenant, user).await?;
        let mut unsaved = self.0.unsaved();
        let newer = kept.as_ref().and_then(|kept| {
            let unsaved = unsaved.get(&key).filter(|unsaved| unsaved.replaced.contains(&kept.refresh_token))?;
            Some(unsaved.new.clone())
        });
        // One that has come since the store was asked may replace what the store has taken since.
        if newer.is_none() && unsaved.get(&key).map(|unsaved| &unsaved.new) == before.as_ref() {
            unsaved.remove(&key);
        }
        Ok(kept.map(|Grant { user, refresh_token: stored, .. }| UsableGrant {
            tenant,
            user,
            refresh_token: newer.unwrap_or_else(|| stored.clone()),
            stored,
        }))
    }

    /// Keeps the refresh token that SuperOffice put in the grant's place.
    pub(super) async fn rotate(&self, grant: &UsableGrant, new: RefreshToken) {
        let key = key(grant.tenant, &grant.user);
        // Before the first try, so that a new token is never in the hands of one future only.
        let replaced = grant.may_be_stored();
        self.0.unsaved().insert(key.clone(), Unsaved { replaced, new });
        if let Err(error) = self.0.save(&key).await {
            error!(tenant = %key.0, %error, "a new refresh token cannot be stored: it is kept in memory until it can be");
            self.0.under_way.spawn(Arc::clone(&self.0).save_later(key));
        }
    }

    /// Forgets a grant that SuperOffice refuses. False when another one has taken its place.
    pub(super) async fn remove_refused(&self, grant: &UsableGrant) -> Result<bool, StoreError> {
        for expected in grant.may_be_stored() {
            if self.0.grants.remove_refused(grant.tenant, &grant.user, &expected).await? {
                self.0.unsaved().remove(&key(grant.tenant, &grant.user));
                warn!(tenant = %grant.tenant, user = grant.user, "SuperOffice refuses the user's grant: it is removed");
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl UsableGrant {
    /// What the store held, and what it may hold by now.
    fn may_be_stored(&self) -> [RefreshToken; 2] {
        [self.stored.clone(), self.refresh_token.clone()]
    }
}

impl Inner {
    /// Stores what is unsaved under `key`, if anything is.
    async fn save(&self, key: &Key) -> Result<(), StoreError> {
        let Some(Unsaved { replaced, new }) = self.unsaved().get(key).cloned() else { return Ok(()) };
        let (tenant, user) = key;
        let mut saved = false;
        for expected in replaced {
            saved = saved || self.grants.replace(*tenant, user, &expected, &new, self.clock.now()).await?;
        }
        if !saved {
            info!(%tenant, user, "the user's grant was replaced or removed; a new refresh token of the old one is dropped");
        }
        let mut unsaved = self.unsaved();
        // A newer one may have come meanwhile.
        if unsaved.get(key).is_some_and(|unsaved| unsaved.new == new) {
            unsaved.remove(key);
        }
        Ok(())
    }

    async fn save_later(self: Arc<Self>, key: Key) {
        let (mut pause, longest) = SAVE_PAUSES;
        loop {
            self.clock.sleep(pause).await;
            match self.save(&key).await {
                Ok(()) => return info!(tenant = %key.0, "the new refresh token is stored after all"),
                // The process ends.
                Err(StoreError::Closed) => return,
                Err(_) => pause = pause.saturating_mul(2).min(longest),
            }
        }
    }

    /// The map is whole after every single operation.
    fn unsaved(&self) -> MutexGuard<'_, HashMap<Key, Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(tenant: ContextIdentifier, user: &str) -> Key {
    (tenant, user_key(user))
}

#[cfg(test)]
mod tests;
