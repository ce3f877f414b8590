mod refresh;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, error_span, warn};

use super::flight::{Flights, NoOutcome};
use super::refusals::Refusals;
use super::{AccessTokenError, KeptGrants, Registrar, Settings};
use crate::clock::{Clock, Moment};
use crate::crypto::KeyedHasher;
use crate::identifiers::{AccessToken, ContextIdentifier, RefreshToken};
use crate::random::Random;
use crate::store::{Grant, StoreError, user_key};
use crate::superoffice::SuperOffice;
use crate::superoffice::retry::RetryBucket;

pub(super) use refresh::tenant_of;

/// How many refreshes may be under way at once.
const MOST_LOADS: usize = 1_000;
/// An access token is handed out until so shortly before its expiry, or for the first half of a shorter life.
const EXPIRY_MARGIN: Duration = Duration::from_mins(1);
/// Longer lives than this are not believed: the token is refreshed after it.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// An access token younger than this is not replaced on a caller's report.
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// How often a revocation lets a refresh of the same grant go first.
const TURNS: u32 = 100;

/// OAuth access tokens, for callers' own refresh tokens and for the grants that users gave by signing in. Clones share
/// them.
#[derive(Clone, Debug)]
pub struct AccessTokens(Arc<Inner>);

/// An access token.
#[derive(Clone, Debug)]
pub struct AccessTokenAnswer {
    /// The secret.
    pub access_token: AccessToken,
    /// When it expires, counted from the moment the request was sent.
    pub expire_time: Timestamp,
    /// Whether it was in memory.
    pub from_memory: bool,
    /// What took the place of the caller's own refresh token. Never a kept grant's.
    pub refresh_token: Option<RefreshToken>,
}

#[derive(Debug)]
struct Inner {
    superoffice: Arc<SuperOffice>,
    registrar: Registrar,
    kept_grants: KeptGrants,
    hasher: KeyedHasher,
    budget: Duration,
    retries: RetryBucket,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    cache: Cache<Key, Arc<Kept>>,
    flights: Flights<Key, Outcome>,
    refusals: Refusals<Key, AccessTokenError>,
    /// How often kept grants changed from outside. What was loaded before such a change is not kept after it.
    changes: Mutex<u64>,
    /// Held while a grant and its access token become known, and while one is looked for to drop the other.
    keeping: tokio::sync::Mutex<()>,
}

type Outcome = Result<AccessTokenAnswer, AccessTokenError>;

/// Whose access token it is. Neither a refresh token nor a user is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: ContextIdentifier,
    hash: [u8; 32],
}

#[derive(Debug)]
struct Kept {
    answer: AccessTokenAnswer,
    /// Whose grant it was had by. None for a caller's own refresh token.
    user: Option<String>,
    fresh_until: Timestamp,
    /// The same by monotonic time: a wall clock that is set back makes no token live longer.
    end: Duration,
    /// When the request was sent, by monotonic time.
    sent: Duration,
}

impl AccessTokens {
    /// An empty cache. `hasher` keeps the refresh tokens themselves out of its keys.
    pub fn new(
        settings: &Settings,
        superoffice: Arc<SuperOffice>,
        registrar: Registrar,
        kept_grants: KeptGrants,
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
            registrar,
            kept_grants,
            hasher,
            budget: settings.exchange_budget,
            retries: RetryBucket::default(),
            clock,
            random: Arc::clone(&random),
            cache,
            flights: Flights::new(MOST_LOADS),
            refusals: Refusals::new(settings.capacity, random),
            changes: Mutex::default(),
            keeping: tokio::sync::Mutex::default(),
        }))
    }

    /// An access token of `tenant` for the caller's own `refresh_token`: from memory until near its expiry, else by one
    /// request that all callers with the same refresh token share.
    pub async fn refresh(&self, tenant: ContextIdentifier, refresh_token: RefreshToken) -> Outcome {
        let key = Key { tenant, hash: self.0.hasher.hash(tenant, &refresh_token) };
        let load = |inner: Arc<Inner>| async move { inner.by_refresh_token(tenant, &refresh_token).await };
        self.0.answer(key, load).await
    }

    /// An access token of `tenant` by the grant that is kept of `user`: from memory until near its expiry, else by one
    /// request that all callers share.
    pub async fn of_user(&self, tenant: ContextIdentifier, user: &str) -> Outcome {
        let key = self.0.key_of_user(tenant, user);
        let user = user.to_owned();
        let load = |inner: Arc<Inner>| async move { inner.by_kept_grant(tenant, &user).await };
        self.0.answer(key, load).await
    }

    /// Takes the report that the tenant's API refused an access token that `refresh_token` brought.
    pub fn note_refused(&self, tenant: ContextIdentifier, refresh_token: &RefreshToken, refused: &AccessToken) {
        self.0.drop_refused(Key { tenant, hash: self.0.hasher.hash(tenant, refresh_token) }, refused);
    }

    /// Takes the report that the tenant's API refused an access token of `user`.
    pub fn note_refused_of_user(&self, tenant: ContextIdentifier, user: &str, refused: &AccessToken) {
        self.0.drop_refused(self.0.key_of_user(tenant, user), refused);
    }

    /// Ends the grant that is kept of `user`, at SuperOffice and here, and drops its access token.
    pub async fn revoke(&self, tenant: ContextIdentifier, user: &str) -> Result<(), AccessTokenError> {
        let inner = &self.0;
        let key = inner.key_of_user(tenant, user);
        for _ in 0..TURNS {
            let mut ours = false;
            // It flies as a refresh does, so that no refresh puts another token in place of the one that is revoked.
            let load = |_| {
                ours = true;
                let (inner, user) = (Arc::clone(inner), user.to_owned());
                async move { inner.revoked(key, &user).await }.instrument(error_span!("revoke", %tenant))
            };
            let outcome = inner.flights.join(key, || None, load).await.unwrap_or_else(no_outcome);
            if ours || matches!(outcome, Err(AccessTokenError::Overloaded)) {
                return match outcome {
                    Err(AccessTokenError::GrantRevoked) => Ok(()),
                    outcome => outcome.map(drop),
                };
            }
        }
        Err(AccessTokenError::Overloaded)
    }

    /// Held by what goes on when its caller is gone, such as a sign-in, which may bring a grant: a server that stops waits
    /// for it before the store is closed.
    pub fn under_way(&self) -> TaskTrackerToken {
        self.0.kept_grants.under_way()
    }

    /// Keeps what a sign-in brought: the grant for later, when there is one, and the access token for now. Answers whether
    /// the grant is kept.
    pub(super) async fn keep(&self, grant: Option<&Grant>, fresh: FreshAccessToken<'_>) -> bool {
        let FreshAccessToken { tenant, user, sent, access_token, expires_in } = fresh;
        let inner = &self.0;
        let Some(grant) = grant else { return false };
        let key = inner.key_of_user(tenant, user);
        let mut kept = Kept::new(sent, access_token.clone(), expires_in);
        kept.user = Some(user.to_owned());
        let _no_recheck_between = inner.keeping.lock().await;
        // Before the grant can be found: nobody has to refresh what has just come.
        inner.cache.insert(key, Arc::new(kept));
        if let Err(error) = inner.kept_grants.put(grant).await {
            warn!(%tenant, %error, "the user's grant cannot be stored: access tokens need another sign-in");
            inner.cache.invalidate(&key);
            return false;
        }
        inner.refusals.forget(key);
        true
    }

    /// Drops the access tokens of users of `tenant` whose grants are gone, as something about it was changed elsewhere.
    pub async fn recheck(&self, tenant: ContextIdentifier) {
        let inner = &self.0;
        *inner.changes() += 1;
        let of_tenant = inner.cache.iter().filter(|(key, _)| key.tenant == tenant);
        let of_tenant: Vec<_> = of_tenant.filter_map(|(key, kept)| Some((*key, kept.user.clone()?))).collect();
        for (key, user) in of_tenant {
            let _nothing_is_kept_meanwhile = inner.keeping.lock().await;
            if !inner.is_granted(tenant, &user).await.unwrap_or(false) {
                inner.cache.invalidate(&key);
            }
        }
    }

    /// Drops the access tokens of all users: some changed elsewhere, and it is not known which.
    pub fn forget_all(&self) {
        let mut changes = self.0.changes();
        *changes += 1;
        self.0.cache.invalidate_all();
    }
}

/// An access token that has just come.
pub(super) struct FreshAccessToken<'a> {
    pub(super) tenant: ContextIdentifier,
    pub(super) user: &'a str,
    /// When it was asked for.
    pub(super) sent: Moment,
    pub(super) access_token: &'a AccessToken,
    pub(super) expires_in: Duration,
}

impl Inner {
    fn key_of_user(&self, tenant: ContextIdentifier, user: &str) -> Key {
        Key { tenant, hash: self.hasher.hash_user(tenant, &user_key(user)) }
    }

    async fn is_granted(&self, tenant: ContextIdentifier, user: &str) -> Result<bool, StoreError> {
        Ok(self.registrar.knows(tenant).await? && self.kept_grants.find(tenant, user).await?.is_some())
    }

    /// The outcome in memory, or that of the key's one flight.
    async fn answer<F>(self: &Arc<Self>, key: Key, load: impl FnOnce(Arc<Self>) -> F) -> Outcome
    where
        F: Future<Output = Result<Kept, AccessTokenError>> + Send + 'static,
    {
        if let Some(outcome) = self.remembered(key) {
            return outcome;
        }
        let tenant = key.tenant;
        let load = |_| {
            let inner = Arc::clone(self);
            let load = load(Arc::clone(self));
            let under_way = self.kept_grants.under_way();
            let landing = async move {
                let _until_it_has_landed = under_way;
                inner.land(key, load).await
            };
            landing.instrument(error_span!("refresh", %tenant))
        };
        self.flights.join(key, || self.remembered(key), load).await.unwrap_or_else(no_outcome)
    }

    fn remembered(&self, key: Key) -> Option<Outcome> {
        let now = self.clock.moment();
        match self.cache.get(&key).filter(|kept| now.wall < kept.fresh_until && now.elapsed < kept.end) {
            Some(kept) => Some(Ok(AccessTokenAnswer { from_memory: true, ..kept.answer.clone() })),
            None => self.refusals.in_force(key, now.elapsed).map(Err),
        }
    }

    fn drop_refused(&self, key: Key, refused: &AccessToken) {
        let now = self.clock.elapsed();
        let is_meant = |kept: &Arc<Kept>| {
            kept.answer.access_token == *refused && now >= kept.sent.saturating_add(FORCED_REFRESH_INTERVAL)
        };
        if self.cache.get(&key).as_ref().is_some_and(is_meant) {
            self.cache.invalidate(&key);
        }
    }

    async fn land(&self, key: Key, load: impl Future<Output = Result<Kept, AccessTokenError>>) -> Outcome {
        let begun = *self.changes();
        let load = AssertUnwindSafe(load).catch_unwind().await;
        match load.unwrap_or_else(|_| Err(AccessTokenError::Internal("the refresh panicked".into()))) {
            Ok(kept) => {
                let answer = kept.answer.clone();
                self.refusals.forget(key);
                let changes = self.changes();
                if kept.user.is_none() || *changes == begun {
                    self.cache.insert(key, Arc::new(kept));
                }
                Ok(answer)
            }
            Err(error) => Err(self.refusals.remember(key, error, self.clock.elapsed())),
        }
    }

    /// Revokes, and answers that to whoever waits for an access token.
    async fn revoked(&self, key: Key, user: &str) -> Outcome {
        self.kept_grants.revoke(&self.superoffice, key.tenant, user).await?;
        *self.changes() += 1;
        self.cache.invalidate(&key);
        self.refusals.forget(key);
        Err(AccessTokenError::GrantRevoked)
    }

    fn changes(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Lives are counted from the moment the request was `sent`.
    fn new(sent: Moment, access_token: AccessToken, expires_in: Duration) -> Self {
        let life = expires_in.min(LONGEST_LIFE);
        let after = |duration| sent.wall.saturating_add(duration).unwrap_or(Timestamp::MAX);
        let kept_for = life.saturating_sub(EXPIRY_MARGIN.min(life / 2));
        Self {
            fresh_until: after(kept_for),
            end: sent.elapsed.saturating_add(kept_for),
            sent: sent.elapsed,
            user: None,
            answer: AccessTokenAnswer {
                access_token,
                expire_time: after(life),
                from_memory: false,
                refresh_token: None,
            },
        }
    }
}

fn no_outcome(none: NoOutcome) -> Outcome {
    Err(match none {
        NoOutcome::Crashed => AccessTokenError::Internal("the refresh ended without an outcome".into()),
        NoOutcome::TooMany => AccessTokenError::Overloaded,
    })
}
