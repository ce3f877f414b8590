use async_trait::async_trait;
use jiff::Timestamp;

use super::failure::Failure;
use super::{Database, query};
use crate::crypto::SecretHash;
use crate::store::sealer::{CODE_VERIFIER, LOGIN_HINT, NONCE};
use crate::store::{MAX_PENDING_SIGN_INS, PendingSignIn, PendingSignIns, StoreError, TakenSignIn, records};

/// The column `browser` has the owner, whoever it is: its name is older than callers that own sign-ins. Sign-ins without
/// one, of versions that made such, are nobody's.
const ADD: &str = "INSERT INTO pending_sign_ins \
     (state, browser, redirect_uri, nonce, code_verifier, tenant, login_hint, expire_time) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE (SELECT count(*) FROM pending_sign_ins) < $9";
const TAKE: &str = "DELETE FROM pending_sign_ins WHERE state = $1 AND browser = $2 AND expire_time > $3 \
     RETURNING redirect_uri, nonce, code_verifier, tenant, login_hint, expire_time";
/// Those whom another removes at this moment are left to it: two never wait for each other.
const PURGE: &str = "DELETE FROM pending_sign_ins WHERE state IN \
     (SELECT state FROM pending_sign_ins WHERE expire_time <= $1 FOR UPDATE SKIP LOCKED)";

#[async_trait]
impl PendingSignIns for Database {
    async fn add(&self, state: SecretHash, sign_in: &PendingSignIn, now: Timestamp) -> Result<(), StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            purge(&mut transaction, now).await?;
            let row = state.to_string();
            let hint = sign_in.login_hint.as_ref();
            let hint = hint.map(|hint| self.sealer.seal(LOGIN_HINT, &[&row], hint)).transpose()?;
            let added = query(ADD)
                .bind(state.as_bytes())
                .bind(sign_in.owner.as_bytes())
                .bind(&sign_in.redirect_uri)
                .bind(self.sealer.seal(NONCE, &[&row], sign_in.nonce.expose())?)
                .bind(self.sealer.seal(CODE_VERIFIER, &[&row], sign_in.code_verifier.expose())?)
                .bind(sign_in.tenant.map(|tenant| tenant.to_string()))
                .bind(hint)
                .bind(sign_in.expire_time.as_millisecond())
                .bind(i64::from(MAX_PENDING_SIGN_INS))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            if added.rows_affected() > 0 { Ok(()) } else { Err(StoreError::TooManyPending.into()) }
        })
        .await
    }

    async fn take(&self, state: SecretHash, owner: SecretHash, now: Timestamp) -> Result<TakenSignIn, StoreError> {
        self.bounded(async {
            let mut transaction = self.writing().await?;
            purge(&mut transaction, now).await?;
            let row = query(TAKE)
                .bind(state.as_bytes())
                .bind(owner.as_bytes())
                .bind(now.as_millisecond())
                .fetch_optional(&mut *transaction)
                .await?;
            let waits = query("SELECT 1 FROM pending_sign_ins WHERE state = $1 AND expire_time > $2")
                .bind(state.as_bytes())
                .bind(now.as_millisecond())
                .fetch_optional(&mut *transaction)
                .await?;
            // What is taken is used up, whatever comes of it.
            transaction.commit().await?;
            match row {
                Some(row) => Ok(TakenSignIn::Taken(Box::new(
                    records::sign_in(state, &row, owner, &self.sealer).map_err(damaged)?,
                ))),
                None if waits.is_some() => Ok(TakenSignIn::OtherOwner),
                None => Ok(TakenSignIn::Nothing),
            }
        })
        .await
    }
}

async fn purge(connection: &mut sqlx::PgConnection, now: Timestamp) -> Result<(), sqlx::Error> {
    query(PURGE).bind(now.as_millisecond()).execute(connection).await?;
    Ok(())
}

/// A sign-in that makes no sense counts as damage: it has no tenant to be named by.
fn damaged(problem: &'static str) -> Failure {
    Failure::Sqlx(sqlx::Error::Decode(problem.into()))
}
