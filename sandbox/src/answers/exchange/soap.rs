//! `PartnerSystemUserService.svc`, in SOAP 1.1 as WCF speaks it.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use roxmltree::{Document, Node};

use super::AuthenticationRequest;
use crate::answers::message;
use crate::delivery::Forgery;
use crate::settings::Settings;
use crate::world::World;

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SERVICE: &str = "http://www.superoffice.com/superid/partnersystemuser/0.1";
const DISPATCHER: &str = "http://schemas.microsoft.com/net/2005/12/windowscommunicationfoundation/dispatcher";
const ADDRESSING: &str = "http://schemas.microsoft.com/ws/2005/05/addressing/none";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const ACTION: &str = "http://www.superoffice.com/superid/partnersystemuser/0.1/IPartnerSystemUserService/Authenticate";
/// As published; its addresses are of a machine inside SuperOffice.
const WSDL: &str = include_str!("../../../wsdl/PartnerSystemUserService.wsdl");
const PUBLISHED_HOSTS: [&str; 2] = ["http://bud2.superoffice.no", "https://bud2.superoffice.no"];

/// Whether a GET asks for the service's description.
pub(in crate::answers) fn is_description(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.eq_ignore_ascii_case("wsdl") || query.eq_ignore_ascii_case("singleWsdl"))
}

/// The service's description, with the sandbox's address in it.
pub(in crate::answers) fn description(world: &World) -> Response {
    let wsdl = PUBLISHED_HOSTS.iter().fold(WSDL.to_owned(), |wsdl, host| {
        wsdl.replace(&format!("location=\"{host}/"), &format!("location=\"{}/", world.base_url))
    });
    xml_answer(StatusCode::OK, wsdl)
}

pub(in crate::answers) fn answer(world: &World, headers: &HeaderMap, body: &[u8], forgery: &Forgery) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !text("content-type").to_ascii_lowercase().starts_with("text/xml") {
        return message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The expected type is text/xml; charset=utf-8.");
    }
    let action = text("soapaction").trim_matches('"');
    if action != ACTION {
        let text = format!("The message with Action '{action}' cannot be processed at the receiver.");
        return fault(&Code::Of(ADDRESSING, "ActionNotSupported"), &text);
    }
    let request = match read(body) {
        Ok(request) => request,
        Err((code, text)) => return fault(&code, text),
    };
    let settings = world.settings();
    match super::exchange(world, &request, forgery, &settings) {
        Ok(jwt) => response(Ok(&jwt), &settings),
        Err((200, message)) => response(Err(&message), &settings),
        // What fails with a status in JSON is an exception in the service, which WCF makes a fault of.
        Err((_, message)) => fault(&Code::Client, &message),
    }
}

/// What a fault's code names.
pub(super) enum Code {
    Client,
    VersionMismatch,
    /// A code of WCF's own, in its namespace.
    Of(&'static str, &'static str),
}

const DESERIALIZATION: Code = Code::Of(DISPATCHER, "DeserializationFailed");
const INTERNAL: Code = Code::Of(DISPATCHER, "InternalServiceFault");

/// Takes names by their namespace, and the body's elements in the order of the description only.
pub(super) fn read(body: &[u8]) -> Result<AuthenticationRequest, (Code, &'static str)> {
    let unreadable = (Code::Client, "The message is no SOAP 1.1 envelope.");
    let Some(document) = std::str::from_utf8(body).ok().and_then(|text| Document::parse(text).ok()) else {
        return Err(unreadable);
    };
    let root = document.root_element();
    if !root.has_tag_name((ENVELOPE, "Envelope")) {
        let is_other_version = root.tag_name().name() == "Envelope";
        return Err(if is_other_version {
            (Code::VersionMismatch, "The envelope is not of SOAP 1.1.")
        } else {
            unreadable
        });
    }
    let parts: Vec<Node<'_, '_>> = root.children().filter(Node::is_element).collect();
    let (header, body) = match parts.as_slice() {
        [header, body] if header.has_tag_name((ENVELOPE, "Header")) => (Some(header), body),
        [body] => (None, body),
        _ => return Err(unreadable),
    };
    let content = body.first_element_child().filter(|_| body.has_tag_name((ENVELOPE, "Body"))).ok_or(unreadable)?;
    if !content.has_tag_name((SERVICE, "AuthenticationRequest")) {
        return Err((DESERIALIZATION, "The body is not an AuthenticationRequest."));
    }
    let mut sequence = ["SignedSystemToken", "ReturnTokenType"].into_iter();
    for member in content.children().filter(Node::is_element) {
        if !sequence.any(|name| member.has_tag_name((SERVICE, name))) {
            return Err((DESERIALIZATION, "The body's elements are not those of the description in its order."));
        }
    }
    let return_token_type = value(content, "ReturnTokenType");
    if return_token_type.as_deref().is_some_and(|kind| !matches!(kind, "Jwt" | "Saml")) {
        return Err((DESERIALIZATION, "ReturnTokenType is neither Jwt nor Saml."));
    }
    let null = (INTERNAL, "The server was unable to process the request due to an internal error.");
    let in_header = |name| header.and_then(|header| value(*header, name));
    match (value(content, "SignedSystemToken"), in_header("ApplicationToken"), in_header("ContextIdentifier")) {
        (Some(signed_system_token), Some(application_token), Some(context_identifier)) => {
            Ok(AuthenticationRequest { signed_system_token, application_token, context_identifier, return_token_type })
        }
        _ => Err(null),
    }
}

/// The text of a child of the service's, unless it is nil.
fn value(parent: Node<'_, '_>, name: &str) -> Option<String> {
    let element = parent.children().find(|child| child.has_tag_name((SERVICE, name)))?;
    let is_nil = matches!(element.attribute((INSTANCE, "nil")), Some("true" | "1"));
    (!is_nil).then(|| element.children().filter_map(|child| child.text().filter(|_| child.is_text())).collect())
}

fn response(outcome: Result<&str, &str>, settings: &Settings) -> Response {
    let member = |name: &str, value: Option<&str>| match value {
        Some(value) => format!("<{name}>{}</{name}>", escaped(value)),
        None if settings.omit_null_members => String::new(),
        None => format!("<{name} i:nil=\"true\" xmlns:i=\"{INSTANCE}\"/>"),
    };
    let content = format!(
        "<AuthenticationResponse xmlns=\"{SERVICE}\"><IsSuccessful>{}</IsSuccessful>{}{}</AuthenticationResponse>",
        outcome.is_ok(),
        member("Token", outcome.ok()),
        member("ErrorMessage", outcome.err()),
    );
    envelope(StatusCode::OK, &content)
}

fn fault(code: &Code, text: &str) -> Response {
    let code = match code {
        Code::Client => "<faultcode>s:Client</faultcode>".to_owned(),
        Code::VersionMismatch => "<faultcode>s:VersionMismatch</faultcode>".to_owned(),
        Code::Of(namespace, name) => format!("<faultcode xmlns:a=\"{namespace}\">a:{name}</faultcode>"),
    };
    let text = escaped(text);
    let content = format!("<s:Fault>{code}<faultstring xml:lang=\"en-US\">{text}</faultstring></s:Fault>");
    envelope(StatusCode::INTERNAL_SERVER_ERROR, &content)
}

fn envelope(status: StatusCode, content: &str) -> Response {
    xml_answer(status, format!("<s:Envelope xmlns:s=\"{ENVELOPE}\"><s:Body>{content}</s:Body></s:Envelope>"))
}

fn xml_answer(status: StatusCode, xml: String) -> Response {
    let mut answer = Response::new(Body::from(xml));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    answer
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
