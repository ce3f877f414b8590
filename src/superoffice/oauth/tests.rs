use std::time::Duration;

use super::super::test_server::{Peer, TestServer, settings};
use super::token_response::LONGEST_TOKEN;
use super::*;
use crate::clock::ManualClock;
use crate::identifiers::{AccessToken, ClientSecret, UnverifiedJwt};

const REFRESH_TOKEN: &str = "Rt+/&=4PIk1KQ8f6Rt0123456789RtRtRtRt";

async fn answer_to(status: u16, body: &str) -> Result<TokenSet, OAuthError> {
    let peer = Peer::answering(TestServer::response(status, body)).await;
    peer.superoffice.refresh_access_token(&RefreshToken::new(REFRESH_TOKEN)).await
}

fn token(seconds: u64) -> TokenSet {
    TokenSet {
        access_token: AccessToken::new("8A:Cust12345.a+b/c="),
        expires_in: Duration::from_secs(seconds),
        refresh_token: None,
        id_token: None,
    }
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
    let pairs: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let expected = [
        ("grant_type", "refresh_token"),
        ("refresh_token", REFRESH_TOKEN),
        ("client_id", "fedcba9876543210fedcba9876543210"),
        ("client_secret", "0123456789abcdef0123456789abcdef"),
    ];
    assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn lifetimes_are_read_leniently_and_bounded() {
    for (member, seconds) in [
        (r#","expires_in":3600"#, 3600),
        (r#","expires_in":"300","token_type":"bearer""#, 300),
        (r#","expires_in":299.9,"token_type":"BEARER","id_token":null,"scope":null"#, 299),
        (r#","expires_in":1e300"#, 86_400),
        (r#","expires_in":18446744073709551615"#, 86_400),
        (r#","expires_in":null,"refresh_token":"""#, 1200),
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
        r#"{"access_token":"a","refresh_token":7}"#,
        r#"{"access_token":"a","refresh_token":"a b"}"#,
        r#"{"access_token":"a","refresh_token":"a\r\nb"}"#,
        r#"{"access_token":"a","id_token":["x.y.z"]}"#,
        &long,
    ] {
        assert_eq!(answer_to(200, body).await, Err(UpstreamError::Malformed.into()), "{body:.60}");
    }
}

#[tokio::test]
async fn refusals_keep_the_error_code_alone() {
    let refused = |code: &str| Err(OAuthError::Refused(code.to_owned()));
    for (status, body, expected) in [
        (400, r#"{"error":"invalid_grant","error_description":"Rt+/&=4PIk1KQ8f6"}"#, Err(OAuthError::InvalidGrant)),
        (401, r#"{"error":"invalid_grant"}"#, Err(OAuthError::InvalidGrant)),
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

#[tokio::test]
async fn a_code_goes_in_a_form_and_brings_the_whole_set() {
    let body = r#"{"access_token":"8A:Cust12345.a+b/c=","expires_in":"3600","token_type":"Bearer",
        "refresh_token":"PIk1KQ8f6","id_token":"x.y.z"}"#;
    let peer = Peer::answering(TestServer::response(200, body)).await;
    let (code, verifier) = (AuthorizationCode::new("c+de&=1"), CodeVerifier::new("verifier-43"));
    let redirect_uri = "https://ticketd.example/onboarding/callback?a=b c";
    let set = peer.superoffice.exchange_code(&code, redirect_uri, &verifier).await.unwrap();
    let expected = TokenSet {
        refresh_token: Some(RefreshToken::new("PIk1KQ8f6")),
        id_token: Some(UnverifiedJwt::new("x.y.z")),
        ..token(3600)
    };
    assert_eq!(set, expected);
    let request = peer.server.requests().pop().unwrap();
    assert!(request.starts_with("POST /login/common/oauth/tokens HTTP/1.1\r\n"), "{request}");
    let expected = [
        ("grant_type", "authorization_code"),
        ("code", "c+de&=1"),
        ("redirect_uri", redirect_uri),
        ("code_verifier", "verifier-43"),
        ("client_id", "fedcba9876543210fedcba9876543210"),
        ("client_secret", "0123456789abcdef0123456789abcdef"),
    ];
    assert_eq!(form_of(&request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn a_revocation_needs_no_body_in_its_answer() {
    let token = RefreshToken::new(REFRESH_TOKEN);
    for body in ["", "{}", "<html>bye</html>", "null"] {
        let peer = Peer::answering(TestServer::response(200, body)).await;
        assert_eq!(peer.superoffice.revoke(&token).await, Ok(()), "{body}");
        let request = peer.server.requests().pop().unwrap();
        assert!(request.starts_with("POST /login/common/oauth/revoke HTTP/1.1\r\n"), "{request}");
        let form = form_of(&request);
        assert_eq!(form[0], ("token".to_owned(), REFRESH_TOKEN.to_owned()));
        assert_eq!(form[1], ("token_type_hint".to_owned(), "refresh_token".to_owned()));
    }
    let refused = |code: &str| Err(OAuthError::Refused(code.to_owned()));
    for (status, body, expected) in [
        (400, r#"{"error":"unsupported_token_type"}"#, refused("unsupported_token_type")),
        (401, r#"{"error":"invalid_client"}"#, refused("invalid_client")),
        (404, "", refused("HTTP 404")),
        (503, "", Err(UpstreamError::Status(503).into())),
        (302, "", Err(UpstreamError::Status(302).into())),
    ] {
        let peer = Peer::answering(TestServer::response(status, body)).await;
        assert_eq!(peer.superoffice.revoke(&token).await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn with_basic_the_credentials_are_in_the_header_alone() {
    let server = TestServer::answering(TestServer::response(200, "{}")).await;
    let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    let settings = Settings {
        client_authentication: ClientAuthentication::Basic,
        client_secret: ClientSecret::new("s:cr+t/%=").into(),
        ..settings(&server.url())
    };
    let superoffice = Peer::with_settings(settings, &clock).unwrap();
    superoffice.revoke(&RefreshToken::new(REFRESH_TOKEN)).await.unwrap();
    let request = server.requests().pop().unwrap();
    // `fedcba9876543210fedcba9876543210:s%3Acr%2Bt%2F%25%3D` in Base64, computed with Python.
    let header = "authorization: Basic ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA6cyUzQWNyJTJCdCUyRiUyNSUzRA==\r\n";
    assert!(request.contains(header), "{request}");
    let names: Vec<_> = form_of(&request).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["token", "token_type_hint"]);
}

#[tokio::test]
async fn a_refusal_that_repeats_a_secret_is_not_shown() {
    let (code, verifier) = ("C0deC0deC0deC0de1234", "V3rifierV3rifierV3rifier");
    let basic = basic_credentials("fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef");
    for echoed in [code, verifier, "0123456789abcdef0123456789abcdef", &basic[..40]] {
        let peer = Peer::answering(TestServer::response(400, &format!(r#"{{"error":"{echoed}"}}"#))).await;
        let (code, verifier) = (AuthorizationCode::new(code), CodeVerifier::new(verifier));
        let refused = peer.superoffice.exchange_code(&code, "https://ticketd.example/callback", &verifier).await;
        assert_eq!(refused, Err(OAuthError::Refused("HTTP 400".to_owned())), "{echoed}");
    }
}

fn form_of(request: &str) -> Vec<(String, String)> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn a_code_about_the_tenant_is_told_apart_from_a_refused_grant() {
    use AuthorizeErrorCode::{Denied, Expired, NeedsReapproval, Revoked};
    let refused = async |error: &str, description: &str| {
        let body = serde_json::json!({ "error": error, "error_description": description }).to_string();
        answer_to(400, &body).await.unwrap_err()
    };
    for code in [Revoked, Expired, Denied, NeedsReapproval] {
        for error in ["invalid_grant", "access_denied", "unauthorized_client"] {
            for description in
                [code.to_string(), format!("Authorization error: {code}"), format!("AuthorizeErrorCode {code}")]
            {
                assert_eq!(refused(error, &description).await, OAuthError::Authorization(code), "{description}");
            }
        }
    }
    for description in
        ["Expired", "Revoked", "0", "NoError (0)", "The refresh token has expired", "InvalidSignature (7)"]
    {
        assert_eq!(refused("invalid_grant", description).await, OAuthError::InvalidGrant, "{description}");
    }
    let other = refused("invalid_request", "Authorization error: InvalidRedirectUrl (2)").await;
    assert_eq!(other, OAuthError::Refused("invalid_request".to_owned()));
    let strange = answer_to(400, r#"{"error":"invalid_grant","error_description":["Revoked (1)"]}"#).await;
    assert_eq!(strange, Err(OAuthError::InvalidGrant));
}
