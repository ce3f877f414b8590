use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

use super::Database;
use crate::identifiers::ContextIdentifier;
use crate::store::StoreError;
use crate::store::engine::ChangeLog;

/// How often changes of other processes are looked for. They are found within a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How many changes are kept for processes that look.
const CHANGES_KEPT: i64 = 100_000;

#[async_trait]
impl ChangeLog for Database {
    async fn revision(&self) -> Result<i64, StoreError> {
        self.read(async {
            let revision: Option<i64> =
                sqlx::query_scalar("SELECT max(revision) FROM tenant_changes").fetch_one(&self.readers).await?;
            Ok(revision.unwrap_or_default())
        })
        .await
    }

    async fn changes_after(
        &self,
        revision: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Option<ContextIdentifier>)>, StoreError> {
        self.read(async {
            sqlx::query("SELECT revision, tenant FROM tenant_changes WHERE revision > ?1 ORDER BY revision LIMIT ?2")
                .bind(revision)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?
                .into_iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get::<String, _>(1).ok().and_then(|key| key.parse().ok()))))
                .collect()
        })
        .await
    }

    /// A query that finds nothing new reads one page of the file.
    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    /// SQLite tells no other process.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// Notes a change of the tenant, within the transaction that makes it.
pub(super) async fn note(connection: &mut SqliteConnection, key: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO tenant_changes (tenant) VALUES (?1)")
        .bind(key)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM tenant_changes WHERE revision <= last_insert_rowid() - ?1")
        .bind(CHANGES_KEPT)
        .execute(connection)
        .await?;
    Ok(())
}
