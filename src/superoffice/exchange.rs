use std::str::FromStr;

use thiserror::Error;

use super::http::{Answer, Http};
use super::message::presentable;
use super::said::Said;
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
    let client_secret = settings.client_secret.get();
    let secrets = [signed.expose(), client_secret.expose()];
    let over_rest = async || {
        let request = rest::request(settings, &client_secret, context_identifier, signed)?;
        http.ask(request, |answer| judge(&answer, rest::read(&answer.body), &secrets)).await
    };
    let over_soap = async || {
        let request = soap::request(settings, &client_secret, context_identifier, signed)?;
        http.ask(request, |answer| judge(&answer, soap::read(&answer.body), &secrets)).await
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
    pub(super) said: Said,
}

impl AuthenticationResponse {
    /// What a 2xx with it means: it may still be a refusal.
    fn outcome(self, secrets: &[&str]) -> Result<UnverifiedJwt, ExchangeError> {
        match (self.is_successful, self.token, self.said) {
            (Some(true), Some(token), _) if !token.is_empty() => Ok(UnverifiedJwt::new(token)),
            (Some(false), _, said) | (None, None, said @ Said { message: Some(_), .. }) => {
                Err(refused(said, None, secrets))
            }
            _ => Err(UpstreamError::Malformed.into()),
        }
    }
}

/// What SOAP has for failures.
pub(super) struct Fault {
    pub(super) code: FaultCode,
    pub(super) text: String,
    /// What stands in its detail. A server's own words may be anything, so they are only searched for a code.
    pub(super) details: Vec<String>,
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
        let find = match self.code {
            FaultCode::Client => AuthorizeErrorCode::find,
            FaultCode::Server | FaultCode::Other => AuthorizeErrorCode::find_in_passing,
        };
        let in_passing = || self.details.iter().find_map(|text| AuthorizeErrorCode::find_in_passing(text));
        match (find(&self.text).or_else(in_passing), self.code) {
            (code @ Some(_), _) | (code, FaultCode::Client) => ExchangeError::Refused { code, status, message },
            (None, FaultCode::Server) => UpstreamError::Fault { message }.into(),
            (None, FaultCode::Other) => UpstreamError::Misunderstood { message }.into(),
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
            let said = match read {
                Ok(Reading::Response(AuthenticationResponse { said, .. })) if said.code.is_some() => said,
                _ => Said::of_body(&String::from_utf8_lossy(&answer.body)),
            };
            Err(refused(said, Some(status), secrets))
        }
        (status, Ok(Reading::Response(AuthenticationResponse { said, .. }))) if said.code.is_some() => {
            Err(refused(said, Some(status), secrets))
        }
        (status, _) => Err(UpstreamError::Status(status).into()),
    }
}

fn refused(said: Said, status: Option<u16>, secrets: &[&str]) -> ExchangeError {
    let Said { code, message } = said;
    let message = shown(status, message.as_deref().unwrap_or_default(), secrets);
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
