use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use crate::crypto::JwtAlgorithm;

const MIN_BITS: usize = 2048;
const MAX_BITS: usize = 8192;
const MAX_PUBLIC_EXPONENT_BITS: usize = 33;
const P256_COORDINATE_BYTES: usize = 32;
/// Before the coordinates of a point that is written out (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A public key of a kind whose signatures are accepted. Its kind decides the algorithm, whatever a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa { modulus: Vec<u8>, public_exponent: Vec<u8> },
    P256 { point: Vec<u8> },
}

impl PublicKey {
    pub(super) fn algorithm(&self) -> JwtAlgorithm {
        match self {
            Self::Rsa { .. } => JwtAlgorithm::Rs256,
            Self::P256 { .. } => JwtAlgorithm::Es256,
        }
    }

    pub(super) fn decoding_key(&self) -> DecodingKey {
        match self {
            Self::Rsa { modulus, public_exponent } => DecodingKey::from_rsa_raw_components(modulus, public_exponent),
            Self::P256 { point } => DecodingKey::from_ec_der(point),
        }
    }
}

/// A key as it is published (RFC 7517, RFC 7518).
#[derive(Deserialize)]
pub(super) struct KeyDocument {
    kty: String,
    pub(super) kid: Option<String>,
    pub(super) x5t: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeyDocument {
    /// The key, if signatures may be verified by it.
    pub(super) fn public_key(&self) -> Option<PublicKey> {
        let key = match self.kty.as_str() {
            "RSA" => rsa(self.n.as_deref()?, self.e.as_deref()?)?,
            "EC" if self.crv.as_deref() == Some("P-256") => p256(self.x.as_deref()?, self.y.as_deref()?)?,
            _ => return None,
        };
        let verifies = self.r#use.as_ref().is_none_or(|r#use| r#use == "sig")
            && self.alg.as_ref().is_none_or(|alg| alg == key.algorithm().name())
            && self.key_ops.as_ref().is_none_or(|operations| {
                operations.is_empty() || operations.iter().any(|operation| operation == "verify")
            });
        verifies.then_some(key)
    }
}

fn rsa(modulus: &str, public_exponent: &str) -> Option<PublicKey> {
    let (modulus, public_exponent) = (number(modulus)?, number(public_exponent)?);
    let exponent_is_odd = public_exponent.last().is_some_and(|byte| byte & 1 == 1);
    let usable = (MIN_BITS..=MAX_BITS).contains(&bit_length(&modulus))
        && (2..=MAX_PUBLIC_EXPONENT_BITS).contains(&bit_length(&public_exponent))
        && exponent_is_odd;
    usable.then_some(PublicKey::Rsa { modulus, public_exponent })
}

/// Whether the point is on the curve shows when a signature is verified: by a point beside it none is.
fn p256(x: &str, y: &str) -> Option<PublicKey> {
    let (x, y) = (URL_SAFE_NO_PAD.decode(x).ok()?, URL_SAFE_NO_PAD.decode(y).ok()?);
    let whole = x.len() == P256_COORDINATE_BYTES && y.len() == P256_COORDINATE_BYTES;
    whole.then(|| PublicKey::P256 { point: [[UNCOMPRESSED].as_slice(), &x, &y].concat() })
}

/// An unsigned big-endian number without leading zeros, as aws-lc-rs wants it.
fn number(base64url: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(base64url).ok()?;
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.drain(..zeros);
    Some(bytes)
}

fn bit_length(bytes: &[u8]) -> usize {
    bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}
