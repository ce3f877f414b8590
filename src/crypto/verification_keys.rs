//! The public keys that tokens are signed with: SuperOffice's, published as a key set and pinned as a floor, and those
//! of a Kubernetes cluster.

mod public_key;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use self::public_key::{KeyDocument, PublicKey};
use super::{JwtAlgorithm, JwtHeader};
use crate::identifiers::Environment;

/// A public key, RSA of 2048 to 8192 bits or P-256, and the names it goes by. It comes without a certificate chain: the real
/// certificates are X.509 v1 and SHA-1-signed, which no path building accepts, so the key itself is what is trusted.
#[derive(Clone, Debug)]
pub struct VerificationKey {
    kid: Option<String>,
    x5t: Option<String>,
    public: PublicKey,
    decoding: DecodingKey,
}

/// The keys that one issuer's tokens may be signed with.
#[derive(Clone, Debug, Default)]
pub struct VerificationKeys(Vec<VerificationKey>);

/// Why a document is not a usable key set.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySetError {
    /// Longer than any key set should be.
    #[error("the key set is longer than 64 KiB")]
    TooLarge,
    /// Not JSON of the form `{"keys": [...]}`.
    #[error("the key set is not a JSON object with a list of keys")]
    Malformed,
    /// More keys than anyone needs.
    #[error("the key set has more than 32 keys")]
    TooManyKeys,
    /// Keys of other kinds, uses or sizes at most.
    #[error("the key set has no signing key that is accepted: RSA of 2048 to 8192 bits; of a cluster's, P-256 as well")]
    NoUsableKey,
}

const MAX_BYTES: usize = 64 * 1024;
const MAX_KEYS: usize = 32;
/// As long as a `kid` or `x5t` may be, here and in a token's header. SuperOffice's have 40 and 27 characters.
pub(super) const MAX_NAME_BYTES: usize = 128;

impl VerificationKeys {
    /// Reads SuperOffice's published key set (RFC 7517). Keys that cannot verify an RS256 signature are skipped, as the
    /// RFC asks.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeySetError> {
        Self::read(json, &[JwtAlgorithm::Rs256])
    }

    /// Reads a cluster's published key set. Keys that can verify neither RS256 nor ES256, or have no name, are skipped:
    /// the cluster's tokens always name their key.
    pub fn from_cluster_jwks(json: &[u8]) -> Result<Self, KeySetError> {
        let mut keys = Self::read(json, &[JwtAlgorithm::Rs256, JwtAlgorithm::Es256])?;
        keys.0.retain(|key| key.kid.is_some());
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(keys) }
    }

    fn read(json: &[u8], algorithms: &[JwtAlgorithm]) -> Result<Self, KeySetError> {
        if json.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let document: KeySetDocument = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let keys = document.keys.into_iter().filter_map(VerificationKey::read);
        let keys: Vec<_> = keys.filter(|key| algorithms.contains(&key.algorithm())).collect();
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// The key of the environment's published certificate, compiled in. It has not changed since 2013.
    pub fn pinned(environment: Environment) -> Self {
        let json: &[u8] = match environment {
            Environment::Sod => include_bytes!("pinned/sod.json"),
            Environment::Qaonline => include_bytes!("pinned/qaonline.json"),
            Environment::Online => include_bytes!("pinned/online.json"),
        };
        // A test reads all three; an empty set would refuse every token, never accept one.
        Self::from_jwks(json).unwrap_or_default()
    }

    /// The key that a token's header names: by `kid`, then by `x5t`, then by a `kid` that is the certificate's
    /// thumbprint in hexadecimal digits. Only a header that names no key at all means the only key there is: a name
    /// that nothing answers to means a key we do not have.
    pub fn find(&self, header: &JwtHeader) -> Option<&VerificationKey> {
        if header.kid.is_none() && header.x5t.is_none() {
            return if let [only] = self.0.as_slice() { Some(only) } else { None };
        }
        let by_kid = |kid: &str| self.0.iter().find(|key| key.kid.as_deref() == Some(kid));
        let by_x5t = |x5t: &str| {
            // Old key sets carried the x5t value as `kid`.
            self.0.iter().find(|key| key.x5t.as_deref() == Some(x5t)).or_else(|| by_kid(x5t))
        };
        let by_thumbprint = |kid: &str| self.0.iter().find(|key| key.has_thumbprint(kid));
        let kid = header.kid.as_deref();
        kid.and_then(by_kid).or_else(|| header.x5t.as_deref().and_then(by_x5t)).or_else(|| kid.and_then(by_thumbprint))
    }

    /// These keys, and those of `floor` that are not among them.
    #[must_use]
    pub fn merged_with(mut self, floor: Self) -> Self {
        for key in floor.0 {
            if !self.0.iter().any(|own| own.same_key(&key)) {
                self.0.push(key);
            }
        }
        self
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl VerificationKey {
    /// The key's name in its key set.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The thumbprint of the key's certificate (SHA-1, Base64url).
    pub fn x5t(&self) -> Option<&str> {
        self.x5t.as_deref()
    }

    /// The one algorithm whose signatures it verifies.
    pub fn algorithm(&self) -> JwtAlgorithm {
        self.public.algorithm()
    }

    pub(super) fn decoding_key(&self) -> (&DecodingKey, Algorithm) {
        let algorithm = match self.algorithm() {
            JwtAlgorithm::Rs256 => Algorithm::RS256,
            JwtAlgorithm::Es256 => Algorithm::ES256,
        };
        (&self.decoding, algorithm)
    }

    fn read(document: Value) -> Option<Self> {
        let document: KeyDocument = serde_json::from_value(document).ok()?;
        let public = document.public_key()?;
        let KeyDocument { kid, x5t, .. } = document;
        let named = [&kid, &x5t].into_iter().flatten().all(|name| name.len() <= MAX_NAME_BYTES);
        named.then(|| Self { kid, x5t, decoding: public.decoding_key(), public })
    }

    fn has_thumbprint(&self, hexadecimal: &str) -> bool {
        let Some(thumbprint) = self.x5t.as_ref().and_then(|x5t| URL_SAFE_NO_PAD.decode(x5t).ok()) else { return false };
        let digits = thumbprint.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let digits = digits.map(|digit| char::from_digit(digit.into(), 16));
        !thumbprint.is_empty() && hexadecimal.chars().map(|digit| Some(digit.to_ascii_lowercase())).eq(digits)
    }

    fn same_key(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

#[derive(Deserialize)]
struct KeySetDocument {
    /// Each is read by itself, so that one of an unknown shape does not spoil the others.
    keys: Vec<Value>,
}

#[cfg(test)]
mod tests;
