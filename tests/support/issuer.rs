//! A Kubernetes cluster's issuer of service accounts' tokens: its keys, and tokens as kube-apiserver writes them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(crate) const AUDIENCE: &str = "ticketd";
pub(crate) const POD_UID: &str = "b6b1b5a2-6f0b-4a3e-9f3d-2d8d1b1f3c11";

/// One of a cluster's keys, with its name.
pub(crate) struct Key {
    pub(crate) kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaPrivateKey>, RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl Key {
    pub(crate) fn rsa(kid: &str) -> Self {
        let key = RsaPrivateKey::from_pkcs8_pem(include_str!("../fixtures/keys/other2048.pkcs8.pem")).unwrap();
        let pair = RsaKeyPair::from_pkcs8(key.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Rsa(Box::new(key), pair) }
    }

    /// A new one each time.
    pub(crate) fn p256(kid: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::P256(pair) }
    }

    /// The public key, as it is published.
    pub(crate) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(key, _) => json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
                "n": encode(&key.n_bytes()), "e": encode(&key.e_bytes())}),
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "use": "sig", "alg": "ES256", "kid": self.kid, "crv": "P-256",
                    "x": encode(x), "y": encode(y)})
            }
        }
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let random = SystemRandom::new();
        let algorithm = if matches!(self.pair, Pair::Rsa(..)) { "RS256" } else { "ES256" };
        let header = json!({"alg": algorithm, "kid": self.kid}).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = match &self.pair {
            Pair::Rsa(_, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The key set that publishes these keys.
pub(crate) fn jwks<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    json!({"keys": keys.into_iter().map(Key::jwk).collect::<Vec<_>>()}).to_string()
}

/// What a projected token for us says, made at `now` for ten minutes. `account` is `namespace/name`.
pub(crate) fn claims(account: &str, now: i64) -> Value {
    let (namespace, name) = account.split_once('/').unwrap();
    json!({
        "aud": [AUDIENCE], "exp": now + 600, "iat": now, "iss": ISSUER, "nbf": now,
        "jti": "0d4d4a5c-b6f9-4d6b-8f0a-6f6a2a1d7f2e",
        "kubernetes.io": {
            "namespace": namespace,
            "pod": {"name": format!("{name}-7d9c6b5f4-abcde"), "uid": POD_UID},
            "serviceaccount": {"name": name, "uid": "9a2c1f6e-1b7d-4a57-8d0c-5f0b3f6d7e21"},
        },
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    })
}
