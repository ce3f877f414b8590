use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use superoffice_sandbox::{Endpoint, Sandbox, Settings, StartError, ThrowawayPartnerKey};

use crate::partner::{CLAIM, NOW, Scene, claims, header, is_signed, read};

#[tokio::test]
async fn the_right_request_brings_a_jwt_that_verifies() {
    let scene = Scene::new().await;
    let answer = scene.exchange().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json["ErrorMessage"], json!(null));
    assert!(answer.headers.contains_key("content-length"));
    assert_eq!(answer.headers["date"], "Sun, 01 Mar 2026 12:00:30 GMT");

    let jwt = answer.json["Token"].as_str().unwrap();
    assert!(is_signed(jwt, &scene.jwks().await));
    let kid = header(jwt)["kid"].as_str().unwrap().to_owned();
    assert!(kid.len() == 40 && kid.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()), "{kid}");

    let claims = claims(jwt);
    let now = NOW.parse::<Timestamp>().unwrap().as_second();
    assert_eq!((&claims["iat"], &claims["nbf"], &claims["exp"]), (&json!(now), &json!(now - 60), &json!(now + 300)));
    assert_eq!(claims["iss"], "SuperOffice AS");
    assert_eq!(claims["aud"], format!("spn:{}", scene.tenant.serial));
    assert_eq!(claims[format!("{CLAIM}ctx")], "Cust12345");
    assert_eq!(claims[format!("{CLAIM}serial")], scene.tenant.serial);
    assert_eq!(claims[format!("{CLAIM}webapi_url")], scene.tenant.webapi_url);
    assert_eq!(claims[format!("{CLAIM}is_administrator")], "True");
    let token = &scene.tenant.system_user_token;
    assert_eq!(claims[format!("{CLAIM}system_token")], json!([token, token]));
    assert_eq!(scene.sandbox.exchanges("cust12345"), 1);
}

#[tokio::test]
async fn a_ticket_is_made_as_superoffice_makes_it() {
    let scene = Scene::new().await;
    let ticket = scene.ticket().await;
    let utf16 = STANDARD.decode(ticket.strip_prefix("7T:").unwrap()).unwrap();
    let units: Vec<u16> = utf16.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units).unwrap();
    let parts: Vec<&str> = text.split(';').collect();
    let [guid, number, ctx] = parts[..] else { panic!("{text}") };
    assert!(guid.len() == 32 && guid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{text}");
    assert!(number.parse::<i32>().unwrap() >= 0);
    assert_eq!(ctx, "Cust12345");
}

#[tokio::test]
async fn every_exchange_is_a_row_of_its_own() {
    let scene = Scene::new().await;
    let (first, second) = (scene.ticket().await, scene.ticket().await);
    assert_ne!(first, second);
    assert_eq!((scene.use_ticket(&first).await, scene.use_ticket(&second).await), (200, 200));
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 2);
    assert_eq!(scene.sandbox.requests(Endpoint::Exchange), 2);
}

#[tokio::test]
async fn the_time_stamp_may_be_less_than_fifteen_minutes_away() {
    let scene = Scene::new().await;
    // Half past the minute: a stamp of 11:46 is 14 min 30 s old, one of 12:15 is 14 min 30 s ahead.
    for (stamp, accepted) in [("11:45", false), ("11:46", true), ("12:00", true), ("12:15", true), ("12:16", false)] {
        let at = format!("2026-03-01T{stamp}:00Z").parse().unwrap();
        assert_eq!(exchange_signed_at(&scene, at).await, accepted, "{stamp}");
    }
    // On the minute: exactly 15 min is too much on either side.
    scene.sandbox.clock().set_offset(SignedDuration::from_secs(-30));
    for (stamp, accepted) in [("11:45", false), ("11:46", true), ("12:14", true), ("12:15", false)] {
        let at = format!("2026-03-01T{stamp}:00Z").parse().unwrap();
        assert_eq!(exchange_signed_at(&scene, at).await, accepted, "{stamp}");
    }
}

async fn exchange_signed_at(scene: &Scene, at: Timestamp) -> bool {
    let mut request = scene.request();
    request["SignedSystemToken"] = json!(scene.sign(&scene.tenant.system_user_token, at));
    let answer = read(scene.send(&request).await.unwrap()).await.unwrap();
    if answer.json["IsSuccessful"] == false {
        assert_eq!(answer.json["ErrorMessage"], "Authorization error: InvalidTimestamp (6)");
    }
    answer.json["IsSuccessful"] == true
}

#[tokio::test]
async fn a_wrong_request_is_refused_and_writes_no_row() {
    let scene = Scene::new().await;
    let right = scene.request();
    let signed = right["SignedSystemToken"].as_str().unwrap();
    let (message, signature) = signed.rsplit_once('.').unwrap();
    let mut bytes = STANDARD.decode(signature).unwrap();
    bytes[7] ^= 1;
    let forged = format!("{message}.{}", STANDARD.encode(&bytes));
    let unknown = scene.sign("Sandbox Application-0000000000", scene.sandbox.clock().now());
    let wrong = [
        ("SignedSystemToken", forged, 200, "InvalidSignature (7)"),
        ("SignedSystemToken", format!("{message}.AAAA"), 200, "InvalidSignature (7)"),
        ("SignedSystemToken", format!("{message}.%%%%"), 200, "not valid"),
        ("SignedSystemToken", format!("{signed}.AAAA"), 200, "not valid"),
        ("SignedSystemToken", message.to_owned(), 200, "not valid"),
        ("SignedSystemToken", unknown, 400, "not valid"),
        ("ApplicationToken", scene.sandbox.client_id().to_owned(), 200, "application token"),
        ("ContextIdentifier", "Cust54321".to_owned(), 400, "not valid"),
        ("ReturnTokenType", "Saml".to_owned(), 200, "SAML"),
        ("ReturnTokenType", "Kerberos".to_owned(), 400, "ReturnTokenType"),
    ];
    for (member, value, status, text) in wrong {
        let mut request = right.clone();
        request[member] = json!(value);
        let answer = read(scene.send(&request).await.unwrap()).await.unwrap();
        assert_eq!((answer.status, &answer.json["IsSuccessful"]), (status, &json!(false)), "{member} {value}");
        assert!(answer.json["ErrorMessage"].as_str().unwrap().contains(text), "{}", answer.text);
    }
    assert_eq!(read(scene.send(&json!([])).await.unwrap()).await.unwrap().status, 400);
    assert_eq!(scene.sandbox.exchanges("Cust12345"), 0);
    let mut request = right;
    request["ReturnTokenType"] = json!("jwt");
    request["ContextIdentifier"] = json!("CUST12345");
    assert_eq!(read(scene.send(&request).await.unwrap()).await.unwrap().json["IsSuccessful"], true);
}

#[tokio::test]
async fn a_tenants_token_is_good_for_that_tenant_alone() {
    let scene = Scene::new().await;
    scene.sandbox.add_tenant("Cust54321");
    let mut request = scene.request();
    request["ContextIdentifier"] = json!("Cust54321");
    assert_eq!(read(scene.send(&request).await.unwrap()).await.unwrap().status, 400);
}

#[tokio::test]
async fn the_forms_that_have_been_seen_can_be_switched() {
    let settings = Settings {
        jwt_with_kid: false,
        iat_as_string: true,
        system_token_as_array: false,
        webapi_url_claim: false,
        omit_null_members: true,
        refusal_status: 403,
        jwt_life: Duration::from_secs(20),
        ..Settings::default()
    };
    let scene = Scene::with(Sandbox::builder().settings(settings)).await;
    let answer = scene.exchange().await;
    assert!(answer.json.get("ErrorMessage").is_none(), "{}", answer.text);
    let jwt = answer.json["Token"].as_str().unwrap();
    assert!(header(jwt).get("kid").is_none() && is_signed(jwt, &scene.jwks().await));
    let claims = claims(jwt);
    let now = NOW.parse::<Timestamp>().unwrap().as_second();
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(now.to_string()), &json!(now + 20)));
    assert_eq!(claims[format!("{CLAIM}system_token")], scene.tenant.system_user_token);
    assert!(claims.get(format!("{CLAIM}webapi_url")).is_none());

    let mut request = scene.request();
    request["ApplicationToken"] = json!("wrong");
    assert_eq!(read(scene.send(&request).await.unwrap()).await.unwrap().status, 403);
}

#[tokio::test]
async fn partner_keys_of_1024_bits_and_in_xml_are_taken_and_can_be_replaced() {
    let scene = Scene::with(Sandbox::builder().throwaway_partner_key(ThrowawayPartnerKey::Bits1024)).await;
    scene.jwt().await;

    let xml = "<RSAKeyValue>\r\n  <Modulus>x7b4uq7vXQ==</Modulus><Exponent>AQAB</Exponent></RSAKeyValue>";
    assert!(scene.sandbox.replace_partner_public_key(xml).is_err(), "64 bits");
    assert!(scene.sandbox.replace_partner_public_key("no key").is_err());
    scene.jwt().await;

    let public = rsa_key_value(include_str!("../../keys/throwaway-partner-2048.public.pem"));
    scene.sandbox.replace_partner_public_key(&public).unwrap();
    assert_eq!(scene.exchange().await.json["ErrorMessage"], "Authorization error: InvalidSignature (7)");
    let public = rsa_key_value(include_str!("../../keys/throwaway-partner-1024.public.pem"));
    scene.sandbox.replace_partner_public_key(&public).unwrap();
    scene.jwt().await;
}

/// As the Developer Portal writes it, with wrapped Base64.
fn rsa_key_value(pem: &str) -> String {
    use rsa::pkcs8::DecodePublicKey as _;
    use rsa::traits::PublicKeyParts as _;
    let key = rsa::RsaPublicKey::from_public_key_pem(pem).unwrap();
    let mut modulus = STANDARD.encode(key.n_bytes());
    modulus.insert_str(76, "\r\n\t");
    let exponent = STANDARD.encode(key.e_bytes());
    format!("\u{feff}<RSAKeyValue>\n<Modulus>{modulus}</Modulus>\n<Exponent>{exponent}</Exponent>\n</RSAKeyValue>")
}

#[tokio::test]
async fn it_speaks_tls_with_an_authority_of_its_own() {
    let scene = Scene::with(Sandbox::builder().tls(true)).await;
    assert!(scene.sandbox.base_url().starts_with("https://"));
    let ticket = scene.ticket().await;
    assert_eq!(scene.use_ticket(&ticket).await, 200);
}

#[tokio::test]
async fn it_listens_on_loopback_addresses_only() {
    let refused = Sandbox::builder().listen("0.0.0.0:0".parse().unwrap()).start().await;
    assert!(matches!(refused, Err(StartError::NotLoopback(_))));
    let refused = Sandbox::builder().control("[::]:0".parse().unwrap()).start().await;
    assert!(matches!(refused, Err(StartError::NotLoopback(_))));
}

#[tokio::test]
async fn starting_is_quick() {
    #[expect(clippy::disallowed_methods, reason = "a figure for people, measured on the machine")]
    let begin = Instant::now();
    let sandbox = Sandbox::builder().tls(true).start().await.unwrap();
    let took = begin.elapsed();
    println!("a sandbox with TLS starts in {took:?}");
    // Generous: a loaded machine should not fail the test, generating a key at the start should.
    assert!(took < Duration::from_secs(1), "{took:?}");
    sandbox.shutdown().await;
}
