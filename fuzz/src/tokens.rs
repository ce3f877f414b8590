use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rsa::pkcs8::SecretDocument;
use serde_json::json;
use ticketd::crypto::{
    IdTokenProfile, JwtAlgorithm, ServiceAccountProfile, SystemUserProfile, VerificationKeys, WebhookProfile,
    service_account_token_header, unverified_header, verify_id_token, verify_service_account_token,
    verify_system_user_jwt, verify_webhook_token,
};
use ticketd::identifiers::{AccessToken, ApplicationId, AuthorizationCode, SystemUserToken, UnverifiedJwt};

const ISSUER: &str = "https://sod.superoffice.com";
const CLIENT_ID: &str = "fedcba9876543210fedcba9876543210";
const TENANT: &str = "Cust26759";
const LEEWAY: Duration = Duration::from_mins(1);

static NOW: LazyLock<Timestamp> = LazyLock::new(|| Timestamp::from_second(1_800_000_000).unwrap());

/// SuperOffice's key: behind its signature parsers see what they else would not.
struct Signer {
    key: RsaKeyPair,
    keys: VerificationKeys,
}

static SUPEROFFICE: LazyLock<Signer> = LazyLock::new(|| {
    let pem = include_str!("../../tests/fixtures/keys/selfmade2048.pkcs8.pem");
    let (_, der) = SecretDocument::from_pem(pem).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.as_bytes()).unwrap();
    let public = key.public_key();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "RSA", "kid": "a", "n": number(public.modulus().big_endian_without_leading_zero()),
        "e": number(public.exponent().big_endian_without_leading_zero())});
    let keys = VerificationKeys::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    Signer { key, keys }
});

/// A token: a header on a line and the claims after it, which are signed; or, without a line end, as it stands.
fn token(input: &[u8]) -> Option<UnverifiedJwt> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return Some(UnverifiedJwt::new(std::str::from_utf8(input).ok()?));
    };
    let (header, claims) = input.split_at(end);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims[1..]));
    let key = &SUPEROFFICE.key;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    Some(UnverifiedJwt::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

fn check_header(jwt: &UnverifiedJwt) {
    // What verifies has an algorithm of ours, whatever else its header says.
    assert!(unverified_header(jwt).is_ok_and(|header| header.algorithm == JwtAlgorithm::Rs256));
}

/// The JWT around a ticket.
pub(crate) fn system_user_jwt(input: &[u8]) {
    let Some(jwt) = token(input) else { return };
    let system_user_token = SystemUserToken::new("App-8k8Q7DmBgo");
    let context_identifier = TENANT.parse().unwrap();
    let profile = SystemUserProfile {
        context_identifier,
        system_user_token: &system_user_token,
        pinned_serial: Some("1801550193"),
        leeway: LEEWAY,
    };
    if let Ok(claims) = verify_system_user_jwt(&jwt, &SUPEROFFICE.keys, &profile, *NOW) {
        check_header(&jwt);
        assert_eq!((claims.context_identifier, claims.serial.as_str()), (context_identifier, "1801550193"));
        assert!(claims.ticket.expose().bytes().all(|byte| byte.is_ascii_graphic()), "it goes into a header");
    }
}

/// The ID token of a sign-in.
pub(crate) fn id_token(input: &[u8]) {
    let Some(jwt) = token(input) else { return };
    let client_id = ApplicationId::new(CLIENT_ID);
    let (access_token, code) = (AccessToken::new("8A:Cust26759.AbC"), AuthorizationCode::new("code"));
    let profile = IdTokenProfile {
        issuer: ISSUER,
        client_id: &client_id,
        nonce: Some("nonce"),
        access_token: Some(&access_token),
        code: Some(&code),
        leeway: LEEWAY,
    };
    if let Ok(claims) = verify_id_token(&jwt, &SUPEROFFICE.keys, &profile, *NOW) {
        check_header(&jwt);
        assert!((1..=254).contains(&claims.user.len()) && !claims.user.chars().any(char::is_control));
    }
}

/// The token of a tenant status webhook.
pub(crate) fn webhook_token(input: &[u8]) {
    let Some(jwt) = token(input) else { return };
    let client_id = ApplicationId::new(CLIENT_ID);
    let profile = WebhookProfile {
        issuer: ISSUER,
        client_id: &client_id,
        context_identifier: TENANT.parse().unwrap(),
        leeway: LEEWAY,
    };
    if let Ok(claims) = verify_webhook_token(&jwt, &SUPEROFFICE.keys, &profile, *NOW) {
        check_header(&jwt);
        assert!(claims.expires > *NOW, "its replay is remembered as long as it is good");
    }
}

/// A Kubernetes service account's token.
pub(crate) fn service_account_token(input: &[u8]) {
    let Some(jwt) = token(input) else { return };
    let profile = ServiceAccountProfile { issuer: "https://kubernetes", audience: "ticketd", leeway: LEEWAY };
    if let Ok(claims) = verify_service_account_token(&jwt, &SUPEROFFICE.keys, &profile, *NOW) {
        let header = service_account_token_header(&jwt).unwrap();
        assert_eq!((header.algorithm, header.kid.as_deref()), (JwtAlgorithm::Rs256, Some("a")));
        assert_eq!(claims.account.as_str().parse().as_ref(), Ok(&claims.account));
        assert!(claims.pod_uid.is_none_or(|uid| uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')));
        assert!(claims.expires > *NOW);
    }
}
