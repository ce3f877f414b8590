use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tracing::{Instrument, error, error_span};

use super::error::UpstreamTrouble;
use super::flight::{Flights, NoOutcome};
use super::refusals::Refusals;
use super::{AccessTokenError, Settings};
use crate::clock::Clock;
use crate::crypto::KeyedHasher;
use crate::identifiers::{AccessToken, ContextIdentifier, RefreshToken};
use crate::random::Random;
use crate::superoffice::retry::{RetryBucket, with_retries};
use crate::superoffice::{OAuthError, SuperOffice};

/// How often one refresh is tried in its budget.
const ATTEMPTS: u32 = 3;
/// How many refreshes may be under way at once.
const MOST_LOADS: usize = 1_000;
/// An access token is handed out until so shortly before its expiry, or for the first half of a shorter life.
const EXPIRY_MARGIN: Duration = Duration::from_mins(1);
/// Longer lives than this are not believed: the token is refreshed after it.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// Names a refresh token of a tenant without revealing it.
type Key = [u8; 32];

/// OAuth access tokens for callers' own refresh tokens. Clones share them.
#[derive(Clone, Debug)]
pub struct AccessTokens(Arc<Inner>);

/// An access token.
#[derive(Clone, Debug)]
pub struct AccessTokenAnswer {
    /// The secret.
    pub access_token: AccessToken,
    /// When it expires, counted from the moment the request was sent.
    pub expire_time: Timestamp,
}

#[derive(Debug)]
struct Inner {
    superoffice: Arc<SuperOffice>,
    hasher: KeyedHasher,
    budget: Duration,
    retries: RetryBucket,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    cache: Cache<Key, Arc<Kept>>,
    flights: Flights<Key, Result<AccessTokenAnswer, AccessTokenError>>,
    refusals: Refusals<Key, AccessTokenError>,
}

#[derive(Debug)]
struct Kept {
    answer: AccessTokenAnswer,
    fresh_until: Timestamp,
    /// The same by monotonic time: a wall clock that is set back makes no token live longer.
    end: Duration,
}

impl AccessTokens {
    /// An empty cache. `hasher` keeps the refresh tokens themselves out of memory.
    pub fn new(
        settings: &Settings,
        superoffice: Arc<SuperOffice>,
        hasher: KeyedHasher,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let cache = Cache::builder()
            .max_capacity(settings.capacity)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(LONGEST_LIFE)
            .build();
        Self(Arc::new(Inner {
            superoffice,
            hasher,
            budget: settings.exchange_budget,
            retries: RetryBucket::default(),
            clock,
            random: Arc::clone(&random),
            cache,
            flights: Flights::new(MOST_LOADS),
            refusals: Refusals::new(settings.capacity, random),
        }))
    }

    /// An access token of `tenant` for `refresh_token`: from memory until near its expiry, else by one request that all
    /// callers with the same refresh token share.
    pub async fn refresh(
        &self,
        tenant: ContextIdentifier,
        refresh_token: RefreshToken,
    ) -> Result<AccessTokenAnswer, AccessTokenError> {
        let inner = &self.0;
        let key = inner.hasher.hash(tenant, &refresh_token);
        if let Some(outcome) = inner.remembered(key) {
            return outcome;
        }
        let load = |_| {
            let inner = Arc::clone(inner);
            async move { inner.load(key, tenant, &refresh_token).await }.instrument(error_span!("refresh", %tenant))
        };
        let flight = inner.flights.join(key, || inner.remembered(key), load);
        flight.await.unwrap_or_else(|none| {
            Err(match none {
                NoOutcome::Crashed => AccessTokenError::Internal("the refresh ended without an outcome".into()),
                NoOutcome::TooMany => AccessTokenError::Overloaded,
            })
        })
    }
}

impl Inner {
    fn remembered(&self, key: Key) -> Option<Result<AccessTokenAnswer, AccessTokenError>> {
        let now = self.clock.moment();
        match self.cache.get(&key).filter(|kept| now.wall < kept.fresh_until && now.elapsed < kept.end) {
            Some(kept) => Some(Ok(kept.answer.clone())),
            None => self.refusals.in_force(key, now.elapsed).map(Err),
        }
    }

    async fn load(
        &self,
        key: Key,
        tenant: ContextIdentifier,
        refresh_token: &RefreshToken,
    ) -> Result<AccessTokenAnswer, AccessTokenError> {
        let exchange = AssertUnwindSafe(self.exchange(tenant, refresh_token)).catch_unwind().await;
        match exchange.unwrap_or_else(|_| Err(AccessTokenError::Internal("the refresh panicked".into()))) {
            Ok(kept) => {
                let answer = kept.answer.clone();
                self.refusals.forget(key);
                self.cache.insert(key, Arc::new(kept));
                Ok(answer)
            }
            Err(error) => Err(self.refusals.remember(key, error, self.clock.elapsed())),
        }
    }

    async fn exchange(
        &self,
        tenant: ContextIdentifier,
        refresh_token: &RefreshToken,
    ) -> Result<Kept, AccessTokenError> {
        let attempt = || async {
            let sent = self.clock.moment();
            self.superoffice.refresh_access_token(refresh_token).await.map(|fresh| (sent, fresh))
        };
        let (sent, fresh) =
            with_retries(&*self.clock, &*self.random, self.budget, ATTEMPTS, &self.retries, attempt).await?;
        if tenant_of(&fresh.access_token) != Some(tenant) {
            error!(%tenant, security = true, "SuperOffice's access token is not for the tenant asked for");
            return Err(AccessTokenError::TenantMismatch);
        }
        let life = fresh.expires_in.min(LONGEST_LIFE);
        let after = |duration| sent.wall.saturating_add(duration).unwrap_or(Timestamp::MAX);
        let kept_for = life.saturating_sub(EXPIRY_MARGIN.min(life / 2));
        Ok(Kept {
            fresh_until: after(kept_for),
            end: sent.elapsed.saturating_add(kept_for),
            answer: AccessTokenAnswer { access_token: fresh.access_token, expire_time: after(life) },
        })
    }
}

/// The tenant in `8A:<ContextIdentifier>.<base64>`.
fn tenant_of(access_token: &AccessToken) -> Option<ContextIdentifier> {
    let (_, rest) = access_token.expose().split_once(':')?;
    let (tenant, _) = rest.split_once('.')?;
    tenant.parse().ok()
}

impl From<OAuthError> for AccessTokenError {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::InvalidGrant => Self::RefreshTokenRefused,
            OAuthError::Refused(message) => Self::ClientRefused(message),
            OAuthError::Upstream(error) => UpstreamTrouble::from(error).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_is_read_from_between_colon_and_dot() {
        let tenant = |token: &str| tenant_of(&AccessToken::new(token));
        assert_eq!(tenant("8A:Cust12345.AbC+/="), "cust12345".parse().ok());
        for strange in ["", "8A:", "8A:Cust12345", "Cust12345.x", "8A:.x", "8A:Cust 1.x", "8A:Cust1/..x"] {
            assert_eq!(tenant(strange), None, "{strange}");
        }
    }
}
