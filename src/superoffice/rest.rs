use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::exchange::{AuthenticationResponse, Reading};
use super::http::{Content, Purpose, Request};
use super::said::Said;
use super::{Settings, UpstreamError};
use crate::identifiers::{ClientSecret, ContextIdentifier, SignedSystemToken};

/// SuperOffice's documentation spells it so.
const PATH: &str = "/Login/api/PartnerSystemUser/Authenticate";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AuthenticateRequest<'a> {
    signed_system_token: &'a str,
    application_token: &'a str,
    context_identifier: &'a str,
    return_token_type: &'static str,
}

/// The case of names is not documented for sure.
#[derive(Deserialize)]
struct AuthenticateResponse {
    #[serde(default, rename = "IsSuccessful", alias = "isSuccessful")]
    is_successful: Option<bool>,
    #[serde(default, rename = "Token", alias = "token")]
    token: Option<String>,
    /// Whatever else is there, and says what went wrong if something did.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The exchange as a JSON request.
pub(super) fn request(
    settings: &Settings,
    client_secret: &ClientSecret,
    context_identifier: ContextIdentifier,
    signed: &SignedSystemToken,
) -> Result<Request<'static>, UpstreamError> {
    let request = AuthenticateRequest {
        signed_system_token: signed.expose(),
        application_token: client_secret.expose(),
        context_identifier: context_identifier.as_str(),
        return_token_type: "JWT",
    };
    let body = serde_json::to_vec(&request).map_err(|_| UpstreamError::Malformed)?;
    Ok(Request {
        path: PATH,
        content: Content::Json(body),
        purpose: Purpose::Exchange,
        tenant: Some(context_identifier),
        timeout: settings.request_timeout,
    })
}

/// Reads the JSON of an answer.
pub(super) fn read(body: &[u8]) -> Result<Reading, UpstreamError> {
    let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let AuthenticateResponse { is_successful, token, others } =
        serde_json::from_slice(json).map_err(|_| UpstreamError::Malformed)?;
    let said = Said::of_members(&others);
    Ok(Reading::Response(AuthenticationResponse { is_successful, token, said }))
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::test_server::{Peer, TestServer};
    use super::super::{AuthorizeErrorCode, ExchangeError};
    use super::*;
    use crate::identifiers::UnverifiedJwt;

    const SIGNED: &str = "My App ø-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM/aaaaBBBB==";

    fn signed() -> SignedSystemToken {
        SignedSystemToken::new(SIGNED)
    }

    fn tenant() -> ContextIdentifier {
        "Cust12345".parse().unwrap()
    }

    async fn exchange_with(peer: &Peer) -> Result<UnverifiedJwt, ExchangeError> {
        peer.superoffice.exchange(tenant(), &signed()).await
    }

    async fn answer_to(status: u16, body: &str) -> Result<UnverifiedJwt, ExchangeError> {
        exchange_with(&Peer::answering(TestServer::response(status, body)).await).await
    }

    fn refusal(code: Option<AuthorizeErrorCode>, status: Option<u16>, message: &str) -> ExchangeError {
        ExchangeError::Refused { code, status, message: message.to_owned() }
    }

    #[tokio::test]
    async fn the_request_is_the_documented_one() {
        let peer = Peer::answering(TestServer::response(200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#)).await;
        assert_eq!(exchange_with(&peer).await, Ok(UnverifiedJwt::new("e.y.J")));
        let request = peer.server.requests().pop().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /Login/api/PartnerSystemUser/Authenticate HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        for expected in [
            "content-type: application/json".to_owned(),
            "accept: application/json".to_owned(),
            format!("user-agent: ticketd/{}", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(head.lines().any(|line| line == expected), "{head}");
        }
        for absent in ["accept-encoding", "cookie", "authorization", "referer"] {
            assert!(!head.contains(absent), "{head}");
        }
        let body: Value = serde_json::from_str(body).unwrap();
        let expected = serde_json::json!({
            "SignedSystemToken": SIGNED,
            "ApplicationToken": "0123456789abcdef0123456789abcdef",
            "ContextIdentifier": "Cust12345",
            "ReturnTokenType": "JWT",
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn successes_are_read_leniently() {
        for body in [
            r#"{"IsSuccessful":true,"Token":"e.y.J","ErrorMessage":null}"#,
            r#"{"isSuccessful":true,"token":"e.y.J"}"#,
            r#" {"ErrorMessage":"","Extra":{"a":[1,2]},"Token":"e.y.J","IsSuccessful":true} "#,
            "\u{feff}{\"IsSuccessful\":true,\"Token\":\"e.y.J\"}",
        ] {
            assert_eq!(answer_to(200, body).await, Ok(UnverifiedJwt::new("e.y.J")), "{body}");
        }
    }

    #[tokio::test]
    async fn what_is_neither_success_nor_refusal_is_malformed() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let deep_member = format!(r#"{{"IsSuccessful":true,"Token":{deep}}}"#);
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "true",
            "\"e.y.J\"",
            r#"{"IsSuccessful":true}"#,
            r#"{"IsSuccessful":true,"Token":null}"#,
            r#"{"IsSuccessful":true,"Token":""}"#,
            r#"{"IsSuccessful":true,"Token":["e.y.J"]}"#,
            r#"{"IsSuccessful":"true","Token":"e.y.J"}"#,
            r#"{"IsSuccessful":null,"Token":"e.y.J"}"#,
            r#"{"Token":"e.y.J"}"#,
            r#"{"IsSuccessful":true,"Token":"e.y.J""#,
            r#"{"IsSuccessful":true,"Token":"e.y.J"}x"#,
            r#"{"IsSuccessful":true,"Token":"e.y.J","Token":"e.y.K"}"#,
            r#"{"IsSuccessful":true,"IsSuccessful":false,"Token":"e.y.J"}"#,
            "<html><body>Service is being upgraded</body></html>",
            &deep,
            &deep_member,
        ] {
            assert_eq!(answer_to(200, body).await, Err(UpstreamError::Malformed.into()), "{body:.60}");
        }
        assert_eq!(answer_to(204, "").await, Err(UpstreamError::Malformed.into()));
    }

    #[tokio::test]
    async fn a_200_may_be_a_refusal() {
        for (body, code, message) in [
            (
                r#"{"IsSuccessful":false,"Token":null,"ErrorMessage":"Calculated signature is invalid"}"#,
                Some(AuthorizeErrorCode::InvalidSignature),
                "Calculated signature is invalid",
            ),
            (r#"{"isSuccessful":false,"errorMessage":"Nobody\u0000 knows"}"#, None, "Nobody  knows"),
            (r#"{"IsSuccessful":false,"Token":"e.y.J"}"#, None, "no reason given"),
            (r#"{"ErrorMessage":"Revoked"}"#, Some(AuthorizeErrorCode::Revoked), "Revoked"),
        ] {
            assert_eq!(answer_to(200, body).await, Err(refusal(code, None, message)));
        }
    }

    #[tokio::test]
    async fn a_refusal_by_status_is_read_from_any_body() {
        use AuthorizeErrorCode::{Expired, InvalidTimestamp, Revoked};
        for (status, body, code, message) in [
            (
                400,
                r#"{"IsSuccessful":false,"ErrorMessage":"Authorization error: Expired (3)"}"#,
                Some(Expired),
                "Authorization error: Expired (3)",
            ),
            (401, "The supplied timestamp is invalid\r\n", Some(InvalidTimestamp), "The supplied timestamp is invalid"),
            (403, "<html><body>403 - Forbidden: Access is denied.</body></html>", None, "HTTP 403, no reason given"),
            (404, "", None, "HTTP 404, no reason given"),
            (409, r#""Unknown token""#, None, "Unknown token"),
            (422, r#"{"AuthorizeErrorCode":1,"title":"No","trace":["x"]}"#, Some(Revoked), "No"),
            (400, r#"{"Error":true,"ErrorType":"SoNotFound","ErrorMessage":"Not found"}"#, None, "Not found"),
            (400, r#"{"error":"invalid","error_description":"It is"}"#, None, "It is"),
            (400, "{\"broken", None, "HTTP 400, no reason given"),
        ] {
            assert_eq!(answer_to(status, body).await, Err(refusal(code, Some(status), message)), "{body}");
        }
    }

    #[tokio::test]
    async fn other_statuses_are_no_refusals() {
        for (status, transient) in [
            (408, true),
            (500, true),
            (502, true),
            (503, true),
            (504, true),
            (302, false),
            (307, false),
            (405, false),
            (410, false),
            (421, false),
        ] {
            let error = answer_to(status, r#"{"IsSuccessful":false,"ErrorMessage":"No"}"#).await.unwrap_err();
            assert_eq!(error, UpstreamError::Status(status).into());
            assert_eq!(error.is_transient(), transient, "{status}");
            // From a proxy's status nothing is believed, whatever comes with it.
            let with_a_code = answer_to(status, r#"{"IsSuccessful":false,"ErrorMessage":"InvalidSignature"}"#).await;
            let told = refusal(Some(AuthorizeErrorCode::InvalidSignature), Some(status), "InvalidSignature");
            let is_believed = matches!(status, 405 | 410 | 421 | 500);
            assert_eq!(with_a_code, Err(if is_believed { told } else { error }), "{status}");
        }
    }

    #[tokio::test]
    async fn echoed_secrets_are_masked() {
        let secret = "0123456789abcdef0123456789abcdef";
        let body = serde_json::json!({"IsSuccessful": false, "ErrorMessage": format!("no {SIGNED} for {secret}")});
        assert_eq!(answer_to(200, &body.to_string()).await, Err(refusal(None, None, "no [masked] for [masked]")));
        assert_eq!(
            answer_to(403, "token My%20App%20%C3%B8-8k8Q7DmBgo").await,
            Err(refusal(None, Some(403), "(withheld: the text repeats a secret)"))
        );
        assert_eq!(
            answer_to(401, &format!(r#"{{"Message":"{}"}}"#, &SIGNED[..20])).await,
            Err(refusal(None, Some(401), "[masked]"))
        );
    }
}
