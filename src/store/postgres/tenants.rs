use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::failure::Failure;
use super::{Database, changes, query};
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use crate::store::engine::{Page, TenantRecords, log_bad_record};
use crate::store::sealer::{SYSTEM_USER_TOKEN, Sealer};
use crate::store::{Observations, StoreError, Tenant, records};

const FIND: &str = "SELECT tenant, context_identifier, system_user_token, create_time, update_time, serial, webapi_url \
     FROM tenants LEFT JOIN tenant_observations USING (tenant) WHERE tenant = $1";
const PAGE: &str = "SELECT tenant, context_identifier, system_user_token, create_time, update_time, serial, webapi_url \
     FROM tenants LEFT JOIN tenant_observations USING (tenant) WHERE tenant > $1 ORDER BY tenant LIMIT $2";
const OBSERVATIONS: &str = "SELECT tenant, serial, webapi_url FROM tenant_observations WHERE tenant = ANY ($1)";
const REPLACE: &str = "INSERT INTO tenants (tenant, context_identifier, system_user_token, create_time, update_time) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant) DO UPDATE SET context_identifier = excluded.context_identifier, \
     system_user_token = excluded.system_user_token, create_time = excluded.create_time, \
     update_time = excluded.update_time";
const RENAME: &str = "UPDATE tenants SET context_identifier = $2 WHERE tenant = $1 AND context_identifier <> $2";
const FORGET_SERIAL: &str = "UPDATE tenant_observations SET serial = NULL WHERE tenant = $1 AND serial IS NOT NULL";
const OBSERVE: &str = "INSERT INTO tenant_observations AS observed (tenant, serial, webapi_url) SELECT $1, $2, $3 \
     WHERE $4 OR EXISTS (SELECT 1 FROM tenants WHERE tenant = $1) \
     ON CONFLICT (tenant) DO UPDATE SET serial = coalesce(observed.serial, excluded.serial), \
     webapi_url = CASE WHEN observed.serial <> excluded.serial THEN observed.webapi_url \
     ELSE coalesce(excluded.webapi_url, observed.webapi_url) END RETURNING serial, webapi_url";

#[async_trait]
impl TenantRecords for Database {
    async fn find(&self, context_identifier: ContextIdentifier) -> Result<Option<Tenant>, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let row = query(FIND).bind(context_identifier.key()).fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            row.map(|row| tenant(context_identifier, &row, &self.sealer)).transpose()
        })
        .await
    }

    async fn page(&self, after: &str, limit: u32) -> Result<Page, StoreError> {
        self.bounded(async {
            let mut transaction = self.reading().await?;
            let rows = query(PAGE).bind(after).bind(i64::from(limit)).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
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

    async fn put(
        &self,
        context_identifier: ContextIdentifier,
        token: &SystemUserToken,
        accept_serial: bool,
        now: Timestamp,
    ) -> Result<Tenant, StoreError> {
        self.bounded(async {
            let key = context_identifier.key();
            let mut transaction = self.changing().await?;
            let is_new = put(&mut transaction, &self.sealer, context_identifier, token, now).await?;
            let serial_forgotten = accept_serial && forget_serial(&mut transaction, &key).await?;
            if is_new || serial_forgotten {
                changes::note(&mut transaction, &key).await?;
            }
            let row = query(FIND).bind(&key).fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            tenant(context_identifier, &row, &self.sealer)
        })
        .await
    }

    async fn delete(&self, context_identifier: ContextIdentifier) -> Result<bool, StoreError> {
        self.bounded(async {
            let key = context_identifier.key();
            let mut transaction = self.changing().await?;
            let tenant = query("DELETE FROM tenants WHERE tenant = $1").bind(&key).execute(&mut *transaction).await?;
            for leftovers in
                ["DELETE FROM tenant_observations WHERE tenant = $1", "DELETE FROM grants WHERE tenant = $1"]
            {
                query(leftovers).bind(&key).execute(&mut *transaction).await?;
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

    async fn observations(&self, context_identifiers: &[ContextIdentifier]) -> Result<Vec<Observations>, StoreError> {
        if context_identifiers.is_empty() {
            return Ok(Vec::new());
        }
        self.bounded(async {
            let keys: Vec<String> = context_identifiers.iter().map(ContextIdentifier::key).collect();
            let mut transaction = self.reading().await?;
            let rows = query(OBSERVATIONS).bind(&keys).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in rows {
                found.insert(row.try_get::<String, _>("tenant")?, observed(&row)?);
            }
            Ok(keys.iter().map(|key| found.remove(key).unwrap_or_default()).collect())
        })
        .await
    }

    async fn accept_serial(&self, context_identifier: ContextIdentifier) -> Result<(), StoreError> {
        self.bounded(async {
            let key = context_identifier.key();
            let mut transaction = self.changing().await?;
            if forget_serial(&mut transaction, &key).await? {
                changes::note(&mut transaction, &key).await?;
            }
            transaction.commit().await
        })
        .await
    }

    async fn observe(
        &self,
        context_identifier: ContextIdentifier,
        told: &Observations,
        elsewhere: bool,
    ) -> Result<Option<Observations>, StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            let observe = query(OBSERVE).bind(context_identifier.key()).bind(&told.serial).bind(&told.webapi_url);
            let row = observe.bind(elsewhere).fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(row.map(|row| observed(&row)).transpose()?)
        })
        .await
    }
}

/// Registers a tenant or replaces its token. False when the token is the same: that is no change to note.
pub(super) async fn put(
    connection: &mut PgConnection,
    sealer: &Sealer,
    context_identifier: ContextIdentifier,
    token: &SystemUserToken,
    now: Timestamp,
) -> Result<bool, Failure> {
    let key = context_identifier.key();
    let row = query(FIND).bind(&key).fetch_optional(&mut *connection).await?;
    let stored = row.map(|row| tenant(context_identifier, &row, sealer)).transpose();
    if matches!(&stored, Ok(Some(stored)) if stored.system_user_token == *token) {
        query(RENAME).bind(&key).bind(context_identifier.as_str()).execute(connection).await?;
        return Ok(false);
    }
    // A record that cannot be read is replaced, with its times.
    let create_time = stored.ok().flatten().and_then(|stored| stored.create_time).unwrap_or(now);
    query(REPLACE)
        .bind(&key)
        .bind(context_identifier.as_str())
        .bind(sealer.seal(SYSTEM_USER_TOKEN, &[&key], token.expose())?)
        .bind(create_time.to_string())
        .bind(now.to_string())
        .execute(connection)
        .await?;
    Ok(true)
}

async fn forget_serial(connection: &mut PgConnection, key: &str) -> Result<bool, sqlx::Error> {
    Ok(query(FORGET_SERIAL).bind(key).execute(connection).await?.rows_affected() > 0)
}

/// A record as a tenant, or what is wrong with it.
fn tenant(asked: ContextIdentifier, row: &PgRow, sealer: &Sealer) -> Result<Tenant, Failure> {
    records::tenant(asked, row, sealer)
        .map_err(|problem| StoreError::BadRecord { context_identifier: asked, problem }.into())
}

fn observed(row: &PgRow) -> Result<Observations, sqlx::Error> {
    Ok(Observations { serial: row.try_get("serial")?, webapi_url: row.try_get("webapi_url")? })
}
