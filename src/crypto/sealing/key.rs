use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::RandomnessError;

/// In bytes: as many as AES-256 takes.
const KEY_LENGTH: usize = 32;
pub(super) const ID_LENGTH: usize = 4;
/// In Base64, with padding.
const TEXT_LENGTH: usize = KEY_LENGTH.div_ceil(3) * 4;

/// A key that seals records: 256 random bits.
#[derive(Clone)]
pub struct SealingKey {
    secret: Zeroizing<[u8; KEY_LENGTH]>,
    id: SealingKeyId,
}

/// Names a sealing key without revealing it. Shown as eight hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealingKeyId(u32);

/// The file holds no sealing key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealingKeyError {
    /// It is not 32 bytes in Base64.
    #[error("a sealing key is 32 random bytes in Base64, 44 characters: `ticketd keys new-sealing-key` makes one")]
    Malformed,
    /// All its bytes are the same.
    #[error("this sealing key is not random: `ticketd keys new-sealing-key` makes one")]
    NotRandom,
}

impl SealingKey {
    /// A new one.
    pub fn random() -> Result<Self, RandomnessError> {
        let mut secret = Zeroizing::new([0; KEY_LENGTH]);
        SystemRandom::new().fill(secret.as_mut_slice()).map_err(|_| RandomnessError)?;
        Ok(Self::new(secret))
    }

    /// Reads the text of a key file. White space around the key means nothing.
    pub fn read(file: &[u8]) -> Result<Self, SealingKeyError> {
        let text = file.trim_ascii();
        let mut secret = Zeroizing::new([0; KEY_LENGTH]);
        // One more than needed: the decoder wants room for what the padding may stand for.
        let mut bytes = Zeroizing::new([0; KEY_LENGTH + 1]);
        if text.len() != TEXT_LENGTH || STANDARD.decode_slice(text, bytes.as_mut_slice()) != Ok(KEY_LENGTH) {
            return Err(SealingKeyError::Malformed);
        }
        for (place, byte) in secret.iter_mut().zip(bytes.iter()) {
            *place = *byte;
        }
        let [first, rest @ ..] = &*secret;
        if rest.iter().all(|byte| byte == first) {
            return Err(SealingKeyError::NotRandom);
        }
        Ok(Self::new(secret))
    }

    /// The text of its file.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.secret.as_slice()))
    }

    /// Its name.
    pub fn id(&self) -> SealingKeyId {
        self.id
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.secret.as_slice()
    }

    fn new(secret: Zeroizing<[u8; KEY_LENGTH]>) -> Self {
        // An HMAC under the key: whoever sees an id learns nothing of the key, and no other use of the key makes it.
        let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret.as_slice()), b"ticketd: id of a sealing key");
        let mut id = [0; ID_LENGTH];
        for (place, byte) in id.iter_mut().zip(tag.as_ref()) {
            *place = *byte;
        }
        Self { secret, id: SealingKeyId::from_bytes(id) }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingKey({}, redacted)", self.id)
    }
}

impl SealingKeyId {
    /// As it stands in a sealed record.
    pub fn to_bytes(self) -> [u8; ID_LENGTH] {
        self.0.to_be_bytes()
    }

    /// From a sealed record.
    pub fn from_bytes(bytes: [u8; ID_LENGTH]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", self.0)
    }
}

impl fmt::Debug for SealingKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingKeyId({self})")
    }
}
