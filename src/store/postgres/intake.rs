use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{PgConnection, Row};
use tokio::time::Instant;

use super::failure::Failure;
use super::{Database, changes, query, tenants};
use crate::store::StoreError;
use crate::store::intake::{HandedIn, IntakeRecords, Judge, REFUSALS_KEPT, Refusal, Verdict};

const ANY: &str = "SELECT 1 FROM tenant_intake LIMIT 1";
/// What its submitter has locked meanwhile is left for the next time.
const TAKE: &str = "DELETE FROM tenant_intake WHERE request = (SELECT request FROM tenant_intake \
     ORDER BY request LIMIT 1 FOR UPDATE SKIP LOCKED) \
     RETURNING request, context_identifier, system_user_token, submit_time";
/// How long tenants are taken in one transaction. It has to end in time however far away the database is: else it is rolled
/// back, and so is every one after it. And others wait for its lock, for a second.
const ENOUGH: Duration = Duration::from_millis(500);
const REFUSE: &str = "INSERT INTO tenant_refusals (request, context_identifier, reason, submit_time, refuse_time) \
     VALUES ($1, $2, $3, $4, $5)";
const FORGET: &str = "DELETE FROM tenant_refusals \
     WHERE number <= (SELECT number FROM tenant_refusals ORDER BY number DESC LIMIT 1 OFFSET $1)";

#[async_trait]
impl IntakeRecords for Database {
    async fn take_handed_in(&self, judge: &Judge<'_>, limit: u32, now: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.bounded(async {
            let mut look = self.reading().await?;
            let any = query(ANY).fetch_optional(&mut *look).await?.is_some();
            look.commit().await?;
            if !any {
                return Ok(Vec::new());
            }
            // One process at a time, as with every change of a tenant: of two for the same tenant the later one counts.
            let mut transaction = self.changing().await?;
            let begun = Instant::now();
            let mut verdicts = Vec::new();
            for _ in 0..limit {
                let Some(row) = query(TAKE).fetch_optional(&mut *transaction).await? else { break };
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
                        let request = row.try_get("request")?;
                        refuse(&mut transaction, request, refusal, &handed_in.submit_time, now).await?;
                    }
                }
                verdicts.push(verdict);
                if begun.elapsed() >= ENOUGH {
                    break;
                }
            }
            if verdicts.iter().any(Result::is_err) {
                query(FORGET).bind(REFUSALS_KEPT).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(verdicts)
        })
        .await
    }
}

async fn refuse(
    connection: &mut PgConnection,
    request: i64,
    refusal: &Refusal,
    submit_time: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    query(REFUSE)
        .bind(request)
        .bind(refusal.context_identifier.map(|tenant| tenant.to_string()))
        .bind(&refusal.reason)
        .bind(submit_time)
        .bind(now.to_string())
        .execute(connection)
        .await?;
    Ok(())
}
