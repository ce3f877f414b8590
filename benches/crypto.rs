//! Prints how many signatures and verifications one core does in a second, for keys of 1024 and 2048 bits.
//!
//! `cargo bench --bench crypto`. What is compared runs in turns, several rounds, and the median is printed, so that
//! another load on the machine touches all alike.
#![expect(clippy::print_stdout, reason = "printing is what a bench is for")]
#![expect(clippy::unwrap_used, reason = "a bench stops where its fixtures are broken")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

#[path = "crypto/operations.rs"]
mod operations;

use std::hint::black_box;
use std::time::{Duration, Instant};

use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::sha2::{Digest, Sha256};
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use ticketd::crypto::PrivateKey;

use self::operations::{PEM_2048, TOKEN, sign, verify_jwt};

const PEM_1024: &str = include_str!("../tests/fixtures/keys/selfmade1024.pkcs8.pem");

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

fn read(pem: &'static str) -> Box<dyn Fn()> {
    Box::new(move || drop(black_box(PrivateKey::read(pem.as_bytes(), None).unwrap())))
}
