use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};

use super::{Database, changes, tenants};
use crate::store::StoreError;
use crate::store::intake::{HandedIn, IntakeRecords, Judge, REFUSALS_KEPT, Refusal, Verdict};

const ANY: &str = "SELECT 1 FROM tenant_intake LIMIT 1";
const OLDEST: &str = "SELECT request, context_identifier, system_user_token, submit_time FROM tenant_intake \
     ORDER BY request LIMIT ?1";
const REMOVE: &str = "DELETE FROM tenant_intake WHERE request = ?1";
const REFUSE: &str = "INSERT INTO tenant_refusals (request, context_identifier, reason, submit_time, refuse_time) \
     VALUES (?1, ?2, ?3, ?4, ?5)";
const FORGET: &str = "DELETE FROM tenant_refusals \
     WHERE number <= (SELECT number FROM tenant_refusals ORDER BY number DESC LIMIT 1 OFFSET ?1)";

#[async_trait]
impl IntakeRecords for Database {
    async fn take_handed_in(&self, judge: &Judge<'_>, limit: u32, now: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let any = self.read(async { Ok(sqlx::query(ANY).fetch_optional(&self.readers).await?.is_some()) }).await?;
        if !any {
            return Ok(Vec::new());
        }
        let verdicts = self
            .write(async {
                let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
                let rows = sqlx::query(OLDEST).bind(limit).fetch_all(&mut *transaction).await?;
                let mut verdicts = Vec::with_capacity(rows.len());
                for row in rows {
                    let request: i64 = row.try_get("request")?;
                    let handed_in = HandedIn::of(&row);
                    let verdict = judge(&handed_in);
                    match &verdict {
                        Ok(tenant) => {
                            let token = &handed_in.system_user_token;
                            if tenants::put(&mut transaction, &self.sealer, *tenant, token, now).await? {
                                changes::note(&mut transaction, &tenant.key()).await?;
                            }
                        }
                        Err(refusal) => {
                            refuse(&mut transaction, request, refusal, &handed_in.submit_time, now).await?;
                        }
                    }
                    sqlx::query(REMOVE).bind(request).execute(&mut *transaction).await?;
                    verdicts.push(verdict);
                }
                if verdicts.iter().any(Result::is_err) {
                    sqlx::query(FORGET).bind(REFUSALS_KEPT).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(verdicts)
            })
            .await?;
        self.empty_log().await;
        Ok(verdicts)
    }
}

impl Database {
    /// Takes what was handed in out of the write-ahead log, which keeps old pages until it is written over. While others
    /// read, some of it stays until the next time.
    async fn empty_log(&self) {
        let emptied =
            self.write(async { Ok(sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await?) });
        if let Err(error) = emptied.await {
            tracing::warn!(%error, "the write-ahead log cannot be emptied: it may hold a token that was handed in");
        }
    }
}

async fn refuse(
    connection: &mut SqliteConnection,
    request: i64,
    refusal: &Refusal,
    submit_time: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(REFUSE)
        .bind(request)
        .bind(refusal.context_identifier.map(|tenant| tenant.to_string()))
        .bind(&refusal.reason)
        .bind(submit_time)
        .bind(now.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
