use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use super::changes::ChangeFeed;
use crate::identifiers::ContextIdentifier;

/// How many notices are remembered at once. Their tokens are good for minutes, and only SuperOffice makes them.
pub const MAX_SEEN_NOTICES: u32 = 100_000;

/// Whether a notice came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It did not, and is remembered from now on.
    First,
    /// It did.
    Before,
    /// Nothing more can be remembered until some have expired.
    Full,
}

/// The notices that were taken.
#[async_trait]
pub trait SeenNotices: fmt::Debug + Send + Sync {
    /// Remembers the notice with this token until it expires, and forgets those that have by `now`. Of many who come
    /// with the same at once one is the first. With it, and only then, every process on the store hears that what it
    /// keeps about `changed` is out of date.
    async fn see(
        &self,
        token_id: [u8; 32],
        expire_time: Timestamp,
        changed: Option<ContextIdentifier>,
        now: Timestamp,
    ) -> Result<Seen, StoreError>;
}

/// The database's notices, whose changes are published at once in this process.
#[derive(Debug)]
pub(super) struct PublishedNotices {
    pub(super) records: Arc<dyn SeenNotices>,
    pub(super) feed: Arc<ChangeFeed>,
}

#[async_trait]
impl SeenNotices for PublishedNotices {
    async fn see(
        &self,
        token_id: [u8; 32],
        expire_time: Timestamp,
        changed: Option<ContextIdentifier>,
        now: Timestamp,
    ) -> Result<Seen, StoreError> {
        let seen = self.records.see(token_id, expire_time, changed, now).await?;
        if seen == Seen::First
            && changed.is_some()
            && let Err(error) = self.feed.publish().await
        {
            // It is in the database: the watch publishes it within a second.
            tracing::warn!(%error, "a change is published later than it should be");
        }
        Ok(seen)
    }
}
