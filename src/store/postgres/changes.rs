use std::time::Duration;

use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::failure::Failure;
use super::transaction::{self, Transaction};
use super::{Database, query, shared_tickets};
use crate::identifiers::ContextIdentifier;
use crate::store::StoreError;
use crate::store::engine::ChangeLog;

/// On which channel whoever listens hears that there is a change.
pub(super) const CHANNEL: &str = "ticketd_changes";
/// How often changes are looked for by who hears of none. They reach every process within ten seconds.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How many changes are kept for processes that look.
const CHANGES_KEPT: i64 = 100_000;

#[async_trait]
impl ChangeLog for Database {
    async fn revision(&self) -> Result<i64, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let row = query("SELECT revision FROM tenant_revision").fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(row.try_get(0)?)
        })
        .await
    }

    async fn changes_after(
        &self,
        revision: i64,
        limit: u32,
    ) -> Result<Vec<(i64, Option<ContextIdentifier>)>, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let rows =
                query("SELECT revision, tenant FROM tenant_changes WHERE revision > $1 ORDER BY revision LIMIT $2")
                    .bind(revision)
                    .bind(i64::from(limit))
                    .fetch_all(&mut *transaction)
                    .await?;
            transaction.commit().await?;
            rows.into_iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get::<String, _>(1).ok().and_then(|key| key.parse().ok()))))
                .collect()
        })
        .await
    }

    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Database {
    /// A transaction that may change tenants' tickets. One at a time: each sees what those before it did, and their numbers
    /// are in the order of their commits. The lock comes first, so that two never wait for each other.
    pub(super) async fn changing(&self) -> Result<Transaction, Failure> {
        let mut transaction = Transaction::begin(&self.pool, transaction::WRITE).await?;
        query("SELECT revision FROM tenant_revision FOR UPDATE").execute(&mut *transaction).await?;
        Ok(transaction)
    }
}

/// Notes a change of the tenant, which takes away its shared ticket and lease, within the transaction that makes it: one that [`changing`](Database::changing) began.
pub(super) async fn note(connection: &mut PgConnection, key: &str) -> Result<(), Failure> {
    let row = query("UPDATE tenant_revision SET revision = revision + 1 RETURNING revision")
        .fetch_one(&mut *connection)
        .await?;
    let revision: i64 = row.try_get(0)?;
    query(
        "INSERT INTO tenant_changes (tenant, revision) VALUES ($1, $2) \
         ON CONFLICT (tenant) DO UPDATE SET revision = excluded.revision",
    )
    .bind(key)
    .bind(revision)
    .execute(&mut *connection)
    .await?;
    query("DELETE FROM tenant_changes WHERE revision <= $1")
        .bind(revision - CHANGES_KEPT)
        .execute(&mut *connection)
        .await?;
    shared_tickets::forget(connection, key).await?;
    query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(connection).await?;
    Ok(())
}
