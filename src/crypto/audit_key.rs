use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use thiserror::Error;

use crate::identifiers::ClientSecret;

/// In bytes: shorter keys could be guessed.
const LEAST_BYTES: usize = 32;
/// In bytes.
const MOST_BYTES: usize = 4096;

/// Makes the names that credentials have in audit events. With it, whoever holds a credential finds the events about it;
/// without it, nobody can tell which credential an event is about.
#[derive(Clone)]
pub struct AuditKey {
    key: hmac::Key,
    id: AuditKeyId,
}

/// Names an [`AuditKey`] without revealing it. Shown as eight hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditKeyId(u32);

/// Names a credential: 128 bits of HMAC-SHA256, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditName([u8; 16]);

/// Keeps a credential's [`AuditName`] beside it: it is handed out many times, and its name costs more than the rest of an
/// event.
#[derive(Clone, Debug, Default)]
pub struct KeptAuditName(OnceLock<(AuditKeyId, AuditName)>);

/// The file holds no [`AuditKey`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("an audit key is 32 to 4096 random bytes, in any encoding: `openssl rand -base64 32` makes one")]
pub struct AuditKeyError;

impl AuditKey {
    /// Reads a key file. White space around the key means nothing.
    pub fn read(file: &[u8]) -> Result<Self, AuditKeyError> {
        let secret = file.trim_ascii();
        let [first, rest @ ..] = secret else { return Err(AuditKeyError) };
        let is_one_byte_over_and_over = rest.iter().all(|byte| byte == first);
        if is_one_byte_over_and_over || !(LEAST_BYTES..=MOST_BYTES).contains(&secret.len()) {
            return Err(AuditKeyError);
        }
        Ok(Self::derived_from(secret))
    }

    /// The key that is used where none is given: replicas and restarts agree on it.
    pub fn of_client(secret: &ClientSecret) -> Self {
        Self::derived_from(secret.expose().as_bytes())
    }

    /// The secret may have other uses; the labels keep these apart from them.
    fn derived_from(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(HMAC_SHA256, secret);
        let derived = hmac::sign(&secret, b"ticketd: names of credentials in audit events, version 1");
        let id = hmac::sign(&secret, b"ticketd: id of an audit key, version 1");
        let id = AuditKeyId(u32::from_be_bytes(head(&id)));
        Self { key: hmac::Key::new(HMAC_SHA256, derived.as_ref()), id }
    }

    /// Its name.
    pub fn id(&self) -> AuditKeyId {
        self.id
    }

    /// The credential's name under this key, which is made once. After a change of keys it is made each time, for as long
    /// as a credential lives.
    pub fn kept_name(&self, kept: &KeptAuditName, credential: &str) -> AuditName {
        let (key, name) = kept.0.get_or_init(|| (self.id, self.name(credential)));
        if *key == self.id { *name } else { self.name(credential) }
    }

    /// The credential's name under this key.
    pub fn name(&self, credential: &str) -> AuditName {
        AuditName(head(&hmac::sign(&self.key, credential.as_bytes())))
    }
}

fn head<const N: usize>(tag: &hmac::Tag) -> [u8; N] {
    let mut head = [0; N];
    for (place, byte) in head.iter_mut().zip(tag.as_ref()) {
        *place = *byte;
    }
    head
}

impl AuditKeyId {
    /// The number that is shown.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl AuditName {
    /// The number that is shown.
    pub fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for AuditKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:08x}", self.0)
    }
}

impl fmt::Debug for AuditKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AuditKeyId({self})")
    }
}

impl fmt::Debug for AuditName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AuditName({:032x})", self.number())
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AuditKey({}, redacted)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Fingerprinter;
    use crate::identifiers::Ticket;

    #[test]
    fn a_name_depends_on_key_and_credential_and_is_no_fingerprint() {
        let client = ClientSecret::new("a client secret");
        let key = AuditKey::of_client(&client);
        assert_eq!(key.name("7T:ticket"), AuditKey::of_client(&client).name("7T:ticket"));
        assert_ne!(key.name("7T:ticket"), key.name("7T:tickeu"));
        let fingerprint = Fingerprinter::new(&client).fingerprint(&Ticket::new("7T:ticket"));
        assert_ne!(format!("{:032x}", key.name("7T:ticket").number()), fingerprint.to_string());
        let other = AuditKey::read(b"gC9rS3dKxg1Yv8xEkVxTV0y1zPqVn5mU0sPq2nQd7Ys=\n").unwrap();
        assert_ne!(other.id(), key.id());
        assert_ne!(other.name("7T:ticket"), key.name("7T:ticket"));
        let kept = KeptAuditName::default();
        for key in [&key, &key, &other, &key] {
            assert_eq!(key.kept_name(&kept, "7T:ticket"), key.name("7T:ticket"));
        }
    }

    #[test]
    fn a_name_can_be_computed_elsewhere() {
        // With Python's hmac module: whoever investigates needs no ticketd.
        let key = AuditKey::read(b"gC9rS3dKxg1Yv8xEkVxTV0y1zPqVn5mU0sPq2nQd7Ys=").unwrap();
        assert_eq!(key.id().to_string(), "a2857254");
        assert_eq!(format!("{:032x}", key.name("7T:ticket").number()), "638d5d157bbab15dd5166a774cdb923e");
    }

    #[test]
    fn what_is_no_key_is_refused_and_nothing_is_revealed() {
        for wrong in [&b""[..], b" \n", b"too-short", &[b'x'; 64], &[b' '; 64], &[7; 5_000]] {
            assert_eq!(AuditKey::read(wrong).unwrap_err(), AuditKeyError, "{wrong:?}");
        }
        let key = AuditKey::of_client(&ClientSecret::new("canary"));
        assert!(!format!("{key:?}").contains("canary"));
    }
}
