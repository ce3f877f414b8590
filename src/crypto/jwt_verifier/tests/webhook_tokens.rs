//! The token of a tenant status webhook: what is tolerated, and what is refused, each with its reason.

use super::*;
use crate::crypto::JwtRejection::{
    AlgorithmNotAllowed, ClaimMalformed, EncodingMalformed, NotThreeParts, PurposeMismatch, TooLarge,
};
use crate::identifiers::ApplicationId;

const ISSUER: &str = "https://sod.superoffice.com";
const CLIENT_ID: &str = "fedcba9876543210fedcba9876543210";

fn webhook() -> Value {
    json!({
        "iss": "SuperOffice AS", "aud": format!("spn:{CLIENT_ID}"), "jti": "1",
        "iat": NOW, "nbf": NOW - 60, "exp": NOW + 300, own("ctx"): "Cust26759",
    })
}

fn verify(jwt: &str, leeway: Duration, now: Timestamp) -> Result<WebhookClaims, JwtRejection> {
    let profile = WebhookProfile {
        issuer: ISSUER,
        client_id: &ApplicationId::new(CLIENT_ID),
        context_identifier: "cust26759".parse().unwrap(),
        leeway,
    };
    verify_webhook_token(&UnverifiedJwt::new(jwt), &Signer::superoffice().keys(), &profile, now)
}

fn verify_claims(claims: &Value) -> Result<WebhookClaims, JwtRejection> {
    verify(&Signer::superoffice().sign(&header(), claims), Duration::from_mins(1), at(NOW))
}

#[test]
fn what_is_not_known_is_tolerated() {
    let set = |claim: &str, value: Value| with(webhook(), &name(claim), value);
    for (what, claims) in [
        ("as the sandbox writes it", webhook()),
        ("the environment issued it", set("iss", json!(ISSUER))),
        ("the application without spn:", set("aud", json!(CLIENT_ID))),
        ("the application in capitals", set("aud", json!(format!("SPN:{}", CLIENT_ID.to_uppercase())))),
        ("aud as a list", set("aud", json!([format!("spn:{CLIENT_ID}")]))),
        ("no tenant", without(webhook(), &own("ctx"))),
        ("no nbf", without(webhook(), "nbf")),
        ("no iat", without(webhook(), "iat")),
        ("no jti", without(webhook(), "jti")),
        ("iat as a string", set("iat", json!(NOW.to_string()))),
        ("a serial number", set("serial", json!(SERIAL))),
        ("unknown claims", with(webhook(), "x", json!([{}]))),
    ] {
        let verified = verify_claims(&claims);
        assert!(verified.is_ok(), "{what}: {:?}", verified.err());
    }
}

#[test]
fn wrong_claims_are_refused_each_for_its_reason() {
    let set = |claim: &str, value: Value| with(webhook(), &name(claim), value);
    let remove = |claim: &str| without(webhook(), &name(claim));
    let negatives = [
        ("expired", set("exp", json!(NOW - 60)), Expired),
        ("expired before 1970", set("exp", json!(-1)), Expired),
        ("exp as a string", set("exp", json!((NOW + 300).to_string())), ClaimMalformed("exp")),
        ("no exp", remove("exp"), ClaimMissing("exp")),
        ("not valid yet", set("nbf", json!(NOW + 61)), NotYetValid),
        ("nbf as a string", set("nbf", json!("1")), ClaimMalformed("nbf")),
        ("issued in the future", set("iat", json!(NOW + 61)), IssuedInFuture),
        ("iat as words", set("iat", json!("now")), ClaimMalformed("iat")),
        ("another environment", set("iss", json!("https://online.superoffice.com")), IssuerMismatch),
        ("another issuer", set("iss", json!("Evil AS")), IssuerMismatch),
        ("two issuers", set("iss", json!(["SuperOffice AS", ISSUER])), ClaimMalformed("iss")),
        ("no issuer", remove("iss"), ClaimMissing("iss")),
        ("another application", set("aud", json!("spn:ffffffffffffffffffffffffffffffff")), AudienceMismatch),
        ("a database", set("aud", json!(format!("spn:{SERIAL}"))), AudienceMismatch),
        ("spn: alone", set("aud", json!("spn:")), AudienceMismatch),
        ("spn:// before it", set("aud", json!(format!("spn://{CLIENT_ID}"))), AudienceMismatch),
        ("spn: twice", set("aud", json!(format!("spn:spn:{CLIENT_ID}"))), AudienceMismatch),
        ("the application and more", set("aud", json!(format!("spn:{CLIENT_ID}0"))), AudienceMismatch),
        ("a short audience", set("aud", json!("ä")), AudienceMismatch),
        ("two audiences", set("aud", json!([CLIENT_ID, "other"])), ClaimMalformed("aud")),
        ("no audience", remove("aud"), ClaimMissing("aud")),
        ("another tenant", set("ctx", json!("Cust26760")), ContextIdentifierMismatch),
        ("two tenants", set("ctx", json!(["Cust26759", "Cust26760"])), ClaimMalformed("ctx")),
        ("no name of a tenant", set("ctx", json!("")), ClaimMalformed("ctx")),
        ("a sign-in", set("nonce", json!("x")), PurposeMismatch),
        ("a sign-in, by its access token", set("at_hash", json!("x")), PurposeMismatch),
        ("a sign-in, by its code", set("c_hash", json!("x")), PurposeMismatch),
        ("a system user", set("ticket", json!(TICKET)), PurposeMismatch),
    ];
    println!("webhook tokens refused: {}", negatives.len());
    for (what, claims, expected) in negatives {
        assert_eq!(verify_claims(&claims).err(), Some(expected), "{what}");
    }
}

#[test]
fn wrong_forms_and_keys_are_refused_each_for_its_reason() {
    let (superoffice, another) = (Signer::superoffice(), Signer::another());
    let good = superoffice.sign(&header(), &webhook());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for (what, jwt, expected) in [
        ("another key", another.sign(&header(), &webhook()), SignatureInvalid),
        ("an unknown key", superoffice.sign(&json!({"alg": "RS256", "kid": "other"}), &webhook()), UnknownKey),
        ("alg none", superoffice.sign(&with(header(), "alg", json!("none")), &webhook()), AlgorithmNotAllowed),
        ("alg HS256", superoffice.sign(&with(header(), "alg", json!("HS256")), &webhook()), AlgorithmNotAllowed),
        ("no signature", format!("{signed}."), NotThreeParts),
        ("nothing", String::new(), NotThreeParts),
        ("as in the documentation", "eyJ....".to_owned(), NotThreeParts),
        ("bytes behind", format!("{good}#"), EncodingMalformed),
        ("another payload", format!("{}.e30.{signature}", &signed[..signed.find('.').unwrap()]), SignatureInvalid),
        ("1 MiB", "A".repeat(1 << 20), TooLarge),
        ("a system user token", superoffice.sign(&header(), &claims()), AudienceMismatch),
    ] {
        assert_eq!(verify(&jwt, Duration::from_mins(1), at(NOW)).err(), Some(expected), "{what}");
    }
}

#[test]
fn the_end_includes_the_leeway_and_the_name_is_the_tokens_own() {
    let superoffice = Signer::superoffice();
    let jwt = superoffice.sign(&header(), &webhook());
    let claims = verify(&jwt, Duration::from_mins(1), at(NOW)).unwrap();
    assert_eq!(claims.expires, at(NOW + 360));
    assert_eq!(verify(&jwt, Duration::from_mins(1), claims.expires).err(), Some(Expired));
    assert_eq!(verify(&jwt, Duration::from_mins(1), at(NOW + 30)), Ok(claims));
    let other = verify_claims(&with(webhook(), "jti", json!("2"))).unwrap();
    assert_ne!(other.token_id, claims.token_id);
    let endless = verify_claims(&with(webhook(), "exp", json!(i64::MAX))).unwrap();
    assert_eq!(endless.expires, Timestamp::MAX);
}
