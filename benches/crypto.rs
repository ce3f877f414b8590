//! Prints how many signatures and verifications one core does in a second, for keys of 1024 and 2048 bits.
//!
//! `cargo bench --bench crypto`. What is compared runs in turns, several rounds, and the median is printed, so that
//! another load on the machine touches all alike.
#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench stops where its fixtures are broken")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::sha2::{Digest, Sha256};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use serde_json::json;
use ticketd::crypto::{
    PrivateKey, SystemUserProfile, VerificationKeys, sign_system_user_token, verify_system_user_jwt,
};
use ticketd::identifiers::{SystemUserToken, UnverifiedJwt};

const PEM_1024: &str = include_str!("../tests/fixtures/keys/selfmade1024.pkcs8.pem");
const PEM_2048: &str = include_str!("../tests/fixtures/keys/selfmade2048.pkcs8.pem");
const TOKEN: &str = "SuperOffice DevNet Node OIDC-8k8Q7DmBgo";
const NOW: i64 = 1_800_000_000;

struct Case {
    name: &'static str,
    run: Box<dyn Fn()>,
    /// Operations in a second, one figure a round.
    rates: Vec<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    // Without `--bench` a test runner asks whether this works at all.
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let (rounds, round) = if measured { (9, Duration::from_millis(400)) } else { (1, Duration::ZERO) };

    let mut cases = [
        Case::new("sign the system user token, 1024 bits (rsa, blinded)", sign(PEM_1024)),
        Case::new("sign the system user token, 2048 bits (aws-lc-rs)", sign(PEM_2048)),
        Case::new("sign, 2048 bits (rsa, blinded), for comparison", sign_by_rsa(PEM_2048)),
        Case::new("verify a signature, 1024 bits (rsa)", verify_signature(PEM_1024)),
        Case::new("verify a system user token with all its checks, 2048 bits (aws-lc-rs)", verify_jwt(PEM_2048)),
        Case::new("read and check a key, 1024 bits", read(PEM_1024)),
        Case::new("read and check a key, 2048 bits", read(PEM_2048)),
    ];
    for _ in 0..rounds {
        for case in &mut cases {
            case.measure(round);
        }
    }
    println!("operations a second on one core, median of {rounds} rounds (lowest to highest)");
    for case in &mut cases {
        case.rates.sort_by(f64::total_cmp);
        let (lowest, median, highest) = (case.rates[0], case.rates[case.rates.len() / 2], case.rates.last().unwrap());
        println!("{median:>9.0} ({lowest:.0} to {highest:.0})  {}", case.name);
    }
}

impl Case {
    fn new(name: &'static str, run: Box<dyn Fn()>) -> Self {
        Self { name, run, rates: Vec::new() }
    }

    fn measure(&mut self, round: Duration) {
        let start = Instant::now();
        let mut times = 0_u32;
        loop {
            (self.run)();
            times += 1;
            let elapsed = start.elapsed();
            if elapsed >= round {
                self.rates.push(f64::from(times) / elapsed.as_secs_f64());
                return;
            }
        }
    }
}

fn sign(pem: &str) -> Box<dyn Fn()> {
    let key = PrivateKey::read(pem.as_bytes(), None).unwrap();
    let (token, now) = (SystemUserToken::new(TOKEN), Timestamp::from_second(NOW).unwrap());
    Box::new(move || drop(black_box(sign_system_user_token(&key, &token, now).unwrap())))
}

fn sign_by_rsa(pem: &str) -> Box<dyn Fn()> {
    let key = RsaPrivateKey::from_pkcs8_pem(pem).unwrap();
    Box::new(move || {
        drop(black_box(key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(TOKEN)).unwrap()));
    })
}

fn verify_signature(pem: &str) -> Box<dyn Fn()> {
    let key = PrivateKey::read(pem.as_bytes(), None).unwrap();
    let public = RsaPublicKey::from_public_key_pem(&key.public_pem()).unwrap();
    let signature = RsaPrivateKey::from_pkcs8_pem(pem).unwrap();
    let signature = signature.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(TOKEN)).unwrap();
    Box::new(move || {
        public.verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(TOKEN), black_box(&signature)).unwrap();
    })
}

fn verify_jwt(pem: &str) -> Box<dyn Fn()> {
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
    let key = KeyPair::from_pkcs8(&base64::engine::general_purpose::STANDARD.decode(der).unwrap()).unwrap();
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

fn read(pem: &'static str) -> Box<dyn Fn()> {
    Box::new(move || drop(black_box(PrivateKey::read(pem.as_bytes(), None).unwrap())))
}
