use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::failure::Failure;
use super::told::{Told, observed};
use super::{Database, changes};
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use crate::store::engine::{Page, TenantRecords, log_bad_record};
use crate::store::sealer::{SYSTEM_USER_TOKEN, Sealer};
use crate::store::{Observations, StoreError, Tenant, records};

const FIND: &str = "SELECT tenant, context_identifier, system_user_token, create_time, update_time, serial, webapi_url \
     FROM tenants LEFT JOIN tenant_observations USING (tenant) WHERE tenant = ?1";
const PAGE: &str = "SELECT tenant, context_identifier, system_user_token, create_time, update_time, serial, webapi_url \
     FROM tenants LEFT JOIN tenant_observations USING (tenant) WHERE tenant > ?1 ORDER BY tenant LIMIT ?2";

#[async_trait]
impl TenantRecords for Database {
    async fn find(&self, context_identifier: ContextIdentifier) -> Result<Option<Tenant>, StoreError> {
        self.read(async {
            let mut connection = self.finder().await?;
            let found = sqlx::query(FIND).bind(context_identifier.key()).fetch_optional(&mut *connection).await?;
            self.keep_finder(connection);
            found.map(|row| tenant(context_identifier, &row, &self.sealer)).transpose()
        })
        .await
    }

    async fn page(&self, after: &str, limit: u32) -> Result<Page, StoreError> {
        self.read(async {
            let rows = sqlx::query(PAGE).bind(after).bind(limit).fetch_all(&self.readers).await?;
            let mut page = Page { tenants: Vec::with_capacity(rows.len()), next: None };
            let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
            for row in rows {
                let key: String = row.try_get("tenant")?;
                match key.parse().map_err(|_| "its key is no ContextIdentifier") {
                    Ok(parsed) => match tenant(parsed, &row, &self.sealer) {
                        Ok(tenant) => page.tenants.push(tenant),
                        Err(Failure::Store(StoreError::BadRecord { problem, .. })) => log_bad_record(&key, problem),
                        Err(failure) => return Err(failure),
                    },
                    Err(problem) => log_bad_record(&key, problem),
                }
                page.next = full.then_some(key);
            }
            Ok(page)
        })
        .await
    }

    async fn observations(&self, context_identifiers: &[ContextIdentifier]) -> Result<Vec<Observations>, StoreError> {
        self.read(async {
            let mut connection = self.readers.acquire().await?;
            let mut found = Vec::with_capacity(context_identifiers.len());
            for context_identifier in context_identifiers {
                found.push(observations(&mut connection, &context_identifier.key()).await?);
            }
            Ok(found)
        })
        .await
    }

    async fn put(
        &self,
        context_identifier: ContextIdentifier,
        token: &SystemUserToken,
        accept_serial: bool,
        now: Timestamp,
    ) -> Result<Tenant, StoreError> {
        self.write(async {
            let key = context_identifier.key();
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let is_new = put(&mut transaction, &self.sealer, context_identifier, token, now).await?;
            let serial_forgotten = accept_serial && forget_serial(&mut transaction, &key).await?;
            if is_new || serial_forgotten {
                changes::note(&mut transaction, &key).await?;
            }
            let row = sqlx::query(FIND).bind(&key).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            tenant(context_identifier, &row, &self.sealer)
        })
        .await
    }

    async fn delete(&self, context_identifier: ContextIdentifier) -> Result<bool, StoreError> {
        self.write(async {
            let key = context_identifier.key();
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let tenant =
                sqlx::query("DELETE FROM tenants WHERE tenant = ?1").bind(&key).execute(&mut *transaction).await?;
            for leftovers in
                ["DELETE FROM tenant_observations WHERE tenant = ?1", "DELETE FROM grants WHERE tenant = ?1"]
            {
                sqlx::query(leftovers).bind(&key).execute(&mut *transaction).await?;
            }
            let was_there = tenant.rows_affected() > 0;
            if was_there {
                changes::note(&mut transaction, &key).await?;
            }
            transaction.commit().await?;
            Ok(was_there)
        })
        .await
    }

    async fn accept_serial(&self, context_identifier: ContextIdentifier) -> Result<(), StoreError> {
        self.write(async {
            let key = context_identifier.key();
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            if forget_serial(&mut transaction, &key).await? {
                changes::note(&mut transaction, &key).await?;
            }
            Ok(transaction.commit().await?)
        })
        .await
    }

    async fn observe(
        &self,
        context_identifier: ContextIdentifier,
        told: &Observations,
        elsewhere: bool,
    ) -> Result<Option<Observations>, StoreError> {
        let told = Told { tenant: context_identifier.key(), observations: told.clone(), elsewhere };
        self.write(self.write_told(told)).await
    }
}

/// Registers a tenant or replaces its token. False when the token is the same: that is no change to note.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    context_identifier: ContextIdentifier,
    token: &SystemUserToken,
    now: Timestamp,
) -> Result<bool, Failure> {
    let key = context_identifier.key();
    let row = sqlx::query(FIND).bind(&key).fetch_optional(&mut *connection).await?;
    let stored = row.map(|row| tenant(context_identifier, &row, sealer)).transpose();
    if matches!(&stored, Ok(Some(stored)) if stored.system_user_token == *token) {
        rename(connection, &key, context_identifier).await?;
        return Ok(false);
    }
    // A record that cannot be read is replaced, with its times.
    let create_time = stored.ok().flatten().and_then(|stored| stored.create_time).unwrap_or(now);
    let column = sealer.seal(SYSTEM_USER_TOKEN, &[&key], token.expose())?;
    replace(connection, &key, context_identifier, column, create_time, now).await?;
    Ok(true)
}

async fn replace(
    connection: &mut SqliteConnection,
    key: &str,
    context_identifier: ContextIdentifier,
    column: Vec<u8>,
    create_time: Timestamp,
    update_time: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT OR REPLACE INTO tenants (tenant, context_identifier, system_user_token, create_time, update_time) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(key)
    .bind(context_identifier.as_str())
    .bind(column)
    .bind(create_time.to_string())
    .bind(update_time.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

async fn rename(
    connection: &mut SqliteConnection,
    key: &str,
    context_identifier: ContextIdentifier,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE tenants SET context_identifier = ?2 WHERE tenant = ?1 AND context_identifier <> ?2")
        .bind(key)
        .bind(context_identifier.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn forget_serial(connection: &mut SqliteConnection, key: &str) -> Result<bool, sqlx::Error> {
    let outcome = sqlx::query("UPDATE tenant_observations SET serial = NULL WHERE tenant = ?1 AND serial IS NOT NULL")
        .bind(key)
        .execute(connection)
        .await?;
    Ok(outcome.rows_affected() > 0)
}

async fn observations(connection: &mut SqliteConnection, key: &str) -> Result<Observations, sqlx::Error> {
    let row = sqlx::query("SELECT serial, webapi_url FROM tenant_observations WHERE tenant = ?1")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| observed(&row)).transpose()?.unwrap_or_default())
}

/// A record as a tenant, or what is wrong with it.
fn tenant(asked: ContextIdentifier, row: &SqliteRow, sealer: &Sealer) -> Result<Tenant, Failure> {
    records::tenant(asked, row, sealer)
        .map_err(|problem| StoreError::BadRecord { context_identifier: asked, problem }.into())
}
