//! Reads a stranger's XML into a small tree. Namespaces are resolved, no entity is known but the five predefined ones,
//! and everything is bounded: what no SOAP message of SuperOffice's has is refused where it stands.

use quick_xml::NsReader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace as Uri, NamespaceError, NamespaceResolver, QName, ResolveResult};
use thiserror::Error;

use super::super::http::MAX_BODY;

/// How deep elements may stand in each other. Real answers go five deep.
const MAX_DEPTH: usize = 32;
/// Real answers have under ten elements, each with an attribute or two.
const MAX_ELEMENTS: usize = 256;
const MAX_ATTRIBUTES: usize = 32;
const MAX_NAMESPACES: usize = 32;
/// A longer text is no name, and copying it would leave pieces of tokens behind.
const MAX_NAME: usize = 64;

/// An element with what is in it.
pub(super) struct Element {
    pub(super) namespace: Namespace,
    pub(super) name: String,
    /// Whether `xsi:nil` says that there is no value.
    pub(super) is_nil: bool,
    pub(super) text: String,
    /// What the text names, when it is a qualified name: its prefix means something only where it stands.
    pub(super) names: Option<(Namespace, String)>,
    pub(super) children: Vec<Element>,
}

/// The namespaces that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    None,
    /// The envelope of SOAP 1.1.
    Envelope,
    /// SuperOffice's service.
    PartnerSystemUser,
    /// WCF's own faults.
    Dispatcher,
    Other,
}

impl Namespace {
    pub(super) const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
    pub(super) const PARTNER_SYSTEM_USER: &str = "http://www.superoffice.com/superid/partnersystemuser/0.1";
    const DISPATCHER: &str = "http://schemas.microsoft.com/net/2005/12/windowscommunicationfoundation/dispatcher";

    fn of(uri: &ResolveResult<'_>) -> Option<Self> {
        match uri {
            ResolveResult::Unbound => Some(Self::None),
            ResolveResult::Bound(Uri(Self::ENVELOPE)) => Some(Self::Envelope),
            ResolveResult::Bound(Uri(Self::PARTNER_SYSTEM_USER)) => Some(Self::PartnerSystemUser),
            ResolveResult::Bound(Uri(Self::DISPATCHER)) => Some(Self::Dispatcher),
            ResolveResult::Bound(_) => Some(Self::Other),
            ResolveResult::Unknown(_) => None,
        }
    }
}

/// Why bytes are not taken as XML. Nothing of them is in it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum XmlError {
    #[error("it is longer than {MAX_BODY} bytes")]
    Size,
    #[error("it is not UTF-8")]
    Encoding,
    #[error("it is not well-formed XML")]
    Malformed,
    #[error("it ends in the middle")]
    Truncated,
    #[error("it has a document type declaration")]
    DocumentType,
    #[error("it has a processing instruction")]
    ProcessingInstruction,
    #[error("it has an entity that is not predefined")]
    Entity,
    #[error("a namespace prefix in it is not bound")]
    Prefix,
    #[error("its elements are nested more than {MAX_DEPTH} deep")]
    Depth,
    #[error("it has more than {MAX_ELEMENTS} elements")]
    Elements,
    #[error("an element has more than {MAX_ATTRIBUTES} attributes")]
    Attributes,
    #[error("it binds more than {MAX_NAMESPACES} namespace prefixes")]
    Namespaces,
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        match error {
            quick_xml::Error::Namespace(NamespaceError::TooManyBindings(_)) => Self::Namespaces,
            quick_xml::Error::Syntax(_) => Self::Truncated,
            _ => Self::Malformed,
        }
    }
}

/// The root element.
pub(super) fn parse(xml: &[u8]) -> Result<Element, XmlError> {
    if xml.len() > MAX_BODY {
        return Err(XmlError::Size);
    }
    let text = std::str::from_utf8(xml).map_err(|_| XmlError::Encoding)?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    reader.resolver_mut().set_max_namespace_bindings(MAX_NAMESPACES);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        // quick-xml itself refuses an end tag that does not match.
        match reader.read_event()? {
            Event::Start(_) if root.is_some() => return Err(XmlError::Malformed),
            Event::Start(_) if open.len() == MAX_DEPTH => return Err(XmlError::Depth),
            Event::Start(_) if elements == MAX_ELEMENTS => return Err(XmlError::Elements),
            Event::Start(start) => {
                elements += 1;
                open.push(Element::open(&start, reader.resolver())?);
            }
            Event::End(_) => {
                let mut element = open.pop().ok_or(XmlError::Malformed)?;
                element.names = named(&element.text, reader.resolver());
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
            Event::Text(text) => append(open.last_mut(), &text.xml10_content())?,
            Event::CData(text) => append(open.last_mut(), &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                append(open.last_mut(), resolved(&reference)?.encode_utf8(&mut [0; 4]))?;
            }
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::PI(_) => return Err(XmlError::ProcessingInstruction),
            Event::Decl(_) if root.is_some() || !open.is_empty() => return Err(XmlError::ProcessingInstruction),
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Eof if open.is_empty() => return root.ok_or(XmlError::Truncated),
            Event::Eof | Event::Empty(_) => return Err(XmlError::Truncated),
        }
    }
}

impl Element {
    fn open(start: &BytesStart<'_>, resolver: &NamespaceResolver) -> Result<Self, XmlError> {
        let mut attributes = 0;
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| XmlError::Malformed)?;
            Namespace::of(&resolver.resolve_attribute(attribute.key).0).ok_or(XmlError::Prefix)?;
            attributes += 1;
            if attributes > MAX_ATTRIBUTES {
                return Err(XmlError::Attributes);
            }
        }
        let (uri, name) = resolver.resolve_element(start.name());
        Ok(Self {
            namespace: Namespace::of(&uri).ok_or(XmlError::Prefix)?,
            name: name.as_ref().to_owned(),
            is_nil: start.attributes().has_nil(resolver),
            text: String::new(),
            names: None,
            children: Vec::new(),
        })
    }

    pub(super) fn is(&self, namespace: Namespace, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

/// Outside the root only white space may stand.
fn append(element: Option<&mut Element>, text: &str) -> Result<(), XmlError> {
    match element {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn resolved(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| XmlError::Malformed)? {
        return Ok(character);
    }
    match &**reference {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(XmlError::Entity),
    }
}

fn named(text: &str, resolver: &NamespaceResolver) -> Option<(Namespace, String)> {
    let text = Some(text.trim()).filter(|text| (1..=MAX_NAME).contains(&text.len()))?;
    let (uri, name) = resolver.resolve(QName(text), true);
    Some((Namespace::of(&uri)?, name.as_ref().to_owned()))
}
