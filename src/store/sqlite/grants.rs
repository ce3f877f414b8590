use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::failure::Failure;
use super::{Database, changes};
use crate::identifiers::{ContextIdentifier, RefreshToken};
use crate::store::sealer::{REFRESH_TOKEN, Sealer};
use crate::store::{Grant, Grants, StoreError, records, user_key};

const FIND: &str = "SELECT user, name, refresh_token, associate_id, create_time, update_time FROM grants \
     WHERE tenant = ?1 AND user = ?2";
const LIST: &str = "SELECT user, name, refresh_token, associate_id, create_time, update_time FROM grants \
     WHERE tenant = ?1 AND user > ?2 ORDER BY user LIMIT ?3";
const PUT: &str = "INSERT INTO grants (tenant, user, name, refresh_token, associate_id, create_time, update_time) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (tenant, user) DO UPDATE SET name = excluded.name, \
     refresh_token = excluded.refresh_token, associate_id = excluded.associate_id, update_time = excluded.update_time";
const REPLACE: &str = "UPDATE grants SET refresh_token = ?3, update_time = ?4 WHERE tenant = ?1 AND user = ?2";
const DELETE: &str = "DELETE FROM grants WHERE tenant = ?1 AND user = ?2";

#[async_trait]
impl Grants for Database {
    async fn find(&self, tenant: ContextIdentifier, user: &str) -> Result<Option<Grant>, StoreError> {
        self.read(async {
            let query = sqlx::query(FIND).bind(tenant.key()).bind(user_key(user));
            query.fetch_optional(&self.readers).await?.map(|row| grant(tenant, &row, &self.sealer)).transpose()
        })
        .await
    }

    async fn list(&self, tenant: ContextIdentifier, after: Option<&str>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut after = after.unwrap_or_default().to_owned();
        self.read(async {
            let mut grants = Vec::new();
            loop {
                // A record that cannot be used takes no other's place: fewer than were asked for are all there are.
                let wanted = limit.saturating_sub(grants.len());
                let query = sqlx::query(LIST).bind(tenant.key()).bind(&after);
                let rows = query.bind(i64::try_from(wanted).unwrap_or(i64::MAX)).fetch_all(&self.readers).await?;
                let Some(last) = rows.last() else { return Ok(grants) };
                after = last.try_get("user")?;
                for row in &rows {
                    match grant(tenant, row, &self.sealer) {
                        Ok(grant) => grants.push(grant),
                        Err(Failure::Store(error)) => {
                            tracing::warn!(%error, "a grant's record cannot be used and is left out");
                        }
                        Err(failure) => return Err(failure),
                    }
                }
                if rows.len() < wanted {
                    return Ok(grants);
                }
            }
        })
        .await
    }

    async fn put(&self, grant: &Grant) -> Result<(), StoreError> {
        self.write(async {
            let (tenant, user) = (grant.context_identifier, user_key(&grant.user));
            let sealed = self.sealer.seal(REFRESH_TOKEN, &[&tenant.key(), &user], grant.refresh_token.expose())?;
            sqlx::query(PUT)
                .bind(tenant.key())
                .bind(user)
                .bind(&grant.user)
                .bind(sealed)
                .bind(&grant.associate_id)
                .bind(grant.create_time.to_string())
                .bind(grant.update_time.to_string())
                .execute(&self.writer)
                .await?;
            Ok(())
        })
        .await
    }

    async fn replace(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        expected: &RefreshToken,
        new: &RefreshToken,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            if !holds(&mut transaction, &self.sealer, tenant, user, expected).await? {
                return Ok(false);
            }
            sqlx::query(REPLACE)
                .bind(tenant.key())
                .bind(user_key(user))
                .bind(self.sealer.seal(REFRESH_TOKEN, &[&tenant.key(), &user_key(user)], new.expose())?)
                .bind(now.to_string())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn remove_refused(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        expected: &RefreshToken,
    ) -> Result<bool, StoreError> {
        self.write(async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            if !holds(&mut transaction, &self.sealer, tenant, user, expected).await? {
                return Ok(false);
            }
            sqlx::query(DELETE).bind(tenant.key()).bind(user_key(user)).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn delete(&self, tenant: ContextIdentifier, user: &str) -> Result<bool, StoreError> {
        self.write(async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let query = sqlx::query(DELETE).bind(tenant.key()).bind(user_key(user));
            let was_there = query.execute(&mut *transaction).await?.rows_affected() > 0;
            if was_there {
                changes::note(&mut transaction, &tenant.key()).await?;
            }
            transaction.commit().await?;
            Ok(was_there)
        })
        .await
    }
}

/// Whether the grant's refresh token is still `expected`. It is compared here: sealed, a secret's column is never the same
/// twice.
async fn holds(
    connection: &mut sqlx::SqliteConnection,
    sealer: &Sealer,
    tenant: ContextIdentifier,
    user: &str,
    expected: &RefreshToken,
) -> Result<bool, Failure> {
    let row = sqlx::query(FIND).bind(tenant.key()).bind(user_key(user)).fetch_optional(connection).await?;
    Ok(row.map(|row| grant(tenant, &row, sealer)).transpose()?.is_some_and(|grant| grant.refresh_token == *expected))
}

fn grant(context_identifier: ContextIdentifier, row: &SqliteRow, sealer: &Sealer) -> Result<Grant, Failure> {
    records::grant(context_identifier, row, sealer)
        .map_err(|problem| StoreError::BadGrant { context_identifier, problem }.into())
}
