use super::super::test_server::{Peer, TestServer, settings};
use super::super::{AuthorizeErrorCode, ExchangeError, ExchangeTransport, SuperOffice};
use super::*;
use crate::clock::ManualClock;
use crate::identifiers::{ClientSecret, UnverifiedJwt};

const SIGNED: &str = "My App ø-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM/aaaaBBBB==";

async fn peer(exchange: ExchangeTransport, response: String) -> Peer {
    Peer::serving_over(exchange, TestServer::answering(response).await)
}

async fn exchange_with(superoffice: &SuperOffice) -> Result<UnverifiedJwt, ExchangeError> {
    superoffice.exchange("Cust12345".parse().unwrap(), &SignedSystemToken::new(SIGNED)).await
}

async fn answer_to(status: u16, body: &str) -> Result<UnverifiedJwt, ExchangeError> {
    exchange_with(&peer(ExchangeTransport::Soap, TestServer::response(status, body)).await.superoffice).await
}

fn response(members: &str) -> String {
    let service = Namespace::PARTNER_SYSTEM_USER;
    body(&format!("<AuthenticationResponse xmlns=\"{service}\">{members}</AuthenticationResponse>"))
}

fn fault(code: &str, text: &str) -> String {
    body(&format!("<s:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></s:Fault>"))
}

fn body(content: &str) -> String {
    format!("<s:Envelope xmlns:s=\"{}\"><s:Body>{content}</s:Body></s:Envelope>", Namespace::ENVELOPE)
}

fn refusal(code: Option<AuthorizeErrorCode>, status: Option<u16>, message: &str) -> ExchangeError {
    ExchangeError::Refused { code, status, message: message.to_owned() }
}

#[tokio::test]
async fn the_request_is_the_wsdls() {
    let answer = response("<IsSuccessful>true</IsSuccessful><Token>e.y.J</Token>");
    let peer = peer(ExchangeTransport::Soap, TestServer::response(200, &answer)).await;
    assert_eq!(exchange_with(&peer.superoffice).await, Ok(UnverifiedJwt::new("e.y.J")));
    let request = peer.server.requests().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /login/services/PartnerSystemUserService.svc HTTP/1.1\r\n"), "{head}");
    let action = "http://www.superoffice.com/superid/partnersystemuser/0.1/IPartnerSystemUserService/Authenticate";
    for expected in [
        "content-type: text/xml;charset=UTF-8".to_owned(),
        "accept: text/xml".to_owned(),
        format!("soapaction: \"{action}\""),
    ] {
        assert!(head.lines().any(|line| line == expected), "{expected}: {head}");
    }
    // SuperOffice's own template, but for prefixes and white space.
    let template = include_str!("../../../tests/fixtures/soap/authenticate.request.template.xml")
        .replace("{application_token}", "0123456789abcdef0123456789abcdef")
        .replace("{context_identifier}", "Cust12345")
        .replace("{signed_system_token}", SIGNED);
    assert_eq!(outline(body), outline(&template));
}

/// Names with their namespaces, and texts, in their order.
fn outline(xml: &str) -> String {
    fn outline_of(element: &xml::Element) -> String {
        let children: String = element.children.iter().map(outline_of).collect();
        format!("<{:?} {} {}>{children}</>", element.namespace, element.name, element.text.trim())
    }
    outline_of(&xml::parse(xml.as_bytes()).unwrap_or_else(|error| panic!("{error}: {xml}")))
}

#[test]
fn values_stay_values() {
    let texts = |client_secret: &str, signed: &str| {
        let settings =
            Settings { client_secret: ClientSecret::new(client_secret).into(), ..settings("http://127.0.0.1:1/") };
        let request = request(
            &settings,
            &settings.client_secret.get(),
            "Cust12345".parse().unwrap(),
            &SignedSystemToken::new(signed),
        )?;
        let Content::Soap { body, .. } = request.content else { panic!("another content") };
        let root = xml::parse(&body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)));
        let [header, body] = root.children.as_slice() else { panic!("{} parts", root.children.len()) };
        assert_eq!((header.children.len(), body.children.len(), body.children[0].children.len()), (2, 1, 2));
        Ok((header.children[0].text.clone(), body.children[0].children[0].text.clone()))
    };
    for hostile in [
        "</ApplicationToken>",
        "</p:ApplicationToken></s:Header><s:Body/>",
        "]]>",
        "<![CDATA[",
        "<!--",
        "<!DOCTYPE a>",
        "<?x?>",
        "&amp;",
        "&lol9;",
        "&#0;",
        "a\"b'c<d>e&f",
        "a\r\nb\rc\td",
        "ø漢🐟 \u{85}\u{2028}",
        "",
    ] {
        // What a reader takes for the end of a line is the one thing that may change: NEL and the like are XML 1.1's.
        assert_eq!(texts(hostile, "x"), Ok((hostile.to_owned(), "x".to_owned())));
        assert_eq!(texts("x", hostile), Ok(("x".to_owned(), hostile.to_owned())));
    }
    for impossible in ["\0", "a\u{1}b", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
        assert_eq!(texts("x", impossible), Err(UpstreamError::Unsendable), "{impossible:?}");
        assert_eq!(texts(impossible, "x"), Err(UpstreamError::Unsendable), "{impossible:?}");
    }
}

#[tokio::test]
async fn a_fault_is_judged_by_whom_it_blames() {
    use AuthorizeErrorCode::{InvalidSignature, Revoked};
    for (status, code, text, expected) in [
        (
            500,
            "s:Client",
            "Authorization error: Revoked (1)",
            refusal(Some(Revoked), Some(500), "Authorization error: Revoked (1)"),
        ),
        (
            500,
            "s:Client",
            "Calculated signature is invalid",
            refusal(Some(InvalidSignature), Some(500), "Calculated signature is invalid"),
        ),
        (500, "s:Client", "Nobody&#13;knows", refusal(None, Some(500), "Nobody knows")),
        (500, "s:Client", "", refusal(None, Some(500), "HTTP 500, no reason given")),
        (400, "s:Client", "No", refusal(None, Some(400), "No")),
        (200, "s:Client", "No", refusal(None, None, "No")),
        (
            500,
            "s:Server",
            "System.Exception: Authorization error: Revoked (1)",
            refusal(Some(Revoked), Some(500), "System.Exception: Authorization error: Revoked (1)"),
        ),
        (500, "s:MustUnderstand", "InvalidSignature", refusal(Some(InvalidSignature), Some(500), "InvalidSignature")),
        (500, "s:Server", "NoError (0)", UpstreamError::Fault { message: "NoError (0)".to_owned() }.into()),
        (500, "s:Server", "Revoked", UpstreamError::Fault { message: "Revoked".to_owned() }.into()),
        (500, "s:MustUnderstand", "What?", UpstreamError::Misunderstood { message: "What?".to_owned() }.into()),
        (500, "s:Client", SIGNED, refusal(None, Some(500), "[masked]")),
        (500, "s:Server", SIGNED, UpstreamError::Fault { message: "[masked]".to_owned() }.into()),
    ] {
        assert_eq!(answer_to(status, &fault(code, text)).await, Err(expected), "{status} {code} {text}");
    }
    let detail =
        "<detail><e:Failure xmlns:e=\"urn:e\"><e:Code>7</e:Code><e:Text>InvalidSignature</e:Text></e:Failure></detail>";
    let detailed = fault("s:Server", "Sorry").replace("</s:Fault>", &format!("{detail}</s:Fault>"));
    assert!(detailed.contains(detail));
    assert_eq!(answer_to(500, &detailed).await, Err(refusal(Some(InvalidSignature), Some(500), "Sorry")));
    for body in
        ["", "<html><body>Server Error</body></html>", &fault("s:Client", "No")[..80], &response("<Token>x</Token>")]
    {
        assert_eq!(answer_to(500, body).await, Err(UpstreamError::Status(500).into()), "{body}");
    }
}

#[tokio::test]
async fn a_fault_that_breaks_off_is_a_failure_of_the_service() {
    let whole = TestServer::response(500, &fault("s:Client", "Authorization error: Revoked (1)"));
    let broken = whole[..whole.len() - 40].to_owned();
    let peer = peer(ExchangeTransport::Soap, broken).await;
    assert_eq!(exchange_with(&peer.superoffice).await, Err(UpstreamError::Status(500).into()));
}

#[tokio::test]
async fn a_500_is_an_answer_to_soap_alone() {
    let body = fault("s:Client", "Authorization error: Revoked (1)");
    let peer = peer(ExchangeTransport::Rest, TestServer::response(500, &body)).await;
    assert_eq!(exchange_with(&peer.superoffice).await, Err(UpstreamError::Status(500).into()));
}

#[tokio::test]
async fn the_two_transports_are_tried_in_turn_only_when_nothing_can_have_been_made() {
    let refused = r#"{"IsSuccessful":false,"ErrorMessage":"Authorization error: Revoked (1)"}"#;
    for (status, body, requests) in [
        (404, "", 2),
        (404, "<html><body>404 - File or directory not found.</body></html>", 2),
        (405, "", 2),
        (501, "", 2),
        // The service is there and has spoken, or there is no telling what it did.
        (404, refused, 1),
        (200, refused, 1),
        (200, r#"{"IsSuccessful":true,"Token":"e.y.J"}"#, 1),
        (200, "", 1),
        (200, "{\"IsSuccessful\":true,\"Tok", 1),
        (204, "", 1),
        (302, "", 1),
        (400, "", 1),
        (401, "", 1),
        (403, "", 1),
        (408, "", 1),
        (410, "", 1),
        (415, "", 1),
        (429, "", 1),
        (500, "", 1),
        (502, "", 1),
        (503, "", 1),
        (504, "", 1),
    ] {
        let peer = peer(ExchangeTransport::RestThenSoap, TestServer::response(status, body)).await;
        let both = exchange_with(&peer.superoffice).await;
        let requests_made = peer.server.requests();
        assert_eq!(requests_made.len(), requests, "{status} {body}");
        let over_rest = |request: &String| request.starts_with("POST /Login/api/");
        assert!(over_rest(&requests_made[0]) && !requests_made[1..].iter().any(over_rest), "{status} {body}");
        // Where SOAP is not there either, what REST said stands.
        let alone = self::peer(ExchangeTransport::Rest, TestServer::response(status, body)).await;
        assert_eq!(both, exchange_with(&alone.superoffice).await, "{status} {body}");
    }
    for response in ["HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"IsSuccessful\":true,", "not HTTP at all", ""] {
        let peer = peer(ExchangeTransport::RestThenSoap, response.to_owned()).await;
        let outcome = exchange_with(&peer.superoffice).await;
        assert_eq!((outcome, peer.server.requests().len()), (Err(UpstreamError::Interrupted.into()), 1), "{response}");
    }
}

#[tokio::test]
async fn without_a_connection_both_are_tried_and_the_first_error_stands() {
    let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    let settings = Settings { exchange: ExchangeTransport::RestThenSoap, ..settings("http://127.0.0.1:1/") };
    let error = exchange_with(&Peer::with_settings(settings, &clock).unwrap()).await.unwrap_err();
    assert!(matches!(error, ExchangeError::Upstream(UpstreamError::Connect { .. })), "{error:?}");
}

#[tokio::test]
async fn a_time_out_over_rest_is_not_repeated_over_soap() {
    let Peer { server, clock, superoffice } =
        Peer::serving_over(ExchangeTransport::RestThenSoap, TestServer::hanging("").await);
    let outcome = tokio::select! {
        outcome = exchange_with(&superoffice) => outcome,
        () = async {
            for request in 1.. {
                server.wait_for_requests(request).await;
                clock.advance(std::time::Duration::from_secs(10));
            }
        } => unreachable!("requests are counted without end"),
    };
    assert_eq!((outcome, server.requests().len()), (Err(UpstreamError::TimedOut.into()), 1));
}
