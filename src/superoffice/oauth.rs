mod authorization_url;
mod token_response;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded::{self, byte_serialize};
use zeroize::Zeroizing;

pub(super) use authorization_url::authorization_url;
pub use authorization_url::{AuthorizationRequest, ResponseMode};
pub use token_response::TokenSet;

use super::http::{Answer, Content, Http, Purpose, Request};
use super::message::presentable;
use super::{AuthorizeErrorCode, ClientAuthentication, OAuthError, Settings, UpstreamError};
use crate::identifiers::{AuthorizationCode, CodeVerifier, RefreshToken};

const TOKENS: &str = "/login/common/oauth/tokens";
const REVOKE: &str = "/login/common/oauth/revoke";

/// See [`super::SuperOffice::exchange_code`].
pub(super) async fn exchange_code(
    http: &Http,
    settings: &Settings,
    code: &AuthorizationCode,
    redirect_uri: &str,
    verifier: &CodeVerifier,
) -> Result<TokenSet, OAuthError> {
    let parameters = [
        ("grant_type", "authorization_code"),
        ("code", code.expose()),
        ("redirect_uri", redirect_uri),
        ("code_verifier", verifier.expose()),
    ];
    let answer = post(http, settings, TOKENS, &parameters, &[code.expose(), verifier.expose()]).await?;
    Ok(token_response::read(&answer.body)?)
}

/// See [`super::SuperOffice::refresh_access_token`].
pub(super) async fn refresh_access_token(
    http: &Http,
    settings: &Settings,
    refresh_token: &RefreshToken,
) -> Result<TokenSet, OAuthError> {
    let parameters = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
    let answer = post(http, settings, TOKENS, &parameters, &[refresh_token.expose()]).await?;
    Ok(token_response::read(&answer.body)?)
}

/// See [`super::SuperOffice::revoke`].
pub(super) async fn revoke(http: &Http, settings: &Settings, refresh_token: &RefreshToken) -> Result<(), OAuthError> {
    let parameters = [("token", refresh_token.expose()), ("token_type_hint", "refresh_token")];
    post(http, settings, REVOKE, &parameters, &[refresh_token.expose()]).await.map(drop)
}

/// Sends a form with our client's credentials. Everything is in the body or a header, never in the query as the
/// documentation's examples have it: URLs are logged everywhere.
async fn post(
    http: &Http,
    settings: &Settings,
    path: &str,
    parameters: &[(&str, &str)],
    secrets: &[&str],
) -> Result<Answer, OAuthError> {
    let client_secret = settings.client_secret.get();
    let client_secret = client_secret.expose();
    let credentials = Zeroizing::new(basic_credentials(settings.client_id.as_str(), client_secret));
    let content = form(settings, client_secret, parameters, &credentials)?;
    let request =
        Request { path, content, purpose: Purpose::AccessToken, tenant: None, timeout: settings.request_timeout };
    let answer = http.send(request).await?;
    let secrets: Vec<&str> = secrets.iter().copied().chain([client_secret, credentials.as_str()]).collect();
    match serde_json::from_slice::<ErrorResponse>(&answer.body) {
        Ok(ErrorResponse { error: Some(error), error_description }) => {
            let description = error_description.as_ref().and_then(Value::as_str).unwrap_or_default();
            Err(unauthorized(&error, description).unwrap_or_else(|| refused(&answer, &error, &secrets)))
        }
        _ if answer.status.is_success() => Ok(answer),
        _ => Err(refused(&answer, "", &secrets)),
    }
}

fn form(
    settings: &Settings,
    client_secret: &str,
    parameters: &[(&str, &str)],
    credentials: &str,
) -> Result<Content, UpstreamError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    let authorization = match settings.client_authentication {
        ClientAuthentication::Post => {
            form.append_pair("client_id", settings.client_id.as_str());
            form.append_pair("client_secret", client_secret);
            None
        }
        ClientAuthentication::Basic => Some(basic(credentials)?),
    };
    Ok(Content::Form { body: form.finish().into(), authorization })
}

/// RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
fn basic_credentials(client_id: &str, client_secret: &str) -> String {
    let encoded = |part: &str| byte_serialize(part.as_bytes()).collect::<String>();
    STANDARD.encode(Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(client_secret))).as_bytes())
}

fn basic(credentials: &str) -> Result<HeaderValue, UpstreamError> {
    // Base64 fits in any header, so this never fails.
    let mut value = HeaderValue::try_from(format!("Basic {credentials}")).map_err(|_| UpstreamError::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct ErrorResponse {
    error: Option<String>,
    error_description: Option<Value>,
}

/// A refusal by one of SuperOffice's codes that is about the tenant. A word alone is rather about the grant.
fn unauthorized(error: &str, description: &str) -> Option<OAuthError> {
    let code = [error, description].into_iter().find_map(AuthorizeErrorCode::find_in_passing)?;
    match code {
        AuthorizeErrorCode::Revoked
        | AuthorizeErrorCode::Expired
        | AuthorizeErrorCode::Denied
        | AuthorizeErrorCode::NeedsReapproval => Some(OAuthError::Authorization(code)),
        AuthorizeErrorCode::InvalidRedirectUrl
        | AuthorizeErrorCode::InvalidTimestamp
        | AuthorizeErrorCode::InvalidSignature => None,
    }
}

/// Only an error code is kept of what was said: a description could repeat what was sent.
fn refused(answer: &Answer, error: &str, secrets: &[&str]) -> OAuthError {
    let is_code = |code: &str| {
        (1..=64).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let refusal = match error {
        "invalid_grant" => OAuthError::InvalidGrant,
        code if is_code(code) && presentable(code, secrets) == code => OAuthError::Refused(code.to_owned()),
        _ => OAuthError::Refused(format!("HTTP {}", answer.status.as_u16())),
    };
    tracing::debug!(error = %refusal, "SuperOffice refused the OAuth request");
    refusal
}

#[cfg(test)]
mod tests;
