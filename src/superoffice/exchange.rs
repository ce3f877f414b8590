use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

use super::http::{Answer, Http};
use super::message::{self, presentable};
use super::{AuthorizeErrorCode, ExchangeError, Settings, UpstreamError, rest, soap};
use crate::identifiers::{ContextIdentifier, SignedSystemToken, UnverifiedJwt};

/// What exchanges go over. SuperOffice does the same behind both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExchangeTransport {
    /// JSON, which SuperOffice recommends.
    #[default]
    Rest,
    /// SOAP 1.1, the older one.
    Soap,
    /// JSON, and SOAP where that cannot have exchanged anything: no connection came about, or the status is 404 without
    /// a known cause, 405 or 501. After anything else, above all a time-out or an answer that cannot be read, SuperOffice
    /// may have written its row already, and SOAP would write another.
    RestThenSoap,
}

impl FromStr for ExchangeTransport {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "rest" => Ok(Self::Rest),
            "soap" => Ok(Self::Soap),
            "rest-then-soap" => Ok(Self::RestThenSoap),
            _ => Err(UnknownTransport),
        }
    }
}

/// The text names no transport.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected \"rest\", \"soap\" or \"rest-then-soap\"")]
pub struct UnknownTransport;

/// See [`super::SuperOffice::exchange`].
pub(super) async fn exchange(
    http: &Http,
    settings: &Settings,
    context_identifier: ContextIdentifier,
    signed: &SignedSystemToken,
) -> Result<UnverifiedJwt, ExchangeError> {
    let secrets = [signed.expose(), settings.client_secret.expose()];
    let over_rest = async || {
        let answer = http.send(rest::request(settings, context_identifier, signed)?).await?;
        judge(&answer, rest::read(&answer.body), &secrets)
    };
    let over_soap = async || {
        let answer = http.send(soap::request(settings, context_identifier, signed)?).await?;
        judge(&answer, soap::read(&answer.body), &secrets)
    };
    match settings.exchange {
        ExchangeTransport::Rest => over_rest().await,
        ExchangeTransport::Soap => over_soap().await,
        ExchangeTransport::RestThenSoap => match over_rest().await {
            Err(over_rest) if is_not_there(&over_rest) => match over_soap().await {
                Err(over_soap) if is_not_there(&over_soap) => Err(over_rest),
                outcome => outcome,
            },
            outcome => outcome,
        },
    }
}

/// Whether nobody was there who could have exchanged anything.
fn is_not_there(error: &ExchangeError) -> bool {
    match error {
        ExchangeError::Refused { code, status, .. } => code.is_none() && *status == Some(404),
        ExchangeError::Upstream(error) => {
            matches!(error, UpstreamError::Connect { .. } | UpstreamError::Status(405 | 501))
        }
    }
}

/// An answer's body, as its transport reads it.
pub(super) enum Reading {
    Response(AuthenticationResponse),
    Fault(Fault),
}

/// SuperOffice's answer, whatever it is written in. Whether members that are null are sent is not documented.
pub(super) struct AuthenticationResponse {
    pub(super) is_successful: Option<bool>,
    pub(super) token: Option<String>,
    pub(super) error_message: Option<String>,
}

impl AuthenticationResponse {
    /// What a 2xx with it means: it may still be a refusal.
    fn outcome(self, secrets: &[&str]) -> Result<UnverifiedJwt, ExchangeError> {
        match (self.is_successful, self.token, self.error_message) {
            (Some(true), Some(token), _) if !token.is_empty() => Ok(UnverifiedJwt::new(token)),
            (Some(false), _, message) => {
                let message = message.unwrap_or_default();
                Err(refused(AuthorizeErrorCode::find(&message), None, &message, secrets))
            }
            (None, None, Some(message)) if !message.is_empty() => {
                Err(refused(AuthorizeErrorCode::find(&message), None, &message, secrets))
            }
            _ => Err(UpstreamError::Malformed.into()),
        }
    }
}

/// What SOAP has for failures.
pub(super) struct Fault {
    pub(super) code: FaultCode,
    pub(super) text: String,
}

/// Whom a fault blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultCode {
    /// What the request says.
    Client,
    /// The service, or what it needs.
    Server,
    /// The message's form, most often. WCF has codes of its own for that.
    Other,
}

impl Fault {
    fn error(&self, status: u16, secrets: &[&str]) -> ExchangeError {
        let status = Some(status).filter(|status| *status != 200);
        let message = shown(status, &self.text, secrets);
        match self.code {
            FaultCode::Client => ExchangeError::Refused { code: AuthorizeErrorCode::find(&self.text), status, message },
            FaultCode::Server => UpstreamError::Fault { message }.into(),
            FaultCode::Other => UpstreamError::Misunderstood { message }.into(),
        }
    }
}

/// What an answer means, by its status and what its transport read in it.
fn judge(
    answer: &Answer,
    read: Result<Reading, UpstreamError>,
    secrets: &[&str],
) -> Result<UnverifiedJwt, ExchangeError> {
    match (answer.status.as_u16(), read) {
        (status, Ok(Reading::Fault(fault))) => Err(fault.error(status, secrets)),
        (200..300, Ok(Reading::Response(response))) => response.outcome(secrets),
        (200..300, Err(error)) => Err(error.into()),
        (status @ (400 | 401 | 403 | 404 | 409 | 422), read) => {
            let body = String::from_utf8_lossy(&answer.body);
            let said = match read {
                Ok(Reading::Response(AuthenticationResponse { error_message: Some(message), .. }))
                    if !message.trim().is_empty() =>
                {
                    Some(message)
                }
                _ => said(&body),
            };
            let code = said.as_deref().and_then(AuthorizeErrorCode::find).or_else(|| AuthorizeErrorCode::find(&body));
            Err(refused(code, Some(status), said.as_deref().unwrap_or_default(), secrets))
        }
        (status, _) => Err(UpstreamError::Status(status).into()),
    }
}

fn refused(code: Option<AuthorizeErrorCode>, status: Option<u16>, said: &str, secrets: &[&str]) -> ExchangeError {
    let message = shown(status, said, secrets);
    // Whoever logs the failed call may leave this one out among many.
    tracing::debug!(?code, status, message, "SuperOffice refused the exchange");
    ExchangeError::Refused { code, status, message }
}

fn shown(status: Option<u16>, said: &str, secrets: &[&str]) -> String {
    let message = presentable(said, secrets);
    match status {
        _ if !message.is_empty() => message,
        Some(status) => format!("HTTP {status}, no reason given"),
        None => "no reason given".to_owned(),
    }
}

/// The human part of a refusal's body: a member that ASP.NET, WCF or an OAuth server would put it in, a JSON string, or
/// plain text. Markup is for a browser.
fn said(body: &str) -> Option<String> {
    const MEMBERS: [&str; 6] = ["errormessage", "error_description", "message", "detail", "title", "error"];
    let body = body.trim_start_matches('\u{feff}').trim();
    match serde_json::from_str(body) {
        Ok(Value::String(text)) => Some(text),
        Ok(Value::Object(members)) => MEMBERS.into_iter().find_map(|name| {
            let texts = members.iter().filter(|(member, _)| member.eq_ignore_ascii_case(name));
            texts.filter_map(|(_, value)| value.as_str()).find(|text| !text.trim().is_empty()).map(str::to_owned)
        }),
        Ok(Value::Number(number)) => Some(number.to_string()),
        Ok(_) => None,
        Err(_) if body.is_empty() || body.starts_with(['<', '{', '[']) => None,
        Err(_) => Some(message::first(body, 4 * message::MAX_LENGTH).to_owned()),
    }
}
