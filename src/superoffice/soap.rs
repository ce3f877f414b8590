mod envelope;
mod xml;

use std::borrow::Cow;

use super::exchange::Reading;
use super::http::{Content, Purpose, Request};
use super::{Settings, UpstreamError};
use crate::identifiers::{ClientSecret, ContextIdentifier, SignedSystemToken};
use xml::Namespace;

const PATH: &str = "/login/services/PartnerSystemUserService.svc";

/// With the quotes that SOAP 1.1 wants around it.
const ACTION: &str =
    "\"http://www.superoffice.com/superid/partnersystemuser/0.1/IPartnerSystemUserService/Authenticate\"";

/// The exchange as a SOAP 1.1 request, document/literal, with names and order as in the service's WSDL.
pub(super) fn request(
    settings: &Settings,
    client_secret: &ClientSecret,
    context_identifier: ContextIdentifier,
    signed: &SignedSystemToken,
) -> Result<Request<'static>, UpstreamError> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <s:Envelope xmlns:s=\"{envelope}\" xmlns:p=\"{service}\">\
         <s:Header>\
         <p:ApplicationToken>{application_token}</p:ApplicationToken>\
         <p:ContextIdentifier>{context_identifier}</p:ContextIdentifier>\
         </s:Header>\
         <s:Body>\
         <p:AuthenticationRequest>\
         <p:SignedSystemToken>{signed_system_token}</p:SignedSystemToken>\
         <p:ReturnTokenType>Jwt</p:ReturnTokenType>\
         </p:AuthenticationRequest>\
         </s:Body>\
         </s:Envelope>",
        envelope = Namespace::ENVELOPE,
        service = Namespace::PARTNER_SYSTEM_USER,
        application_token = escaped(client_secret.expose())?,
        context_identifier = escaped(context_identifier.as_str())?,
        signed_system_token = escaped(signed.expose())?,
    );
    let content = Content::Soap { action: ACTION, body: body.into_bytes() };
    let tenant = Some(context_identifier);
    Ok(Request { path: PATH, content, purpose: Purpose::Exchange, tenant, timeout: settings.request_timeout })
}

/// Reads the envelope of an answer.
pub(super) fn read(body: &[u8]) -> Result<Reading, UpstreamError> {
    envelope::read(body).map_err(|error| {
        tracing::debug!(%error, "SuperOffice's SOAP message is not understood");
        UpstreamError::Malformed
    })
}

/// A value as it stands in an element. Some characters cannot stand in XML, escaped or not.
fn escaped(value: &str) -> Result<Cow<'_, str>, UpstreamError> {
    let is_possible = |character| match character {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => character >= ' ',
    };
    if value.chars().all(is_possible) { Ok(quick_xml::escape::escape(value)) } else { Err(UpstreamError::Unsendable) }
}

#[cfg(test)]
mod tests;
