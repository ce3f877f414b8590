use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::http::{Answer, Content, Http, Purpose, Request};
use super::message::presentable;
use super::{RefreshError, Settings, UpstreamError};
use crate::identifiers::{AccessToken, RefreshToken};

const PATH: &str = "/login/common/oauth/tokens";

/// The documentation names two lifetimes, an hour and this one: the shorter, when an answer names none.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(20);
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// Longer ones would not fit in a header.
const LONGEST_TOKEN: usize = 8 * 1024;

/// An access token that was made just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshAccessToken {
    /// The secret.
    pub access_token: AccessToken,
    /// How long it lives, counted from the moment the request was sent.
    pub expires_in: Duration,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Option<String>,
    token_type: Option<String>,
    /// A number, or a number in a string.
    expires_in: Option<Value>,
    error: Option<String>,
}

/// See [`super::SuperOffice::refresh_access_token`].
pub(super) async fn refresh_access_token(
    http: &Http,
    settings: &Settings,
    refresh_token: &RefreshToken,
) -> Result<FreshAccessToken, RefreshError> {
    // In the body, never in the query as the documentation's examples have it: URLs are logged everywhere.
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", settings.client_id.as_str())
        .append_pair("client_secret", settings.client_secret.expose())
        .append_pair("refresh_token", refresh_token.expose())
        .finish();
    let request = Request {
        path: PATH,
        content: Content::Form(form.into()),
        purpose: Purpose::AccessToken,
        timeout: settings.request_timeout,
    };
    let answer = http.send(request).await?;
    let secrets = [refresh_token.expose(), settings.client_secret.expose()];
    let response = serde_json::from_slice::<TokenResponse>(&answer.body);
    match response {
        Ok(TokenResponse { error: Some(error), .. }) => Err(refused(&answer, &error, &secrets)),
        Ok(response) if answer.status.is_success() => Ok(fresh(response)?),
        Err(_) if answer.status.is_success() => Err(UpstreamError::Malformed.into()),
        _ => Err(refused(&answer, "", &secrets)),
    }
}

fn fresh(response: TokenResponse) -> Result<FreshAccessToken, UpstreamError> {
    let is_bearer = response.token_type.is_none_or(|name| name.eq_ignore_ascii_case("bearer"));
    let fits_in_a_header = |token: &String| {
        (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let access_token = response.access_token.filter(fits_in_a_header).filter(|_| is_bearer);
    let access_token = AccessToken::new(access_token.ok_or(UpstreamError::Malformed)?);
    let expires_in = response.expires_in.as_ref().map_or(Some(DEFAULT_LIFETIME), lifetime);
    Ok(FreshAccessToken { access_token, expires_in: expires_in.ok_or(UpstreamError::Malformed)? })
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

/// Only an error code is kept of what was said: a description could repeat what was sent.
fn refused(answer: &Answer, error: &str, secrets: &[&str]) -> RefreshError {
    let is_code = |code: &str| {
        (1..=64).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let refusal = match error {
        "invalid_grant" => RefreshError::InvalidGrant,
        code if is_code(code) && presentable(code, secrets) == code => RefreshError::Refused(code.to_owned()),
        _ => RefreshError::Refused(format!("HTTP {}", answer.status.as_u16())),
    };
    tracing::debug!(error = %refusal, "SuperOffice refused the refresh");
    refusal
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Peer, TestServer};
    use super::*;

    const REFRESH_TOKEN: &str = "Rt+/&=4PIk1KQ8f6Rt0123456789RtRtRtRt";

    async fn answer_to(status: u16, body: &str) -> Result<FreshAccessToken, RefreshError> {
        let peer = Peer::answering(TestServer::response(status, body)).await;
        peer.superoffice.refresh_access_token(&RefreshToken::new(REFRESH_TOKEN)).await
    }

    fn token(seconds: u64) -> FreshAccessToken {
        let access_token = AccessToken::new("8A:Cust12345.a+b/c=");
        FreshAccessToken { access_token, expires_in: Duration::from_secs(seconds) }
    }

    #[tokio::test]
    async fn the_request_is_a_form_with_the_secrets_in_its_body() {
        let body = r#"{"access_token":"8A:Cust12345.a+b/c=","expires_in":3600,"token_type":"Bearer"}"#;
        let peer = Peer::answering(TestServer::response(200, body)).await;
        let answer = peer.superoffice.refresh_access_token(&RefreshToken::new(REFRESH_TOKEN)).await;
        assert_eq!(answer, Ok(token(3600)));
        let request = peer.server.requests().pop().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /login/common/oauth/tokens HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/x-www-form-urlencoded\r\n"), "{head}");
        let pairs: Vec<_> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let expected = [
            ("grant_type", "refresh_token"),
            ("client_id", "fedcba9876543210fedcba9876543210"),
            ("client_secret", "0123456789abcdef0123456789abcdef"),
            ("refresh_token", REFRESH_TOKEN),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[tokio::test]
    async fn lifetimes_are_read_leniently_and_bounded() {
        for (member, seconds) in [
            (r#","expires_in":3600"#, 3600),
            (r#","expires_in":"300","token_type":"bearer""#, 300),
            (r#","expires_in":299.9,"token_type":"BEARER","id_token":"x.y.z","scope":null"#, 299),
            (r#","expires_in":1e300"#, 86_400),
            (r#","expires_in":18446744073709551615"#, 86_400),
            (r#","expires_in":null,"refresh_token":"x""#, 1200),
            ("", 1200),
        ] {
            let body = format!(r#"{{"access_token":"8A:Cust12345.a+b/c="{member}}}"#);
            assert_eq!(answer_to(200, &body).await, Ok(token(seconds)), "{member}");
        }
    }

    #[tokio::test]
    async fn other_answers_of_200_are_malformed() {
        let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(LONGEST_TOKEN + 1));
        for body in [
            "",
            "<html>maintenance</html>",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\r\nX-Header: b"}"#,
            r#"{"access_token":"ä"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"a","expires_in":0}"#,
            r#"{"access_token":"a","expires_in":-5}"#,
            r#"{"access_token":"a","expires_in":"NaN"}"#,
            r#"{"access_token":"a","expires_in":"soon"}"#,
            r#"{"access_token":"a","expires_in":[1]}"#,
            &long,
        ] {
            assert_eq!(answer_to(200, body).await, Err(UpstreamError::Malformed.into()), "{body:.60}");
        }
    }

    #[tokio::test]
    async fn refusals_keep_the_error_code_alone() {
        let refused = |code: &str| Err(RefreshError::Refused(code.to_owned()));
        for (status, body, expected) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Rt+/&=4PIk1KQ8f6"}"#,
                Err(RefreshError::InvalidGrant),
            ),
            (401, r#"{"error":"invalid_grant"}"#, Err(RefreshError::InvalidGrant)),
            (401, r#"{"error":"invalid_client"}"#, refused("invalid_client")),
            (400, r#"{"error":"no\r\nsuch"}"#, refused("HTTP 400")),
            (400, r#"{"error":"4PIk1KQ8f6Rt0123456789RtRtRtRt"}"#, refused("HTTP 400")),
            (403, "<html>no</html>", refused("HTTP 403")),
            (404, "", refused("HTTP 404")),
            (400, r#"{"error":{"code":1}}"#, refused("HTTP 400")),
            (500, r#"{"error":"invalid_grant"}"#, Err(UpstreamError::Status(500).into())),
        ] {
            assert_eq!(answer_to(status, body).await, expected, "{status} {body}");
        }
    }
}
