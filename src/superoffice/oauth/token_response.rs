use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::UpstreamError;
use crate::identifiers::{AccessToken, RefreshToken, UnverifiedJwt};

/// The documentation names two lifetimes, an hour and this one: the shorter, when an answer names none.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(20);
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// Longer ones would not fit in a header.
pub(super) const LONGEST_TOKEN: usize = 8 * 1024;

/// What a code or a refresh token brought just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    /// The secret to call the tenant's API with.
    pub access_token: AccessToken,
    /// How long it lives, counted from the moment the request was sent.
    pub expires_in: Duration,
    /// After a sign-in, the token to refresh with. After a refresh, one that replaces the old: SuperOffice is not
    /// known to do that, but when it does, the old one is worth nothing.
    pub refresh_token: Option<RefreshToken>,
    /// Who signed in, for [`crate::crypto::verify_id_token`] to prove.
    pub id_token: Option<UnverifiedJwt>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Option<String>,
    token_type: Option<String>,
    /// A number, or a number in a string.
    expires_in: Option<Value>,
    refresh_token: Option<String>,
    id_token: Option<String>,
}

/// Reads the body of a successful answer.
pub(super) fn read(body: &[u8]) -> Result<TokenSet, UpstreamError> {
    let response: TokenResponse = serde_json::from_slice(body).map_err(|_| UpstreamError::Malformed)?;
    let is_bearer = response.token_type.is_none_or(|name| name.eq_ignore_ascii_case("bearer"));
    let access_token = response.access_token.filter(|token| is_bearer && is_token(token));
    let refresh_token = response.refresh_token.filter(|token| !token.is_empty());
    if refresh_token.as_deref().is_some_and(|token| !is_token(token)) {
        return Err(UpstreamError::Malformed);
    }
    let expires_in = response.expires_in.as_ref().map_or(Some(DEFAULT_LIFETIME), lifetime);
    Ok(TokenSet {
        access_token: AccessToken::new(access_token.ok_or(UpstreamError::Malformed)?),
        expires_in: expires_in.ok_or(UpstreamError::Malformed)?,
        refresh_token: refresh_token.map(RefreshToken::new),
        id_token: response.id_token.filter(|token| !token.is_empty()).map(UnverifiedJwt::new),
    })
}

/// Whether it fits in a header.
fn is_token(token: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn lifetime(expires_in: &Value) -> Option<Duration> {
    let seconds = match expires_in {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let usable = seconds.is_finite() && seconds >= 1.0;
    usable.then(|| Duration::from_secs_f64(seconds.floor().min(LONGEST_LIFETIME.as_secs_f64())))
}
