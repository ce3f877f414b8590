use async_trait::async_trait;
use jiff::Timestamp;

use super::{Database, changes};
use crate::identifiers::ContextIdentifier;
use crate::store::{MAX_SEEN_NOTICES, Seen, SeenNotices, StoreError};

const ADD: &str = "INSERT INTO seen_notices (token_id, expire_time) \
     SELECT ?1, ?2 WHERE (SELECT count(*) FROM seen_notices) < ?3 ON CONFLICT DO NOTHING";

#[async_trait]
impl SeenNotices for Database {
    /// That the notice is remembered and that the tenant changed are one fact.
    async fn see(
        &self,
        token_id: [u8; 32],
        expire_time: Timestamp,
        changed: Option<ContextIdentifier>,
        now: Timestamp,
    ) -> Result<Seen, StoreError> {
        self.write(async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("DELETE FROM seen_notices WHERE expire_time <= ?1")
                .bind(now.as_millisecond())
                .execute(&mut *transaction)
                .await?;
            let known: Option<i64> = sqlx::query_scalar("SELECT 1 FROM seen_notices WHERE token_id = ?1")
                .bind(token_id.as_slice())
                .fetch_optional(&mut *transaction)
                .await?;
            if known.is_some() {
                return Ok(Seen::Before);
            }
            let added = sqlx::query(ADD)
                .bind(token_id.as_slice())
                .bind(expire_time.as_millisecond())
                .bind(MAX_SEEN_NOTICES)
                .execute(&mut *transaction)
                .await?;
            if added.rows_affected() == 0 {
                return Ok(Seen::Full);
            }
            if let Some(changed) = changed {
                changes::note(&mut transaction, &changed.key()).await?;
            }
            transaction.commit().await?;
            Ok(Seen::First)
        })
        .await
    }
}
