//! What a row means, whichever engine read it. What makes no sense was not written by us.

use jiff::Timestamp;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::sealer::{CODE_VERIFIER, LOGIN_HINT, NONCE, REFRESH_TOKEN, SYSTEM_USER_TOKEN, Sealer};
use super::{Grant, PendingSignIn, Tenant, TenantSource, check_system_user_token, user_key};
use crate::crypto::SecretHash;
use crate::identifiers::{CodeVerifier, ContextIdentifier, Nonce, RefreshToken, SystemUserToken};

/// A row of either engine, read by the names of its columns.
pub(super) trait Record {
    /// A text.
    fn text(&self, column: &str) -> Result<String, &'static str>;
    /// A text that may be absent.
    fn optional_text(&self, column: &str) -> Result<Option<String>, &'static str>;
    /// A sealed record.
    fn sealed(&self, column: &str) -> Result<Vec<u8>, &'static str>;
    /// A sealed record that may be absent.
    fn optional_sealed(&self, column: &str) -> Result<Option<Vec<u8>>, &'static str>;
    /// A number.
    fn number(&self, column: &str) -> Result<i64, &'static str>;

    /// A time that is kept as a text.
    fn time(&self, column: &str) -> Result<Timestamp, &'static str> {
        self.text(column)?.parse().map_err(|_| "a time in it is not RFC 3339")
    }
}

const NO_TEXT: &str = "a text in it is missing or not UTF-8";
const NOT_SEALED: &str = "a secret in it is missing or no bytes";

impl<R: Row> Record for R
where
    for<'c> &'c str: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> bool: Decode<'r, R::Database> + Type<R::Database>,
{
    fn text(&self, column: &str) -> Result<String, &'static str> {
        self.try_get(column).map_err(|_| NO_TEXT)
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>, &'static str> {
        self.try_get(column).map_err(|_| NO_TEXT)
    }

    fn sealed(&self, column: &str) -> Result<Vec<u8>, &'static str> {
        self.try_get(column).map_err(|_| NOT_SEALED)
    }

    fn optional_sealed(&self, column: &str) -> Result<Option<Vec<u8>>, &'static str> {
        self.try_get(column).map_err(|_| NOT_SEALED)
    }

    fn number(&self, column: &str) -> Result<i64, &'static str> {
        self.try_get(column).map_err(|_| "a number in it is missing")
    }
}

/// A row of `tenants`, with what was observed about the tenant.
pub(super) fn tenant(asked: ContextIdentifier, row: &impl Record, sealer: &Sealer) -> Result<Tenant, &'static str> {
    let context_identifier: ContextIdentifier =
        row.text("context_identifier")?.parse().map_err(|_| "its name is no ContextIdentifier")?;
    if context_identifier != asked {
        return Err("its name and its key differ");
    }
    let token = sealer.unseal(SYSTEM_USER_TOKEN, &[&asked.key()], &row.sealed("system_user_token")?)?;
    let system_user_token = SystemUserToken::new(token.as_str());
    check_system_user_token(&system_user_token).map_err(|_| "its system user token is not valid")?;
    Ok(Tenant {
        context_identifier,
        system_user_token,
        source: TenantSource::Database,
        serial: row.optional_text("serial")?,
        webapi_url: row.optional_text("webapi_url")?,
        create_time: Some(row.time("create_time")?),
        update_time: Some(row.time("update_time")?),
    })
}

/// A row of `grants`.
pub(super) fn grant(tenant: ContextIdentifier, row: &impl Record, sealer: &Sealer) -> Result<Grant, &'static str> {
    let (key, user) = (row.text("user")?, row.text("name")?);
    // By the row's own key. The name is anybody's who can write the row: with it another user's grant could be moved here.
    if user_key(&user) != key {
        return Err("its name and its key differ");
    }
    let refresh_token = sealer.unseal(REFRESH_TOKEN, &[&tenant.key(), &key], &row.sealed("refresh_token")?)?;
    Ok(Grant {
        context_identifier: tenant,
        user,
        refresh_token: RefreshToken::new(refresh_token.as_str()),
        associate_id: row.optional_text("associate_id")?,
        create_time: row.time("create_time")?,
        update_time: row.time("update_time")?,
    })
}

/// A row of `pending_sign_ins` that `owner` has shown itself to own.
pub(super) fn sign_in(
    state: SecretHash,
    row: &impl Record,
    owner: SecretHash,
    sealer: &Sealer,
) -> Result<PendingSignIn, &'static str> {
    let name = state.to_string();
    let unseal = |column, record: &[u8]| sealer.unseal(column, &[&name], record);
    let tenant = row.optional_text("tenant")?.map(|tenant| tenant.parse()).transpose();
    let hint = row.optional_sealed("login_hint")?.map(|hint| unseal(LOGIN_HINT, &hint)).transpose()?;
    Ok(PendingSignIn {
        redirect_uri: row.text("redirect_uri")?,
        nonce: Nonce::new(unseal(NONCE, &row.sealed("nonce")?)?.as_str()),
        code_verifier: CodeVerifier::new(unseal(CODE_VERIFIER, &row.sealed("code_verifier")?)?.as_str()),
        tenant: tenant.map_err(|_| "the tenant of a sign-in is no ContextIdentifier")?,
        login_hint: hint.map(|hint| hint.to_string()),
        owner,
        expire_time: Timestamp::from_millisecond(row.number("expire_time")?)
            .map_err(|_| "the expiry of a sign-in is no time")?,
    })
}
