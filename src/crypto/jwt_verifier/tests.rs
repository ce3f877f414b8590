use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

use super::*;
use crate::identifiers::Environment;
use JwtRejection::{
    AudienceMismatch, ClaimMissing, ContextIdentifierMismatch, Expired, IssuedInFuture, IssuerMismatch, NotYetValid,
    SerialMismatch, SignatureInvalid, SystemUserTokenMismatch, UnknownKey,
};

mod id_tokens;
mod refusals;
mod service_accounts;
mod webhook_tokens;

const KID: &str = "16B7FB8C3F9AB06885A800C64E64C97C4AB5E98C";
const X5T: &str = "Frf7jD-asGiFqADGTmTJfEq16Yw";
const NOW: i64 = 1_800_000_000;
const SERIAL: &str = "1801550193";
const TICKET: &str = "7T:MAA3AGYAMQBlAGQAZAAxAGQAZQAwADgAYgAxAGEAYwBkADYAOAA0ADcAMQA2ADkAOQBhADQAZgBiADMAOQAyADsAMQA=";
const SYSTEM_USER_TOKEN: &str = "SuperOffice DevNet Node OIDC-8k8Q7DmBgo";

/// A key on SuperOffice's side, or on an attacker's.
struct Signer(RsaPrivateKey);

impl Signer {
    fn superoffice() -> Self {
        Self::read(include_str!("../../../tests/fixtures/keys/selfmade2048.pkcs8.pem"))
    }

    fn another() -> Self {
        Self::read(include_str!("../../../tests/fixtures/keys/other2048.pkcs8.pem"))
    }

    fn read(pem: &str) -> Self {
        Self(RsaPrivateKey::from_pkcs8_pem(pem).unwrap())
    }

    fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KID, "x5t": X5T,
            "n": encode(&self.0.n_bytes()), "e": encode(&self.0.e_bytes())})
    }

    fn keys(&self) -> VerificationKeys {
        VerificationKeys::from_jwks(json!({"keys": [self.jwk()]}).to_string().as_bytes()).unwrap()
    }

    fn sign_by(&self, padding: &'static dyn RsaEncoding, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = RsaKeyPair::from_pkcs8(self.0.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_by(&RSA_PKCS1_SHA256, &header.to_string(), &claims.to_string())
    }
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": KID, "x5t": X5T, "typ": "JWT"})
}

fn name(claim: &str) -> String {
    const REGISTERED: [&str; 11] =
        ["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "azp", "nonce", "at_hash", "c_hash"];
    if REGISTERED.contains(&claim) { claim.to_owned() } else { own(claim) }
}

fn own(claim: &str) -> String {
    format!("http://schemes.superoffice.net/identity/{claim}")
}

fn claims() -> Value {
    json!({
        "sub": "SuperOffice DevNet Node OIDC", "iss": "SuperOffice AS", "aud": format!("spn:{SERIAL}"),
        "iat": NOW, "nbf": NOW - 60, "exp": NOW + 300,
        own("ctx"): "Cust26759", own("serial"): SERIAL, own("ticket"): TICKET,
        own("system_token"): [SYSTEM_USER_TOKEN, SYSTEM_USER_TOKEN],
        own("is_administrator"): "True", own("identityprovider"): "superid",
        own("netserver_url"): "https://sod.superoffice.com/Cust26759/Remote/Services86/",
        own("webapi_url"): "https://sod.superoffice.com/Cust26759/api/",
    })
}

fn with(mut object: Value, member: &str, value: Value) -> Value {
    object[member] = value;
    object
}

fn without(mut object: Value, member: &str) -> Value {
    object.as_object_mut().unwrap().remove(member).unwrap();
    object
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn verify(jwt: &str, keys: &VerificationKeys, now: Timestamp) -> Result<SystemUserClaims, JwtRejection> {
    let profile = SystemUserProfile {
        context_identifier: "Cust26759".parse().unwrap(),
        system_user_token: &SystemUserToken::new(SYSTEM_USER_TOKEN),
        pinned_serial: Some(SERIAL),
        leeway: Duration::from_mins(1),
    };
    verify_system_user_jwt(&UnverifiedJwt::new(jwt), keys, &profile, now)
}

#[test]
fn a_token_of_superoffices_verifies() {
    let superoffice = Signer::superoffice();
    let jwt = superoffice.sign(&header(), &claims());
    let claims = verify(&jwt, &superoffice.keys(), at(NOW)).unwrap();
    assert_eq!(claims.context_identifier.as_str(), "Cust26759");
    assert_eq!(claims.ticket.expose(), TICKET);
    assert_eq!(claims.serial, SERIAL);
    assert_eq!(claims.webapi_url.as_deref(), Some("https://sod.superoffice.com/Cust26759/api/"));
    assert_eq!(claims.netserver_url.as_deref(), Some("https://sod.superoffice.com/Cust26759/Remote/Services86/"));
    let read = unverified_header(&UnverifiedJwt::new(jwt)).unwrap();
    assert_eq!((read.kid.as_deref(), read.x5t.as_deref()), (Some(KID), Some(X5T)));
    assert_eq!(read.algorithm.to_string(), "RS256");
}

#[test]
fn every_form_that_superoffice_is_known_to_write_verifies() {
    let superoffice = Signer::superoffice();
    let variants = [
        ("kid absent", without(header(), "kid"), claims()),
        ("x5t absent", without(header(), "x5t"), claims()),
        ("typ absent", without(header(), "typ"), claims()),
        ("no key named", json!({"alg": "RS256"}), claims()),
        ("kid is the thumbprint in lower case", json!({"alg": "RS256", "kid": KID.to_ascii_lowercase()}), claims()),
        ("unknown kid, known x5t", with(header(), "kid", json!("other")), claims()),
        ("iat as a string", header(), with(claims(), "iat", json!(NOW.to_string()))),
        ("iat absent", header(), without(claims(), "iat")),
        ("system_token absent", header(), without(claims(), &own("system_token"))),
        ("system_token as a string", header(), with(claims(), &own("system_token"), json!(SYSTEM_USER_TOKEN))),
        ("system_token among others", header(), with(claims(), &own("system_token"), json!(["x", SYSTEM_USER_TOKEN]))),
        ("ctx in lower case", header(), with(claims(), &own("ctx"), json!("cust26759"))),
        ("ctx as a list", header(), with(claims(), &own("ctx"), json!(["Cust26759"]))),
        ("serial repeated in a list", header(), with(claims(), &own("serial"), json!([SERIAL, SERIAL]))),
        ("aud as a list", header(), with(claims(), "aud", json!([format!("spn:{SERIAL}")]))),
        ("ticket as a list", header(), with(claims(), &own("ticket"), json!([TICKET]))),
        ("webapi_url absent", header(), without(claims(), &own("webapi_url"))),
        ("webapi_url strange", header(), with(claims(), &own("webapi_url"), json!({"a": [1]}))),
        ("unknown claims", header(), with(claims(), "nonce", json!({"deep": [[{}]], "big": 1e300}))),
        ("unknown header members", with(header(), "iss", json!("x")), claims()),
        // Keys in the header are not looked at.
        (
            "jku, x5u, x5c, jwk",
            {
                let jku =
                    with(with(header(), "jku", json!("https://evil.example/")), "x5u", json!("https://evil.example/"));
                with(with(jku, "x5c", json!(["AAAA"])), "jwk", Signer::another().jwk())
            },
            claims(),
        ),
    ];
    for (what, header, claims) in variants {
        let verified = verify(&superoffice.sign(&header, &claims), &superoffice.keys(), at(NOW));
        assert!(verified.is_ok(), "{what}: {:?}", verified.err());
    }
}

#[test]
fn the_leeway_ends_on_the_second() {
    let superoffice = Signer::superoffice();
    let keys = superoffice.keys();
    let mut claims = without(claims(), "iat");
    claims["nbf"] = json!(NOW);
    claims["exp"] = json!(NOW + 300);
    let jwt = superoffice.sign(&header(), &claims);
    let nanosecond = Duration::from_nanos(1);
    for (what, now, expected) in [
        ("long before nbf", at(NOW - 61), Some(NotYetValid)),
        ("just before nbf", at(NOW - 60) - nanosecond, Some(NotYetValid)),
        ("on nbf", at(NOW - 60), None),
        ("before exp", at(NOW + 359), None),
        ("just before exp", at(NOW + 360) - nanosecond, None),
        ("on exp", at(NOW + 360), Some(Expired)),
        ("after exp", at(NOW + 361), Some(Expired)),
    ] {
        assert_eq!(verify(&jwt, &keys, now).err(), expected, "{what}");
    }
    for iat in [json!(NOW), json!(NOW.to_string())] {
        let jwt = superoffice.sign(&header(), &with(with(claims.clone(), "nbf", json!(0)), "iat", iat));
        assert_eq!(verify(&jwt, &keys, at(NOW - 61)).err(), Some(IssuedInFuture));
        assert_eq!(verify(&jwt, &keys, at(NOW - 60) - nanosecond).err(), Some(IssuedInFuture));
        assert_eq!(verify(&jwt, &keys, at(NOW - 60)).err(), None);
    }
}

#[test]
fn extreme_times_and_leeways_are_harmless() {
    let superoffice = Signer::superoffice();
    let keys = superoffice.keys();
    let token = SystemUserToken::new(SYSTEM_USER_TOKEN);
    for exp in [i64::MIN, -1, 0, i64::MAX] {
        let jwt = superoffice.sign(&header(), &with(claims(), "exp", json!(exp)));
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, at(NOW), Timestamp::MAX] {
            for leeway in [Duration::ZERO, Duration::MAX] {
                let profile = SystemUserProfile {
                    context_identifier: "Cust26759".parse().unwrap(),
                    system_user_token: &token,
                    pinned_serial: None,
                    leeway,
                };
                drop(verify_system_user_jwt(&UnverifiedJwt::new(jwt.as_str()), &keys, &profile, now));
            }
        }
    }
}

#[test]
fn the_first_serial_is_taken_and_the_tenants_case_is_ignored() {
    let superoffice = Signer::superoffice();
    let profile = SystemUserProfile {
        context_identifier: "CUST26759".parse().unwrap(),
        system_user_token: &SystemUserToken::new(SYSTEM_USER_TOKEN),
        pinned_serial: None,
        leeway: Duration::ZERO,
    };
    let jwt = UnverifiedJwt::new(superoffice.sign(&header(), &claims()));
    let claims = verify_system_user_jwt(&jwt, &superoffice.keys(), &profile, at(NOW)).unwrap();
    assert_eq!(claims.serial, SERIAL);
    assert_eq!(claims.context_identifier.as_str(), "Cust26759");
}

#[test]
fn mismatches_of_the_tenant_are_told_from_bad_tokens() {
    for rejection in [ContextIdentifierMismatch, SystemUserTokenMismatch, SerialMismatch] {
        assert!(rejection.is_tenant_mismatch(), "{rejection}");
    }
    for rejection in [UnknownKey, SignatureInvalid, Expired, AudienceMismatch, IssuerMismatch, ClaimMissing("ctx")] {
        assert!(!rejection.is_tenant_mismatch(), "{rejection}");
    }
    assert_eq!(ClaimMissing("exp").reason(), "claim_missing");
    assert_eq!(ClaimMissing("exp").to_string(), "the token has no `exp` claim");
}

#[test]
fn debug_output_has_no_ticket() {
    let superoffice = Signer::superoffice();
    let claims = verify(&superoffice.sign(&header(), &claims()), &superoffice.keys(), at(NOW)).unwrap();
    assert!(!format!("{claims:?}").contains("7T:"));
}

proptest! {
    #[test]
    fn no_text_makes_the_verifier_panic(text in "(\\.|[A-Za-z0-9_-]|=|\\PC){0,200}") {
        drop(unverified_header(&UnverifiedJwt::new(text.as_str())));
        drop(verify(&text, &VerificationKeys::pinned(Environment::Sod), at(NOW)));
    }

    #[test]
    fn no_header_makes_the_verifier_panic(header in "(\\{|\\}|\"alg\":\"RS256\"|\"kid\":|\"x5t\":|,|:|\"[a-z]{0,3}\"|null|[0-9]|\\PC){0,20}") {
        let jwt = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(&header));
        drop(verify(&jwt, &VerificationKeys::pinned(Environment::Sod), at(NOW)));
    }

    /// Behind a valid signature, too: SuperOffice is a peer.
    #[test]
    fn no_claims_make_the_reader_panic(text in "(\\{|\\}|\\[|\\]|\"exp\":|\"nbf\":|\"iat\":|,|:|\"[a-z]{0,3}\"|null|-?[0-9]{1,20}|\\PC){0,30}") {
        if let Ok(claims) = Claims::read(&URL_SAFE_NO_PAD.encode(&text)) {
            prop_assert_ne!(check_times(&claims, Duration::from_mins(1), at(NOW)), Err(SignatureInvalid));
            prop_assert!(claims.issuer().is_err() || claims.audience().is_err() || claims.ticket().is_err());
        }
    }
}
