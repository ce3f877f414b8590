//! Seals secrets for the store, so that neither a copy of the database nor a hand in it gives or moves one.
//!
//! A sealed record is
//!
//! ```text
//! 1 byte version | 4 bytes key id | 32 bytes salt | 12 bytes nonce | ciphertext | 16 bytes tag
//! ```
//!
//! AES-256-GCM under a key of the record's own, HKDF-SHA256 of the sealing key and the salt: random nonces of 96 bits
//! under one key would have to be counted. What the record belongs to, its [`Place`], is authenticated with it: a record
//! that is put elsewhere does not open.

mod key;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, MAX_TAG_LEN, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use zeroize::Zeroizing;

pub use key::{SealingKey, SealingKeyError, SealingKeyId};

use crate::identifiers::{ApplicationId, Environment};

/// The layout above.
const VERSION: u8 = 1;
const ID_LENGTH: usize = key::ID_LENGTH;
const SALT_LENGTH: usize = 32;
const HEAD_LENGTH: usize = 1 + ID_LENGTH + SALT_LENGTH + NONCE_LEN;

/// The keys that seal and open. Clones share nothing: they are few and small.
#[derive(Clone)]
pub struct KeyRing {
    /// Seals, and opens.
    primary: SealingKey,
    /// Open only.
    others: Vec<SealingKey>,
}

/// What a sealed record belongs to. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The environment whose secret it is.
    pub environment: Environment,
    /// The application's client id.
    pub application: &'a ApplicationId,
    /// What the row is about: a tenant's key, with whatever else names the row.
    pub row: &'a [&'a str],
    /// `table.column`.
    pub column: &'static str,
    /// Changes when the column's contents change their meaning.
    pub schema_version: u32,
}

/// Nothing was sealed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the secret cannot be sealed: the operating system's random numbers or the cryptographic library failed")]
pub struct SealError;

/// Why a sealed record does not open.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no sealed record, or one of a layout that this version does not know.
    #[error("it is not sealed in a way that this version knows")]
    Malformed,
    /// No key of the ring has its id.
    #[error("the sealing key {0} that it needs is not configured")]
    KeyAbsent(SealingKeyId),
    /// It was changed, moved from elsewhere, or sealed for another environment or application.
    #[error("it was changed, or moved here from another row, column, application or environment")]
    Forged,
}

impl KeyRing {
    /// `primary` seals; it and the `others` open.
    pub fn new(primary: SealingKey, others: Vec<SealingKey>) -> Self {
        Self { primary, others }
    }

    /// The id of the key that seals.
    pub fn primary(&self) -> SealingKeyId {
        self.primary.id()
    }

    /// The ids of the keys that open, the primary one's first.
    pub fn ids(&self) -> impl Iterator<Item = SealingKeyId> {
        self.keys().map(SealingKey::id)
    }

    /// Seals a secret for its place. Twice the same secret makes two different records.
    pub fn seal(&self, secret: &[u8], place: &Place<'_>) -> Result<Vec<u8>, SealError> {
        let mut salt = [0; SALT_LENGTH];
        SystemRandom::new().fill(&mut salt).map_err(|_| SealError)?;
        // With room for the tag: growing, it would leave a copy of the secret behind that nothing wipes.
        let mut sealed = Zeroizing::new(Vec::with_capacity(secret.len() + MAX_TAG_LEN));
        sealed.extend_from_slice(secret);
        let nonce = record_key(&self.primary, &salt)
            .and_then(|key| key.seal_in_place_append_tag(Aad::from(place.bytes()), &mut *sealed).ok())
            .ok_or(SealError)?;
        let mut record = Vec::with_capacity(HEAD_LENGTH + sealed.len());
        record.push(VERSION);
        record.extend_from_slice(&self.primary.id().to_bytes());
        record.extend_from_slice(&salt);
        record.extend_from_slice(nonce.as_ref());
        record.extend_from_slice(&sealed);
        Ok(record)
    }

    /// Opens what [`seal`](Self::seal) made for the same place with a key that is in this ring.
    pub fn open(&self, record: &[u8], place: &Place<'_>) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = Parts::of(record).ok_or(OpenError::Malformed)?;
        let key = self.find(parts.id).ok_or(OpenError::KeyAbsent(parts.id))?;
        let key = record_key(key, parts.salt).ok_or(OpenError::Forged)?;
        let nonce = Nonce::assume_unique_for_key(*parts.nonce);
        let mut secret = Zeroizing::new(parts.ciphertext.to_vec());
        let length =
            key.open_in_place(nonce, Aad::from(place.bytes()), &mut secret).map_err(|_| OpenError::Forged)?.len();
        secret.truncate(length);
        Ok(secret)
    }

    fn find(&self, id: SealingKeyId) -> Option<&SealingKey> {
        self.keys().find(|key| key.id() == id)
    }

    fn keys(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.primary).chain(&self.others)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyRing")?;
        formatter.debug_list().entries(self.ids()).finish()
    }
}

/// What every record begins with that this key sealed: the version and the key's id.
pub fn record_prefix(id: SealingKeyId) -> [u8; 1 + ID_LENGTH] {
    let [a, b, c, d] = id.to_bytes();
    [VERSION, a, b, c, d]
}

/// The key that sealed a record, told by the record's prefix.
pub fn sealed_with(prefix: &[u8]) -> Option<SealingKeyId> {
    let (&VERSION, rest) = prefix.split_first()? else { return None };
    rest.first_chunk().copied().map(SealingKeyId::from_bytes)
}

impl Place<'_> {
    /// Each part with its length before it, so that no two places are written alike.
    fn bytes(&self) -> Vec<u8> {
        let fixed: [&[u8]; 5] = [
            b"ticketd sealed record",
            &[VERSION],
            self.environment.as_str().as_bytes(),
            self.application.as_str().as_bytes(),
            self.column.as_bytes(),
        ];
        let version = self.schema_version.to_be_bytes();
        let row = self.row.iter().map(|part| part.as_bytes());
        let mut bytes = Vec::new();
        for part in fixed.into_iter().chain([version.as_slice()]).chain(row) {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

struct Parts<'a> {
    id: SealingKeyId,
    salt: &'a [u8; SALT_LENGTH],
    nonce: &'a [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(record: &'a [u8]) -> Option<Self> {
        let (&VERSION, rest) = record.split_first()? else { return None };
        let (id, rest) = rest.split_first_chunk::<ID_LENGTH>()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (nonce, ciphertext) = rest.split_first_chunk()?;
        Some(Self { id: SealingKeyId::from_bytes(*id), salt, nonce, ciphertext })
    }
}

fn record_key(key: &SealingKey, salt: &[u8; SALT_LENGTH]) -> Option<RandomizedNonceKey> {
    let length = KeyType::len(&&AES_256_GCM);
    let mut bytes = Zeroizing::new(vec![0; length]);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(key.expose());
    extracted.expand(&[b"ticketd: one sealed record"], &AES_256_GCM).ok()?.fill(&mut bytes).ok()?;
    RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()
}

#[cfg(test)]
mod tests;
