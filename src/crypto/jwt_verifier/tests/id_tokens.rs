//! The ID token of a sign-in: every form that is taken, and those that are refused, each with its reason.

use aws_lc_rs::digest::{SHA256, digest};

use super::*;
use crate::crypto::JwtRejection::{
    AccessTokenMismatch, AlgorithmNotAllowed, ClaimMalformed, CodeMismatch, MemberRepeated, NonceMismatch,
    NotThreeParts,
};
use crate::identifiers::{AccessToken, ApplicationId, AuthorizationCode};

const ISSUER: &str = "https://sod.superoffice.com";
const CLIENT_ID: &str = "fedcba9876543210fedcba9876543210";
const NONCE: &str = "xWkQ3n0YpBvGm2h7Z1rTfA9sJdLcE5uVoKi8qNtXeMw";
const ACCESS_TOKEN: &str = "8A:Cust26759.AbC+/def==";
const CODE: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01";

fn half_hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

fn sign_in() -> Value {
    json!({
        "sub": "anna@example.com", "iss": ISSUER, "aud": CLIENT_ID, "nonce": NONCE,
        "iat": NOW, "nbf": NOW - 60, "exp": NOW + 300,
        "at_hash": half_hash(ACCESS_TOKEN), "c_hash": half_hash(CODE),
        own("ctx"): "Cust26759", own("serial"): SERIAL, own("associateid"): "5",
        own("upn"): "anna@example.com", own("email"): "anna.a@example.com", own("is_administrator"): "True",
        own("system_token"): SYSTEM_USER_TOKEN, own("identityprovider"): "central-superid",
        own("netserver_url"): "https://sod.superoffice.com/Cust26759/Remote/Services88/",
    })
}

fn verify_with(
    jwt: &str,
    keys: &VerificationKeys,
    now: Timestamp,
    change: impl FnOnce(&mut IdTokenProfile<'_>),
) -> Result<IdTokenClaims, JwtRejection> {
    let client_id = ApplicationId::new(CLIENT_ID);
    let (access_token, code) = (AccessToken::new(ACCESS_TOKEN), AuthorizationCode::new(CODE));
    let mut profile = IdTokenProfile {
        issuer: ISSUER,
        client_id: &client_id,
        nonce: Some(NONCE),
        access_token: Some(&access_token),
        code: Some(&code),
        leeway: Duration::from_mins(1),
    };
    change(&mut profile);
    verify_id_token(&UnverifiedJwt::new(jwt), keys, &profile, now)
}

fn verify(jwt: &str) -> Result<IdTokenClaims, JwtRejection> {
    verify_with(jwt, &Signer::superoffice().keys(), at(NOW), |_| {})
}

fn verify_claims(claims: &Value) -> Result<IdTokenClaims, JwtRejection> {
    verify(&Signer::superoffice().sign(&header(), claims))
}

#[test]
fn a_sign_in_verifies() {
    let claims = verify_claims(&sign_in()).unwrap();
    assert_eq!(claims.context_identifier.as_str(), "Cust26759");
    assert_eq!(claims.user, "anna@example.com");
    assert_eq!(claims.associate_id.as_deref(), Some("5"));
    assert_eq!(claims.system_user_tokens, [SystemUserToken::new(SYSTEM_USER_TOKEN)]);
    assert!(claims.is_administrator);
    assert_eq!(claims.serial.as_deref(), Some(SERIAL));
    assert_eq!(claims.webapi_url, None);
    assert_eq!(claims.netserver_url.as_deref(), Some("https://sod.superoffice.com/Cust26759/Remote/Services88/"));
    assert!(!format!("{claims:?}").contains("8k8Q7DmBgo"));
}

#[test]
fn every_form_that_superoffice_is_known_to_write_verifies() {
    let set = |claim: &str, value: Value| with(sign_in(), &name(claim), value);
    let remove = |claim: &str| without(sign_in(), &name(claim));
    for (what, claims) in [
        ("iat as a string", set("iat", json!(NOW.to_string()))),
        ("iat absent", remove("iat")),
        ("aud as a list", set("aud", json!([CLIENT_ID]))),
        ("azp is us", set("azp", json!(CLIENT_ID))),
        ("at_hash absent", remove("at_hash")),
        ("c_hash absent", remove("c_hash")),
        ("serial absent", remove("serial")),
        ("associateid absent", remove("associateid")),
        ("webapi_url present", set("webapi_url", json!("https://sod.superoffice.com/Cust26759/api/"))),
        ("webapi_url strange", set("webapi_url", json!([1]))),
        ("unknown claims", with(sign_in(), "amr", json!([{}]))),
    ] {
        let verified = verify_claims(&claims);
        assert!(verified.is_ok(), "{what}: {:?}", verified.err());
    }
}

#[test]
fn the_user_is_the_principal_name_else_the_address_else_the_subject() {
    let without_upn = without(sign_in(), &own("upn"));
    let without_both = without(without_upn.clone(), &own("email"));
    let user = |claims: &Value| verify_claims(claims).unwrap().user;
    assert_eq!(user(&without_upn), "anna.a@example.com");
    assert_eq!(user(&without_both), "anna@example.com");
    assert_eq!(user(&with(sign_in(), &own("upn"), json!(""))), "anna.a@example.com");
    assert_eq!(user(&with(sign_in(), &own("upn"), json!("Blåbær Sønn"))), "Blåbær Sønn");
}

#[test]
fn system_user_tokens_are_there_once_each_or_not_at_all() {
    let tokens =
        |value: Value| verify_claims(&with(sign_in(), &own("system_token"), value)).unwrap().system_user_tokens;
    let (first, second) = ("App-1234567890", "App-0987654321");
    assert_eq!(tokens(json!([first, first])), [SystemUserToken::new(first)]);
    assert_eq!(tokens(json!([first, second])), [first, second].map(SystemUserToken::new));
    assert_eq!(tokens(json!([])), []);
    assert_eq!(verify_claims(&without(sign_in(), &own("system_token"))).unwrap().system_user_tokens, []);
}

#[test]
fn whoever_is_not_said_to_administer_does_not() {
    let administers = |value: Value| {
        verify_claims(&with(sign_in(), &own("is_administrator"), value)).map(|claims| claims.is_administrator)
    };
    for yes in [json!("True"), json!("true"), json!(["True"])] {
        assert_eq!(administers(yes.clone()).ok(), Some(true), "{yes}");
    }
    for no in [json!("False"), json!(""), json!("1"), json!("True "), json!("yes")] {
        assert_eq!(administers(no.clone()).ok(), Some(false), "{no}");
    }
    assert!(!verify_claims(&without(sign_in(), &own("is_administrator"))).unwrap().is_administrator);
}

#[test]
fn a_refresh_has_no_nonce_and_no_code() {
    let superoffice = Signer::superoffice();
    let refreshed = without(without(sign_in(), "nonce"), "c_hash");
    let after_refresh = |claims: &Value| {
        verify_with(&superoffice.sign(&header(), claims), &superoffice.keys(), at(NOW), |profile| {
            profile.nonce = None;
            profile.code = None;
        })
    };
    assert!(after_refresh(&refreshed).is_ok());
    assert!(after_refresh(&with(refreshed.clone(), "nonce", json!("of the sign-in"))).is_ok());
    let other = with(refreshed, "at_hash", json!(half_hash("another")));
    assert_eq!(after_refresh(&other).err(), Some(AccessTokenMismatch));
}

/// Each is signed by SuperOffice's key, so that nothing but the rule it is about refuses it.
#[test]
fn wrong_claims_are_refused_each_for_its_reason() {
    let set = |claim: &str, value: Value| with(sign_in(), &name(claim), value);
    let remove = |claim: &str| without(sign_in(), &name(claim));
    let negatives = [
        ("expired", set("exp", json!(NOW - 60)), Expired),
        ("exp as a string", set("exp", json!((NOW + 300).to_string())), ClaimMalformed("exp")),
        ("no exp", remove("exp"), ClaimMissing("exp")),
        ("not valid yet", set("nbf", json!(NOW + 61)), NotYetValid),
        ("no nbf", remove("nbf"), ClaimMissing("nbf")),
        ("issued in the future", set("iat", json!(NOW + 61)), IssuedInFuture),
        ("another environment", set("iss", json!("https://online.superoffice.com")), IssuerMismatch),
        ("the issuer with a slash", set("iss", json!("https://sod.superoffice.com/")), IssuerMismatch),
        ("the issuer in capitals", set("iss", json!("https://sod.SuperOffice.com")), IssuerMismatch),
        ("a system user token's issuer", set("iss", json!("SuperOffice AS")), IssuerMismatch),
        ("two issuers", set("iss", json!([ISSUER, "https://evil.example"])), ClaimMalformed("iss")),
        ("no issuer", remove("iss"), ClaimMissing("iss")),
        ("another application", set("aud", json!("ffffffffffffffffffffffffffffffff")), AudienceMismatch),
        ("the application in capitals", set("aud", json!(CLIENT_ID.to_uppercase())), AudienceMismatch),
        ("spn: before the application", set("aud", json!(format!("spn:{CLIENT_ID}"))), AudienceMismatch),
        ("another application besides", set("aud", json!([CLIENT_ID, "other"])), ClaimMalformed("aud")),
        ("no audience", remove("aud"), ClaimMissing("aud")),
        ("another authorized party", set("azp", json!("other")), AudienceMismatch),
        ("the authorized party as a number", set("azp", json!(1)), ClaimMalformed("azp")),
        ("another sign-in", set("nonce", json!("another")), NonceMismatch),
        ("the nonce and more", set("nonce", json!(format!("{NONCE}A"))), NonceMismatch),
        ("the start of the nonce", set("nonce", json!(NONCE[..42])), NonceMismatch),
        ("an empty nonce", set("nonce", json!("")), NonceMismatch),
        ("two nonces", set("nonce", json!([NONCE, "another"])), ClaimMalformed("nonce")),
        ("no nonce", remove("nonce"), ClaimMissing("nonce")),
        ("another access token", set("at_hash", json!(half_hash("another"))), AccessTokenMismatch),
        (
            "a whole hash",
            set("at_hash", json!(URL_SAFE_NO_PAD.encode(digest(&SHA256, ACCESS_TOKEN.as_bytes())))),
            AccessTokenMismatch,
        ),
        ("an empty hash", set("at_hash", json!("")), AccessTokenMismatch),
        ("a hash as a number", set("at_hash", json!(1)), ClaimMalformed("at_hash")),
        ("another code", set("c_hash", json!(half_hash("another"))), CodeMismatch),
        ("the access token's hash", set("c_hash", json!(half_hash(ACCESS_TOKEN))), CodeMismatch),
        ("no tenant", remove("ctx"), ClaimMissing("ctx")),
        ("two tenants", set("ctx", json!(["Cust26759", "Cust1"])), ClaimMalformed("ctx")),
        ("no name of a tenant", set("ctx", json!("../Cust1")), ClaimMalformed("ctx")),
        ("no subject", remove("sub"), ClaimMissing("sub")),
        ("two subjects", set("sub", json!(["a", "b"])), ClaimMalformed("sub")),
        ("two users", set("upn", json!(["a@example.com", "b@example.com"])), ClaimMalformed("upn")),
        ("a user with a line break", set("upn", json!("anna@example.com\r\nx")), ClaimMalformed("upn")),
        ("a user that reads otherwise", set("upn", json!("anna\u{202e}@example.com")), ClaimMalformed("upn")),
        ("a user in blanks", set("upn", json!(" anna@example.com")), ClaimMalformed("upn")),
        ("an endless user", set("upn", json!("a".repeat(255))), ClaimMalformed("upn")),
        ("an associate as a number", set("associateid", json!(5)), ClaimMalformed("associateid")),
        ("an endless associate", set("associateid", json!("5".repeat(33))), ClaimMalformed("associateid")),
        ("an administrator by number", set("is_administrator", json!(1)), ClaimMalformed("is_administrator")),
        (
            "an administrator and not",
            set("is_administrator", json!(["False", "True"])),
            ClaimMalformed("is_administrator"),
        ),
        ("a serial as a number", set("serial", json!(7)), ClaimMalformed("serial")),
        ("a system user token as a number", set("system_token", json!(7)), ClaimMalformed("system_token")),
    ];
    println!("ID tokens refused: {}", negatives.len());
    for (what, claims, expected) in negatives {
        assert_eq!(verify_claims(&claims).err(), Some(expected), "{what}");
    }
}

#[test]
fn wrong_forms_and_keys_are_refused_each_for_its_reason() {
    let (superoffice, another) = (Signer::superoffice(), Signer::another());
    let good = superoffice.sign(&header(), &sign_in());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let twice = format!("{{\"nonce\":\"another\",{}", &sign_in().to_string()[1..]);
    for (what, jwt, expected) in [
        ("another key", another.sign(&header(), &sign_in()), SignatureInvalid),
        ("an unknown key", superoffice.sign(&json!({"alg": "RS256", "kid": "other"}), &sign_in()), UnknownKey),
        ("alg none", superoffice.sign(&with(header(), "alg", json!("none")), &sign_in()), AlgorithmNotAllowed),
        ("no signature", format!("{signed}."), NotThreeParts),
        ("a nonce twice", superoffice.sign_by(&RSA_PKCS1_SHA256, &header().to_string(), &twice), MemberRepeated),
        ("a system user token", superoffice.sign(&header(), &claims()), IssuerMismatch),
    ] {
        assert_eq!(verify(&jwt).err(), Some(expected), "{what}");
    }
    let late = verify_with(&good, &superoffice.keys(), at(NOW + 360), |_| {});
    assert_eq!(late.err(), Some(Expired));
    assert!(verify_with(&good, &superoffice.keys(), at(NOW + 359), |_| {}).is_ok());
}

/// A token of a sign-in is none of a system user, though the same key signs both.
#[test]
fn a_sign_in_is_no_system_user() {
    let superoffice = Signer::superoffice();
    let jwt = superoffice.sign(&header(), &with(sign_in(), &own("ticket"), json!(TICKET)));
    assert_eq!(super::verify(&jwt, &superoffice.keys(), at(NOW)).err(), Some(IssuerMismatch));
}

proptest! {
    // Each case signs three tokens.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_claims_make_the_verifier_panic(claim in "(sub|nonce|azp|at_hash|c_hash|aud|iss)", text in "\\PC{0,20}") {
        for value in [json!(text), json!([text]), json!({ "a": text })] {
            drop(verify_claims(&with(sign_in(), &claim, value)));
        }
    }
}
