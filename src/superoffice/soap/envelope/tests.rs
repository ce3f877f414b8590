use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::super::http::MAX_BODY;
use super::*;

const ENVELOPE: &str = Namespace::ENVELOPE;
const SERVICE: &str = Namespace::PARTNER_SYSTEM_USER;
/// No message may keep a thread for longer.
const PATIENCE: Duration = Duration::from_millis(50);

/// A response with these members, as WCF writes it.
fn response(members: &str) -> String {
    body(&format!("<AuthenticationResponse xmlns=\"{SERVICE}\">{members}</AuthenticationResponse>"))
}

fn body(content: &str) -> String {
    format!("<s:Envelope xmlns:s=\"{ENVELOPE}\"><s:Body>{content}</s:Body></s:Envelope>")
}

type Members = (Option<bool>, Option<String>, Option<String>);

/// What a message's response says; it holds one.
fn members(xml: &str) -> Result<Members, EnvelopeError> {
    match read(xml.as_bytes())? {
        Reading::Response(response) => Ok((response.is_successful, response.token, response.said.message)),
        Reading::Fault(fault) => panic!("a fault: {}", fault.text),
    }
}

fn success(token: &str) -> Members {
    (Some(true), Some(token.to_owned()), None)
}

#[test]
fn what_counts_is_namespaces_and_never_prefixes() {
    let shape = include_str!("../../../../tests/fixtures/soap/authenticate.response.shape.xml");
    assert_eq!(members(&shape.replace("{jwt}", "e.y.J")), Ok(success("e.y.J")));
    let nil = "xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\" i:nil";
    for message in [
        format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n{}",
            response("<IsSuccessful>true</IsSuccessful><Token>e.y.J</Token>")
        ),
        // Members in another order, a nil one, unknown ones, comments, white space.
        response(&format!(
            "\r\n <Token>e.y.J</Token><!-- x --><ErrorMessage {nil}=\"true\"/><IsSuccessful> 1 </IsSuccessful><New a=\"b\"><Token>x</Token></New>\r\n"
        )),
        // One namespace under two prefixes, as in SuperOffice's own sample; the envelope's as the default.
        format!(
            "<Envelope xmlns=\"{ENVELOPE}\" xmlns:a=\"{SERVICE}\" xmlns:b=\"{SERVICE}\"><Header><x xmlns=\"\"/></Header><Body><a:AuthenticationResponse><b:IsSuccessful>true</b:IsSuccessful><a:Token>e.y.J</a:Token></a:AuthenticationResponse></Body></Envelope>"
        ),
        // A member of the same name in no namespace, or in another, is another member.
        response(
            "<IsSuccessful>true</IsSuccessful><Token>e.y.J</Token><Token xmlns=\"\">x</Token><o:Token xmlns:o=\"urn:o\">x</o:Token>",
        ),
        // The same text in pieces.
        response("<IsSuccessful><![CDATA[true]]></IsSuccessful><Token>e<![CDATA[.y]]>&#46;&#x4A;</Token>"),
    ] {
        assert_eq!(members(&message), Ok(success("e.y.J")), "{message}");
    }
    assert_eq!(
        members(&response(
            "<IsSuccessful>false</IsSuccessful><Token/><ErrorMessage>&lt;a&gt; &amp;&apos;&quot;</ErrorMessage>"
        )),
        Ok((Some(false), Some(String::new()), Some("<a> &'\"".to_owned())))
    );
    assert_eq!(members(&response("")), Ok((None, None, None)));
    assert_eq!(members(&response(&format!("<Token {nil}=\"1\">x</Token>"))), Ok((None, None, None)));
    assert_eq!(members(&response("<Token nil=\"true\">x</Token>")), Ok((None, Some("x".to_owned()), None)));
}

#[test]
fn faults_blame_by_their_qualified_code() {
    use FaultCode::{Client, Other, Server};
    let wcf = "xmlns:a=\"http://schemas.microsoft.com/net/2005/12/windowscommunicationfoundation/dispatcher\"";
    for (code, expected) in [
        ("<faultcode>s:Client</faultcode>".to_owned(), Client),
        ("<faultcode> s:Client.Authentication\r\n</faultcode>".to_owned(), Client),
        ("<faultcode>Client</faultcode>".to_owned(), Client),
        (format!("<faultcode xmlns:q=\"{ENVELOPE}\">q:Client</faultcode>"), Client),
        ("<s:faultcode>s:Client</s:faultcode>".to_owned(), Client),
        ("<faultcode>s:Server</faultcode>".to_owned(), Server),
        (format!("<faultcode {wcf}>a:InternalServiceFault</faultcode>"), Server),
        (format!("<faultcode {wcf}>a:DeserializationFailed</faultcode>"), Other),
        ("<faultcode>s:VersionMismatch</faultcode>".to_owned(), Other),
        ("<faultcode>s:MustUnderstand</faultcode>".to_owned(), Other),
        ("<faultcode xmlns:s=\"urn:other\">s:Client</faultcode>".to_owned(), Other),
        ("<faultcode>unbound:Client</faultcode>".to_owned(), Other),
        (format!("<faultcode>s:{}</faultcode>", "Client.".repeat(100)), Other),
        ("<faultcode/>".to_owned(), Other),
        (String::new(), Other),
    ] {
        let fault = format!(
            "<s:Fault>{code}<faultstring xml:lang=\"en-US\">No &amp; no</faultstring><detail><x/></detail></s:Fault>"
        );
        match read(body(&fault).as_bytes()) {
            Ok(Reading::Fault(fault)) => assert_eq!((fault.code, fault.text.as_str()), (expected, "No & no"), "{code}"),
            Ok(Reading::Response(_)) => panic!("a response"),
            Err(error) => panic!("{error}: {code}"),
        }
    }
}

/// A name, a message, and why it is refused.
type Hostile = (&'static str, Vec<u8>, EnvelopeError);

fn hostile() -> Vec<Hostile> {
    [hostile_xml(), hostile_envelopes()].concat()
}

/// Not well-formed, or with what no message needs.
fn hostile_xml() -> Vec<Hostile> {
    use XmlError::{
        Attributes, Depth, DocumentType, Elements, Encoding, Entity, Malformed, Namespaces, Prefix,
        ProcessingInstruction, Size, Truncated,
    };
    let good = response("<IsSuccessful>true</IsSuccessful><Token>e.y.J</Token>");
    let laughs: String = (1..10).fold("<!ENTITY l0 \"lol\">".to_owned(), |mut entities, level| {
        let _ = write!(entities, "<!ENTITY l{level} \"{}\">", format!("&l{};", level - 1).repeat(10));
        entities
    });
    let token = |value: &str| response(&format!("<IsSuccessful>true</IsSuccessful><Token>{value}</Token>"));
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let attributes = |count: usize, prefix: &str| {
        (0..count).fold(String::new(), |mut all, index| {
            let _ = write!(all, " {prefix}a{index}=\"b\"");
            all
        })
    };
    let element = |attributes: &str| token(&format!("<a{attributes}/>"));
    let mut truncated = good.clone();
    truncated.truncate(good.len() - 20);
    let xml = [
        ("nothing", String::new(), Truncated),
        ("white space", " \r\n".to_owned(), Truncated),
        ("text", "e.y.J".to_owned(), Malformed),
        ("JSON", "{\"IsSuccessful\":true,\"Token\":\"e.y.J\"}".to_owned(), Malformed),
        ("a billion laughs", format!("<!DOCTYPE lolz [{laughs}]>{}", token("&l9;")), DocumentType),
        ("laughs without end", format!("<!DOCTYPE l [{}", laughs.repeat(100)), Truncated),
        (
            "an external entity",
            format!("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>{}", token("&x;")),
            DocumentType,
        ),
        ("an external document type", format!("<!DOCTYPE a SYSTEM \"http://192.0.2.1/a.dtd\">{good}"), DocumentType),
        ("a document type within", token("<!DOCTYPE a>"), DocumentType),
        ("a document type behind", format!("{good}<!DOCTYPE a>"), DocumentType),
        ("an HTML page", "<!DOCTYPE html>\r\n<html><body>Upgrading</body></html>".to_owned(), DocumentType),
        ("an entity that nobody declared", token("&x;"), Entity),
        ("an entity of HTML", token("&nbsp;"), Entity),
        ("a reference to no character", token("&#0;"), Malformed),
        ("a reference to a surrogate", token("&#xD800;"), Malformed),
        ("a huge reference", token(&format!("&#{};", "9".repeat(10_000))), Malformed),
        ("an ampersand", token("a & b"), Malformed),
        ("a processing instruction", token("<?php system(1) ?>"), ProcessingInstruction),
        ("a style sheet", format!("<?xml-stylesheet href=\"http://192.0.2.1/\"?>{good}"), ProcessingInstruction),
        ("a declaration within", token("<?xml version=\"1.0\"?>"), ProcessingInstruction),
        ("33 levels", token(&nested(30)), Depth),
        ("as many levels as fit", token(&nested((MAX_BODY - 400) / 7)), Depth),
        ("levels without end", "<a>".repeat(MAX_BODY / 3), Depth),
        ("as many elements as fit", token(&"<a/>".repeat(MAX_BODY / 4 - 100)), Elements),
        ("33 attributes", element(&attributes(33, "")), Attributes),
        ("10^5 attributes", element(&attributes(100_000, "")), Size),
        ("as many attributes as fit", element(&attributes(6_000, "")), Attributes),
        ("10^5 namespaces", element(&attributes(100_000, "xmlns:")), Size),
        ("as many namespaces as fit", element(&attributes(4_000, "xmlns:")), Namespaces),
        ("33 namespaces", element(&attributes(33, "xmlns:")), Namespaces),
        ("the same attribute twice", element(" a=\"1\" a=\"2\""), Malformed),
        ("an attribute without value", element(" a"), Malformed),
        ("namespaces over many elements", token(&"<a xmlns:b=\"urn:b\" xmlns:c=\"urn:c\">".repeat(20)), Namespaces),
        ("a prefix that nothing binds", token("<x:a/>"), Prefix),
        ("an attribute with such a prefix", element(" x:a=\"1\""), Prefix),
        ("another namespace for xml", element(" xmlns:xml=\"urn:x\""), Malformed),
        ("a message that ends early", truncated, Truncated),
        ("a tag that ends early", good[..good.len() - 1].to_owned(), Truncated),
        ("an open element", format!("{good}<a>"), Malformed),
        ("an end tag of another element", good.replace("</Token>", "</ErrorMessage>"), Malformed),
        ("an end tag too many", format!("{good}</a>"), Malformed),
        ("text behind it", format!("{good}x"), Malformed),
        ("a second message behind it", format!("{good}{good}"), Malformed),
        ("text before it", format!("x{good}"), Malformed),
        ("an open CDATA section", token("<![CDATA[x"), Truncated),
        ("an open comment", token("<!-- x"), Truncated),
    ]
    .map(|(name, message, error)| (name, message.into_bytes(), EnvelopeError::from(error)));
    let mut not_utf8 = good.clone().into_bytes();
    not_utf8.extend(b"\xff\xfe");
    let utf16 = format!("\u{feff}{good}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let encoded = [("bytes that are no UTF-8", not_utf8), ("UTF-16", utf16)]
        .map(|(name, message)| (name, message, EnvelopeError::from(Encoding)));
    xml.into_iter().chain(encoded).collect()
}

/// Well-formed, and not what the service says.
fn hostile_envelopes() -> Vec<Hostile> {
    let good = response("<IsSuccessful>true</IsSuccessful><Token>e.y.J</Token>");
    let soap12 = "http://www.w3.org/2003/05/soap-envelope";
    let other = "urn:other";
    let twice = |member: &str| response(&format!("{member}{member}"));
    [
        ("the envelope of SOAP 1.2", good.replace(ENVELOPE, soap12), EnvelopeError::Version),
        ("an envelope in another namespace", good.replace(ENVELOPE, other), EnvelopeError::Version),
        ("an envelope in no namespace", good.replace("s:", "").replace(ENVELOPE, ""), EnvelopeError::Version),
        ("an HTML page without a type", "<html><body/></html>".to_owned(), EnvelopeError::NoEnvelope),
        (
            "a response without an envelope",
            format!("<AuthenticationResponse xmlns=\"{SERVICE}\"/>"),
            EnvelopeError::NoEnvelope,
        ),
        ("no body", format!("<s:Envelope xmlns:s=\"{ENVELOPE}\"/>"), EnvelopeError::Body),
        ("a body in no namespace", good.replace("s:Body", "Body"), EnvelopeError::Body),
        ("an empty body", body(""), EnvelopeError::Body),
        ("the response in another namespace", good.replace(SERVICE, other), EnvelopeError::Body),
        ("the response in no namespace", good.replace(&format!(" xmlns=\"{SERVICE}\""), ""), EnvelopeError::Body),
        (
            "the response in a namespace of another case",
            good.replace(SERVICE, &SERVICE.to_uppercase()),
            EnvelopeError::Body,
        ),
        ("the response with the action's name", good.replace("AuthenticationR", "AuthenticateR"), EnvelopeError::Body),
        ("another case of its name", good.replace("AuthenticationR", "authenticationR"), EnvelopeError::Body),
        ("two responses", good.replace("<s:Body>", "<s:Body><a/>"), EnvelopeError::Body),
        ("a fault in no namespace", body("<Fault/>"), EnvelopeError::Body),
        ("a fault beside a response", good.replace("<s:Body>", "<s:Body><s:Fault/>"), EnvelopeError::Body),
        ("two bodies", good.replace("</s:Body>", "</s:Body><s:Body/>"), EnvelopeError::Repeated("Body")),
        ("two tokens", twice("<Token>e.y.J</Token>"), EnvelopeError::Repeated("Token")),
        ("two successes", twice("<IsSuccessful>true</IsSuccessful>"), EnvelopeError::Repeated("IsSuccessful")),
        (
            "two codes",
            body(&format!("<s:Fault>{}</s:Fault>", "<faultcode>s:Client</faultcode>".repeat(2))),
            EnvelopeError::Repeated("faultcode"),
        ),
        ("a token with an element", good.replace("e.y.J", "e.<y/>.J"), EnvelopeError::Value("Token")),
        ("neither true nor false", response("<IsSuccessful>TRUE</IsSuccessful>"), EnvelopeError::Value("IsSuccessful")),
        ("an empty boolean", response("<IsSuccessful/>"), EnvelopeError::Value("IsSuccessful")),
    ]
    .map(|(name, message, error)| (name, message.into_bytes(), error))
    .into()
}

fn time(message: &[u8]) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "what is measured is the machine's time")]
    let begin = Instant::now();
    let _ = read(message);
    begin.elapsed()
}

#[test]
fn hostile_messages_are_typed_errors_at_once() {
    let hostile = hostile();
    let mut slowest = Duration::ZERO;
    let mut wrong = Vec::new();
    for (name, message, expected) in &hostile {
        let error = read(message).err();
        if error != Some(*expected) {
            wrong.push(format!("{name}: {error:?} in place of {expected:?}"));
        }
        // The best of three: a loaded machine may take the processor away, and a message cannot.
        let took = (0..3).map(|_| time(message)).min().unwrap();
        assert!(took <= PATIENCE, "{took:?} for {name}");
        slowest = slowest.max(took);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("hostile SOAP messages refused: all of {}, the slowest in {slowest:?}", hostile.len());
    assert_eq!(members(&response(&format!("<Token>{}</Token>", "e".repeat(60_000)))).unwrap().1.unwrap().len(), 60_000);
}

#[test]
fn what_is_refused_is_not_repeated() {
    for (name, message, error) in hostile() {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("e.y.J") && !shown.contains("passwd"), "{name}: {shown}");
        drop(message);
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_change_of_a_good_message_is_a_panic(at in 0_usize..200, with in "[<>&;:\"'=/!?\\[\\] a-z\u{0}]{0,6}") {
        let mut message = response("<IsSuccessful>true</IsSuccessful><Token a='b'>e.y.J&amp;<![CDATA[x]]></Token>");
        message.insert_str(message.floor_char_boundary(at), &with);
        let _ = read(message.as_bytes());
    }
}
