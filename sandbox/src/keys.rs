//! The keys that sign SuperOffice's JWTs, and what the key set publishes of them.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType};
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::world::{base64, hex};

const THROWAWAY_A: &str = include_str!("../keys/throwaway-jwt-signing-a.pem");
const THROWAWAY_B: &str = include_str!("../keys/throwaway-jwt-signing-b.pem");

/// What the key set publishes after a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRotation {
    /// The new key and the old one.
    Overlap,
    /// The new key alone.
    NoOverlap,
    /// The old key alone, though the new one signs: the key set lags behind.
    Unpublished,
}

/// A signing key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the JWT signing key is not a PKCS#8 PEM with an RSA key of 2048 to 8192 bits: {0}")]
pub struct SigningKeyError(String);

/// Two keys that take turns.
#[derive(Debug)]
pub(crate) struct KeyRing {
    current: Arc<SigningKey>,
    other: Arc<SigningKey>,
    published: Vec<Arc<SigningKey>>,
}

impl KeyRing {
    /// The given key first, or the first of the throwaway ones.
    pub(crate) fn new(given: Option<&str>) -> Result<Self, SigningKeyError> {
        let current = Arc::new(SigningKey::from_pkcs8_pem(given.unwrap_or(THROWAWAY_A))?);
        let other = Arc::new(SigningKey::from_pkcs8_pem(THROWAWAY_B)?);
        Ok(Self { published: vec![Arc::clone(&current)], current, other })
    }

    pub(crate) fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.current)
    }

    /// The key that does not sign.
    pub(crate) fn other(&self) -> Arc<SigningKey> {
        Arc::clone(&self.other)
    }

    pub(crate) fn rotate(&mut self, rotation: KeyRotation) {
        std::mem::swap(&mut self.current, &mut self.other);
        let (new, old) = (Arc::clone(&self.current), Arc::clone(&self.other));
        self.published = match rotation {
            KeyRotation::Overlap => vec![new, old],
            KeyRotation::NoOverlap => vec![new],
            KeyRotation::Unpublished => vec![old],
        };
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": self.published.iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }
}

/// A key with a certificate of its own making, by whose SHA-1 it is known.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pair: KeyPair,
    pub(crate) kid: String,
    pub(crate) x5t: String,
    pub(crate) jwk: Value,
    pub(crate) public_pem: String,
}

impl SigningKey {
    fn from_pkcs8_pem(pem: &str) -> Result<Self, SigningKeyError> {
        let fault = |error: &dyn std::fmt::Display| SigningKeyError(error.to_string());
        let certified = rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(pem, &rcgen::PKCS_RSA_SHA256)
            .map_err(|error| fault(&error))?;
        let pair = KeyPair::from_pkcs8(&certified.serialize_der()).map_err(|error| fault(&error))?;
        let public_pem = certified.public_key_pem();
        let public = RsaPublicKey::from_public_key_pem(&public_pem).map_err(|error| fault(&error))?;

        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "SuperOffice Sandbox Federated Login");
        let certificate = parameters.self_signed(&certified).map_err(|error| fault(&error))?;
        let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
        let kid = hex(thumbprint.as_ref()).to_ascii_uppercase();
        let x5t = URL_SAFE_NO_PAD.encode(thumbprint);
        let jwk = json!({
            "alg": "RS256",
            "e": URL_SAFE_NO_PAD.encode(public.e_bytes()),
            "key_ops": [],
            "kid": kid,
            "kty": "RSA",
            "n": URL_SAFE_NO_PAD.encode(public.n_bytes()),
            "use": "sig",
            "x5c": [base64(certificate.der())],
            "x5t": x5t,
        });
        Ok(Self { pair, kid, x5t, jwk, public_pem })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256; empty when the operating system has no randomness to blind with.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        match self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature) {
            Ok(()) => signature,
            Err(_) => Vec::new(),
        }
    }
}
