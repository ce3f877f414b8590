use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::cluster::Cluster;
use super::cluster_keys::{ClusterKeys, Source};
use super::token_review::TokenReviews;
use super::{Bearer, BearerError, KeySource, Settings, SetupError};
use crate::clock::Clock;
use crate::crypto::{
    KeyedHasher, ServiceAccountClaims, ServiceAccountProfile, service_account_token_header,
    verify_service_account_token,
};
use crate::identifiers::UnverifiedJwt;
use crate::random::Random;

/// How far the cluster's clock may be from ours.
const LEEWAY: Duration = Duration::from_secs(30);
/// A verified token is believed for so long before it is looked at again, and never beyond its expiry.
const BELIEVED_FOR: Duration = Duration::from_mins(1);
const MAX_BELIEVED: u64 = 10_000;

/// Tells whose a bearer token is. Clones share what they know.
#[derive(Clone)]
pub struct ServiceAccounts(Arc<Inner>);

struct Inner {
    issuer: String,
    audience: String,
    keys: ClusterKeys,
    reviews: Option<TokenReviews>,
    hasher: KeyedHasher,
    clock: Arc<dyn Clock>,
    /// By the token's keyed hash.
    believed: Cache<[u8; 32], Believed>,
}

#[derive(Clone)]
struct Believed {
    bearer: Bearer,
    /// By the monotonic clock.
    until: Duration,
    /// By the wall clock, as the token says.
    expires: Timestamp,
}

impl ServiceAccounts {
    /// Connects nowhere yet.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, SetupError> {
        let Settings { issuer, audience, keys, token_review } = settings;
        let (source, reviews) = match keys {
            KeySource::File(file) => (Source::File(file), None),
            KeySource::Url { url, ca_file, token_file } => {
                let cluster = Arc::new(Cluster::new(url, ca_file, token_file, Arc::clone(&clock))?);
                let reviews =
                    token_review.then(|| TokenReviews::new(Arc::clone(&cluster), audience.clone(), Arc::clone(&clock)));
                (Source::Url(cluster), reviews)
            }
        };
        let believed = Cache::builder()
            .max_capacity(MAX_BELIEVED)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(BELIEVED_FOR * 2)
            .build();
        Ok(Self(Arc::new(Inner {
            issuer,
            audience,
            keys: ClusterKeys::new(source, Arc::clone(&clock), random),
            reviews,
            hasher: KeyedHasher::random()?,
            clock,
            believed,
        })))
    }

    /// Keeps the cluster's keys fresh. Never ends.
    pub async fn run(self) {
        self.0.keys.clone().keep_fresh().await;
    }

    /// Whose the token is, if it was verified less than a minute ago: a hash and a look into a map.
    pub fn known(&self, token: &str) -> Option<Bearer> {
        let believed = self.0.believed.get(&self.0.hasher.hash_bearer(token))?;
        let now = self.0.clock.moment();
        (now.elapsed < believed.until && now.wall < believed.expires).then_some(believed.bearer)
    }

    /// Verifies the token by the cluster's keys, and asks the cluster too if it is to be asked.
    pub async fn identify(&self, token: UnverifiedJwt) -> Result<Bearer, BearerError> {
        let header = service_account_token_header(&token)?;
        let keys = self.0.keys.with(&header).await?;
        let profile = ServiceAccountProfile { issuer: &self.0.issuer, audience: &self.0.audience, leeway: LEEWAY };
        let began = self.0.clock.moment();
        let claims = verify_service_account_token(&token, &keys, &profile, began.wall)?;
        let ServiceAccountClaims { account, pod_uid, expires } = claims;
        let hash = self.0.hasher.hash_bearer(token.expose());
        if let Some(reviews) = &self.0.reviews {
            reviews.check(hash, token, &account).await?;
        }
        let bearer = Bearer { account, pod_uid };
        let until = began.elapsed + BELIEVED_FOR;
        self.0.believed.insert(hash, Believed { bearer: bearer.clone(), until, expires });
        Ok(bearer)
    }
}

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ServiceAccounts").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}
