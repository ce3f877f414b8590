//! What can go wrong, and where.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::duration;
use crate::endpoint::Endpoint;
use crate::jwt_flaw::{IdTokenFlaw, JwtFlaw, WrongTenant};

/// One thing that goes wrong. By itself it goes wrong everywhere, for every tenant and for good; [`Knob`] limits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// The answer comes this much later.
    Slow(#[serde(with = "duration")] Duration),
    /// The answer does not come until the behaviour is cleared; then it is the true one.
    Hang,
    /// The connection is closed without an answer.
    Drop,
    /// This HTTP status with a body as IIS would write it: HTML from 500 and to SOAP, else JSON.
    Status(u16),
    /// 429 with this `Retry-After`, in seconds or an HTTP date; none when empty.
    Throttled(String),
    /// 503 with this `Retry-After`.
    Unavailable(String),
    /// 302 to this URL.
    Redirect(String),
    /// This answer, whatever the request.
    Answer(CannedAnswer),
    /// 200 with JSON, or a SOAP message, that stops in the middle of a token.
    Malformed,
    /// 200 with this many bytes, announced by `Content-Length`.
    HugeBody(u64),
    /// 200 with a body that never ends and announces no length.
    EndlessBody,
    /// 200 with 800 KiB of headers.
    HugeHeaders,
    /// The true answer, cut in the middle, whereupon the connection is closed.
    TruncatedBody,
    /// The true answer, one byte at a time, this far apart.
    DrippingBody(#[serde(with = "duration")] Duration),
    /// An exchange is answered 200 with `IsSuccessful: false`. No ticket is made.
    Refused(Refusal),
    /// An exchange, or a request for tokens, succeeds with a JWT that must not be trusted.
    Jwt(JwtFlaw),
    /// An exchange, or a request for tokens, succeeds with a JWT that is another tenant's, in part or wholly.
    WrongTenant(WrongTenant),
    /// A request for tokens succeeds with an ID token that is not the sign-in's, or with none.
    IdToken(IdTokenFlaw),
    /// A sign-in redirects with this OAuth error; tokens and revocations are answered with it.
    #[serde(rename = "oauth-error")]
    OAuthError(String),
}

/// An answer that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CannedAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body: `application/json` when it begins like an object or an array, else `text/html`.
    pub body: String,
}

/// What a refused exchange says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Refusal {
    /// One of SuperOffice's `AuthorizeErrorCode`s, 1 to 7, as its user interface words them.
    Code(u8),
    /// This `ErrorMessage`.
    Message(String),
}

impl Refusal {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Code(code) => {
                let name = match code {
                    0 => "NoError",
                    1 => "Revoked",
                    2 => "InvalidRedirectUrl",
                    3 => "Expired",
                    4 => "Denied",
                    5 => "NeedsReapproval",
                    6 => "InvalidTimestamp",
                    7 => "InvalidSignature",
                    _ => "Unknown",
                };
                format!("Authorization error: {name} ({code})")
            }
            Self::Message(message) => message.clone(),
        }
    }
}

impl Behaviour {
    /// Only at this endpoint.
    #[must_use]
    pub fn at(self, endpoint: Endpoint) -> Knob {
        Knob::from(self).at(endpoint)
    }

    /// Only for this tenant.
    #[must_use]
    pub fn for_tenant(self, context_identifier: &str) -> Knob {
        Knob::from(self).for_tenant(context_identifier)
    }

    /// Only for the next requests, this many.
    #[must_use]
    pub fn times(self, times: u32) -> Knob {
        Knob::from(self).times(times)
    }

    pub(crate) fn is_possible_at(&self, endpoint: Endpoint) -> bool {
        match self {
            Self::Refused(_) => matches!(endpoint, Endpoint::Exchange | Endpoint::SoapExchange),
            Self::Jwt(_) | Self::WrongTenant(_) => {
                matches!(endpoint, Endpoint::Exchange | Endpoint::SoapExchange | Endpoint::Tokens)
            }
            Self::IdToken(_) => endpoint == Endpoint::Tokens,
            Self::OAuthError(_) => matches!(endpoint, Endpoint::Authorize | Endpoint::Tokens | Endpoint::Revoke),
            _ => true,
        }
    }
}

/// A behaviour and the requests it concerns.
///
/// Read from text as `NAME[=VALUE][,endpoint=ENDPOINT][,tenant=TENANT][,times=N]`, for example `slow=500ms`,
/// `status=503,endpoint=jwks`, `refused=1,tenant=Cust12345` or `jwt=expired,times=1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knob {
    /// What goes wrong.
    pub behaviour: Behaviour,
    /// The only endpoint concerned. Absent: every endpoint where it is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The only tenant concerned. Absent: every request, also those that name no tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How many requests are concerned. Absent: all until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl Knob {
    /// Only at this endpoint.
    #[must_use]
    pub fn at(self, endpoint: Endpoint) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }

    /// Only for this tenant.
    #[must_use]
    pub fn for_tenant(self, context_identifier: &str) -> Self {
        Self { tenant: Some(context_identifier.to_owned()), ..self }
    }

    /// Only for the next requests, this many.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

impl From<Behaviour> for Knob {
    fn from(behaviour: Behaviour) -> Self {
        Self { behaviour, endpoint: None, tenant: None, times: None }
    }
}

/// A knob's text that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("knob `{text}`: {cause}")]
pub struct KnobError {
    text: String,
    cause: serde_json::Error,
}

impl FromStr for Knob {
    type Err = KnobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut members = Map::new();
        let mut behaviour = text;
        // From the end, since a value may have commas of its own: an HTTP date has.
        while let Some((rest, option)) = behaviour.rsplit_once(',') {
            match option.split_once('=') {
                Some(("times", value)) => members.insert("times".to_owned(), json_or_text(value)),
                Some((key @ ("endpoint" | "tenant"), value)) => members.insert(key.to_owned(), json!(value)),
                _ => break,
            };
            behaviour = rest;
        }
        let behaviour = match behaviour.split_once('=') {
            Some((name, value)) => {
                let textual = matches!(name, "throttled" | "unavailable" | "redirect" | "oauth-error");
                json!({ name: if textual { json!(value) } else { json_or_text(value) } })
            }
            None => json!(behaviour),
        };
        members.insert("behaviour".to_owned(), behaviour);
        serde_json::from_value(Value::Object(members)).map_err(|cause| KnobError { text: text.to_owned(), cause })
    }
}

fn json_or_text(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_is_read_from_text() {
        let knob = |text: &str| text.parse::<Knob>().unwrap();
        assert_eq!(knob("slow=500ms"), Behaviour::Slow(Duration::from_millis(500)).into());
        assert_eq!(
            knob("status=503,endpoint=tenant-state,tenant=Cust1,times=2"),
            Behaviour::Status(503).at(Endpoint::TenantState).for_tenant("Cust1").times(2)
        );
        assert_eq!(knob("refused=1"), Behaviour::Refused(Refusal::Code(1)).into());
        assert_eq!(knob("refused=Go away"), Behaviour::Refused(Refusal::Message("Go away".to_owned())).into());
        assert_eq!(knob("throttled=30"), Behaviour::Throttled("30".to_owned()).into());
        assert_eq!(
            knob("throttled=Wed, 21 Oct 2026 07:28:00 GMT,times=1"),
            Behaviour::Throttled("Wed, 21 Oct 2026 07:28:00 GMT".to_owned()).times(1)
        );
        assert_eq!(knob("jwt=alg-none"), Behaviour::Jwt(JwtFlaw::AlgNone).into());
        assert_eq!(knob("oauth-error=invalid_grant"), Behaviour::OAuthError("invalid_grant".to_owned()).into());
        assert_eq!(knob("id-token=wrong-nonce"), Behaviour::IdToken(IdTokenFlaw::WrongNonce).into());
        assert_eq!(knob("hang"), Behaviour::Hang.into());
        let body = r#"{"Message":"no, never"}"#.to_owned();
        assert_eq!(
            knob(r#"answer={"status":403,"body":"{\"Message\":\"no, never\"}"},times=1"#),
            Behaviour::Answer(CannedAnswer { status: 403, body }).times(1)
        );
        assert!("slowly".parse::<Knob>().is_err());
    }

    #[test]
    fn a_refusal_by_code_is_worded_as_the_user_interface_words_it() {
        assert_eq!(Refusal::Code(2).message(), "Authorization error: InvalidRedirectUrl (2)");
    }
}
