//! What an exchange does in cryptography.

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::json;
use ticketd::crypto::{
    PrivateKey, SystemUserProfile, VerificationKeys, sign_system_user_token, verify_system_user_jwt,
};
use ticketd::identifiers::{SystemUserToken, UnverifiedJwt};

pub(crate) const PEM_2048: &str = include_str!("../../tests/fixtures/keys/selfmade2048.pkcs8.pem");
pub(crate) const TOKEN: &str = "SuperOffice DevNet Node OIDC-8k8Q7DmBgo";
const NOW: i64 = 1_800_000_000;

/// Signs a system user token.
pub(crate) fn sign(pem: &str) -> Box<dyn Fn()> {
    let key = PrivateKey::read(pem.as_bytes(), None).unwrap();
    let (token, now) = (SystemUserToken::new(TOKEN), Timestamp::from_second(NOW).unwrap());
    Box::new(move || drop(black_box(sign_system_user_token(&key, &token, now).unwrap())))
}

/// Verifies a system user token, with all its checks.
pub(crate) fn verify_jwt(pem: &str) -> Box<dyn Fn()> {
    let numbers = RsaPrivateKey::from_pkcs8_pem(pem).unwrap();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"kty": "RSA", "kid": "bench", "n": encode(&numbers.n_bytes()), "e": encode(&numbers.e_bytes())});
    let keys = VerificationKeys::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();

    let own = |claim: &str| format!("http://schemes.superoffice.net/identity/{claim}");
    let claims = json!({
        "iss": "SuperOffice AS", "aud": "spn:1801550193", "iat": NOW, "nbf": NOW - 60, "exp": NOW + 300,
        own("ctx"): "Cust26759", own("serial"): "1801550193", own("ticket"): format!("7T:{}", "A".repeat(150)),
        own("system_token"): [TOKEN], own("webapi_url"): "https://sod.superoffice.com/Cust26759/api/",
    });
    let header = json!({"alg": "RS256", "kid": "bench", "typ": "JWT"});
    let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let der = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let key = KeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    let jwt = UnverifiedJwt::new(format!("{signed}.{}", encode(&signature)));

    let (token, now) = (SystemUserToken::new(TOKEN), Timestamp::from_second(NOW).unwrap());
    Box::new(move || {
        let profile = SystemUserProfile {
            context_identifier: "Cust26759".parse().unwrap(),
            system_user_token: &token,
            pinned_serial: Some("1801550193"),
            leeway: Duration::from_mins(1),
        };
        drop(black_box(verify_system_user_jwt(&jwt, &keys, &profile, now).unwrap()));
    })
}
