//! What a SOAP 1.1 message of SuperOffice's says: a response or a fault.

use thiserror::Error;

use super::super::exchange::{AuthenticationResponse, Fault, FaultCode, Reading};
use super::super::said::Said;
use super::xml::{self, Element, Namespace, XmlError};

/// Why a message is not understood. Nothing of it is in it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum EnvelopeError {
    #[error(transparent)]
    Xml(#[from] XmlError),
    #[error("it is no SOAP envelope")]
    NoEnvelope,
    #[error("it is the envelope of another version of SOAP than 1.1")]
    Version,
    #[error("its body holds something else than one answer of the service")]
    Body,
    #[error("it has {0} twice")]
    Repeated(&'static str),
    #[error("its {0} is not of its type")]
    Value(&'static str),
}

/// Reads a whole message. Prefixes mean nothing, namespaces do.
pub(super) fn read(xml: &[u8]) -> Result<Reading, EnvelopeError> {
    let root = xml::parse(xml)?;
    if !root.is(Namespace::Envelope, "Envelope") {
        return Err(if root.name == "Envelope" { EnvelopeError::Version } else { EnvelopeError::NoEnvelope });
    }
    let body = only(&root, &[Namespace::Envelope], "Body")?.ok_or(EnvelopeError::Body)?;
    let [content] = body.children.as_slice() else { return Err(EnvelopeError::Body) };
    if content.is(Namespace::Envelope, "Fault") {
        return Ok(Reading::Fault(fault(content)?));
    }
    if !content.is(Namespace::PartnerSystemUser, "AuthenticationResponse") {
        return Err(EnvelopeError::Body);
    }
    Ok(Reading::Response(AuthenticationResponse {
        is_successful: text(content, "IsSuccessful")?.map(|text| boolean(&text)).transpose()?,
        token: text(content, "Token")?,
        said: Said::of(text(content, "ErrorMessage")?.as_deref()),
    }))
}

/// A member of the response, if it is there and not nil.
fn text(response: &Element, name: &'static str) -> Result<Option<String>, EnvelopeError> {
    match only(response, &[Namespace::PartnerSystemUser], name)? {
        Some(member) if !member.children.is_empty() => Err(EnvelopeError::Value(name)),
        Some(member) if !member.is_nil => Ok(Some(member.text.clone())),
        _ => Ok(None),
    }
}

/// The two spellings of each value of `xs:boolean`.
fn boolean(text: &str) -> Result<bool, EnvelopeError> {
    match text.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(EnvelopeError::Value("IsSuccessful")),
    }
}

fn fault(fault: &Element) -> Result<Fault, EnvelopeError> {
    // SOAP 1.1 leaves them unqualified. Some servers do not.
    let part = |name| only(fault, &[Namespace::None, Namespace::Envelope], name);
    let named = part("faultcode")?.and_then(|code| code.names.as_ref());
    let code = match named.map(|(namespace, name)| (*namespace, name.split('.').next().unwrap_or_default())) {
        Some((Namespace::Envelope | Namespace::None, "Client")) => FaultCode::Client,
        Some((Namespace::Envelope | Namespace::None, "Server") | (Namespace::Dispatcher, "InternalServiceFault")) => {
            FaultCode::Server
        }
        _ => FaultCode::Other,
    };
    let text = part("faultstring")?.map(|said| said.text.clone()).unwrap_or_default();
    let mut details = Vec::new();
    if let Some(detail) = part("detail")? {
        collect(detail, &mut details);
    }
    Ok(Fault { code, text, details })
}

/// Every text in an element, whatever it is called: what a detail holds is each service's own.
fn collect(element: &Element, texts: &mut Vec<String>) {
    texts.push(element.text.clone());
    element.children.iter().for_each(|child| collect(child, texts));
}

/// The child of this name, which must not be there twice: two readers would not take the same one.
fn only<'a>(
    parent: &'a Element,
    namespaces: &[Namespace],
    name: &'static str,
) -> Result<Option<&'a Element>, EnvelopeError> {
    let is_meant = |child: &&Element| namespaces.iter().any(|namespace| child.is(*namespace, name));
    let mut found = parent.children.iter().filter(is_meant);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(EnvelopeError::Repeated(name)),
        (child, None) => Ok(child),
    }
}

#[cfg(test)]
mod tests;
