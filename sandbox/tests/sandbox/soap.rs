use roxmltree::Document;
use superoffice_sandbox::{Behaviour, Endpoint, JwtFlaw, Refusal, Sandbox, Settings};

use crate::partner::{Answer, Scene, is_signed, read};

const SERVICE: &str = "http://www.superoffice.com/superid/partnersystemuser/0.1";
const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const PATH: &str = "/Login/Services/PartnerSystemUserService.svc";
/// SuperOffice's own, with two prefixes for the same namespaces.
const TEMPLATE: &str = include_str!("../../../tests/fixtures/soap/authenticate.request.template.xml");

/// A right request.
fn request(scene: &Scene) -> String {
    let request = scene.request();
    let value = |name: &str| request[name].as_str().unwrap().replace('&', "&amp;");
    TEMPLATE
        .replace("{application_token}", &value("ApplicationToken"))
        .replace("{context_identifier}", &value("ContextIdentifier"))
        .replace("{signed_system_token}", &value("SignedSystemToken"))
}

async fn post(scene: &Scene, content_type: &str, action: &str, body: String) -> Answer {
    let url = format!("{}{PATH}", scene.sandbox.base_url());
    let request = scene.http.post(url).header("Content-Type", content_type).header("SOAPAction", action).body(body);
    read(request.send().await.unwrap()).await.unwrap()
}

async fn exchange(scene: &Scene, body: String) -> Answer {
    let action = format!("\"{SERVICE}/IPartnerSystemUserService/Authenticate\"");
    post(scene, "text/xml;charset=UTF-8", &action, body).await
}

/// A member of the response; nothing when it is nil or absent.
fn member(answer: &Answer, name: &str) -> Option<String> {
    let document = Document::parse(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text));
    let response = document.descendants().find(|node| node.has_tag_name((SERVICE, "AuthenticationResponse")));
    let member = response.unwrap().children().find(|node| node.has_tag_name((SERVICE, name)))?;
    member.text().map(str::to_owned)
}

/// The fault's code and text.
fn fault(answer: &Answer) -> (String, String) {
    let document = Document::parse(&answer.text).unwrap_or_else(|error| panic!("{error}: {}", answer.text));
    let fault = document.descendants().find(|node| node.has_tag_name((ENVELOPE, "Fault")));
    let fault = fault.unwrap_or_else(|| panic!("no fault: {}", answer.text));
    let part = |name| fault.children().find(|node| node.has_tag_name(name)).unwrap().text().unwrap().to_owned();
    (part("faultcode"), part("faultstring"))
}

#[tokio::test]
async fn the_right_request_brings_a_jwt_whatever_its_prefixes() {
    let scene = Scene::new().await;
    let right = request(&scene);
    let other_prefixes = right
        .replace("<SOAP-ENV:", "<s:")
        .replace("</SOAP-ENV:", "</s:")
        .replace("xmlns:SOAP-ENV", "xmlns:s")
        .replace("<tns:ContextIdentifier>", &format!("<ContextIdentifier xmlns=\"{SERVICE}\">"))
        .replace("</tns:ContextIdentifier>", "</ContextIdentifier>");
    let cdata = right.replace(">Cust12345<", "><![CDATA[Cust12345]]><");
    for body in [right, other_prefixes, cdata] {
        let answer = exchange(&scene, body).await;
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (200, &"text/xml; charset=utf-8".parse().unwrap())
        );
        assert_eq!(member(&answer, "IsSuccessful").as_deref(), Some("true"), "{}", answer.text);
        assert_eq!(member(&answer, "ErrorMessage"), None);
        assert!(is_signed(&member(&answer, "Token").unwrap(), &scene.jwks().await));
    }
    scene.jwt().await;
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 4);
    assert_eq!(scene.sandbox.requests(Endpoint::SoapExchange), 3);
    assert_eq!(scene.sandbox.requests(Endpoint::Exchange), 1);
}

#[tokio::test]
async fn what_is_wrong_is_a_response_or_a_fault_and_writes_no_row() {
    let scene = Scene::new().await;
    let right = request(&scene);
    let secret = scene.sandbox.client_secret();
    let wrong_secret = exchange(&scene, right.replace(secret, "wrong")).await;
    assert_eq!(wrong_secret.status, 200);
    assert_eq!(member(&wrong_secret, "IsSuccessful").as_deref(), Some("false"));
    assert_eq!(member(&wrong_secret, "Token"), None);
    assert_eq!(member(&wrong_secret, "ErrorMessage").as_deref(), Some("The application token is not valid."));
    let saml = exchange(&scene, right.replace(">Jwt<", ">Saml<")).await;
    assert!(member(&saml, "ErrorMessage").unwrap().contains("SAML"), "{}", saml.text);

    let swap = |body: &str| {
        let (signed, kind) = ("<ns1:SignedSystemToken>", "<ns1:ReturnTokenType>Jwt</ns1:ReturnTokenType>");
        body.replace(kind, "").replace(signed, &format!("{kind}{signed}"))
    };
    for (wrong, code) in [
        (right.replace(">Cust12345<", ">Cust54321<"), "s:Client"),
        (right.replace(">Jwt<", ">JWT<"), "a:DeserializationFailed"),
        (swap(&right), "a:DeserializationFailed"),
        (right.replace("ns1:AuthenticationRequest", "ns1:AuthenticateRequest"), "a:DeserializationFailed"),
        (right.replace("tns:ApplicationToken", "tns:Token"), "a:InternalServiceFault"),
        (right.replace(SERVICE, "urn:other"), "a:DeserializationFailed"),
        (right.replace(ENVELOPE, "http://www.w3.org/2003/05/soap-envelope"), "s:VersionMismatch"),
        (right.replace("<SOAP-ENV:Envelope", "<!DOCTYPE a><SOAP-ENV:Envelope"), "s:Client"),
        (right[..right.len() - 30].to_owned(), "s:Client"),
        (scene.request().to_string(), "s:Client"),
        (String::new(), "s:Client"),
    ] {
        let answer = exchange(&scene, wrong.clone()).await;
        assert_eq!((answer.status, fault(&answer).0.as_str()), (500, code), "{wrong}");
    }
    let action = post(&scene, "text/xml", "\"urn:other\"", right.clone()).await;
    assert_eq!((action.status, fault(&action).0.as_str()), (500, "a:ActionNotSupported"));
    let soap12 = post(&scene, "application/soap+xml", "", right).await;
    assert_eq!(soap12.status, 415);
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 0);
}

#[tokio::test]
async fn behaviours_and_settings_are_those_of_the_exchange() {
    let settings = Settings { refusal_status: 403, omit_null_members: true, ..Settings::default() };
    let scene = Scene::with(Sandbox::builder().settings(settings)).await;
    let right = request(&scene);
    let fault_of_a_refusal = fault(&exchange(&scene, right.replace(scene.sandbox.client_secret(), "wrong")).await);
    assert_eq!(fault_of_a_refusal, ("s:Client".to_owned(), "The application token is not valid.".to_owned()));
    assert!(!exchange(&scene, right.clone()).await.text.contains("ErrorMessage"));

    scene.sandbox.set_behaviour(Behaviour::Refused(Refusal::Message("<No> & no".to_owned())).times(1));
    let refused = exchange(&scene, right.clone()).await;
    assert_eq!((refused.status, member(&refused, "ErrorMessage").as_deref()), (200, Some("<No> & no")));
    scene.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).for_tenant("cust12345").times(1));
    let refused = exchange(&scene, right.clone()).await;
    assert_eq!(member(&refused, "ErrorMessage").as_deref(), Some("Authorization error: Revoked (1)"));
    scene.sandbox.set_behaviour(Behaviour::Jwt(JwtFlaw::AlgNone).at(Endpoint::SoapExchange).times(1));
    scene.jwt().await;
    let forged = exchange(&scene, right.clone()).await;
    assert!(!is_signed(&member(&forged, "Token").unwrap(), &scene.jwks().await));

    scene.sandbox.set_behaviour(Behaviour::Malformed.times(1));
    let malformed = exchange(&scene, right.clone()).await;
    assert!(malformed.text.starts_with("<s:Envelope") && malformed.text.ends_with("<Token>eyJhbGci"));
    for status in [400, 503] {
        scene.sandbox.set_behaviour(Behaviour::Status(status).times(1));
        let failed = exchange(&scene, right.clone()).await;
        assert!(failed.status == status && failed.text.contains("<html>"), "{}", failed.text);
    }
}

#[tokio::test]
async fn the_description_is_the_published_one_with_the_sandboxs_address() {
    let scene = Scene::new().await;
    let published = include_str!("../../wsdl/PartnerSystemUserService.wsdl");
    let ours = format!("{}/Login/services/PartnerSystemUserService.svc", scene.sandbox.base_url());
    let theirs = ["http", "https"]
        .map(|scheme| format!("{scheme}://bud2.superoffice.no/Login/services/PartnerSystemUserService.svc"));
    for query in ["wsdl", "singleWsdl", "WSDL"] {
        let answer = scene.get(&format!("{PATH}?{query}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text, theirs.iter().fold(published.to_owned(), |wsdl, address| wsdl.replace(address, &ours)));
        let wsdl = Document::parse(&answer.text).unwrap();
        let addresses: Vec<_> = wsdl.descendants().filter_map(|node| node.attribute("location")).collect();
        assert_eq!(addresses, [&ours, &ours]);
    }
    for path in [PATH.to_owned(), format!("{PATH}?disco")] {
        assert_eq!(scene.get(&path).await.status, 405);
    }
}
