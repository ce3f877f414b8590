use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use thiserror::Error;

use crate::identifiers::{ClientSecret, ContextIdentifier, RefreshToken, SystemUserToken, Ticket};

/// Names a ticket without revealing it: 128 bits of HMAC-SHA256, shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

/// The text is not a [`Fingerprint`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a fingerprint is 32 lower-case hexadecimal digits, as it came with the ticket")]
pub struct FingerprintError;

/// Makes the fingerprints of tickets. Nobody without the client secret can tell which ticket a fingerprint names. Clones
/// have the same secret, also when it is replaced.
#[derive(Clone)]
pub struct Fingerprinter(Arc<ArcSwap<hmac::Key>>);

/// Hashes secrets into map keys under a random key of this process, so that the map never holds the secrets.
#[derive(Clone)]
pub struct KeyedHasher(hmac::Key);

/// The operating system has no random numbers.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the operating system's random numbers cannot be had")]
pub struct RandomnessError;

impl Fingerprinter {
    /// The same secret makes the same fingerprints, so that replicas and restarts agree.
    pub fn new(secret: &ClientSecret) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(derived_key(secret))))
    }

    /// Has another secret make fingerprints from now on. Tickets keep those that they have.
    pub fn replace_secret(&self, secret: &ClientSecret) {
        self.0.store(Arc::new(derived_key(secret)));
    }

    /// The ticket's fingerprint.
    pub fn fingerprint(&self, ticket: &Ticket) -> Fingerprint {
        fingerprint_by(&self.0.load(), &[ticket.expose().as_bytes()])
    }
}

/// Says that a ticket was issued for a system user token and has this fingerprint. The ticket itself is the key: whoever has it
/// can check what is said, whatever secrets were replaced since, and nobody else can say or learn anything.
pub fn issued_for(ticket: &Ticket, fingerprint: Fingerprint, token: &SystemUserToken) -> Fingerprint {
    let ticket = hmac::Key::new(HMAC_SHA256, ticket.expose().as_bytes());
    let said: [&[u8]; 3] =
        [b"ticketd: what a ticket is issued for, version 1", &fingerprint.0.to_be_bytes(), token.expose().as_bytes()];
    fingerprint_by(&ticket, &said)
}

/// The secret also goes to SuperOffice as it is; the label keeps this use of it apart from any other.
fn derived_key(secret: &ClientSecret) -> hmac::Key {
    let secret = hmac::Key::new(HMAC_SHA256, secret.expose().as_bytes());
    let derived = hmac::sign(&secret, b"ticketd: fingerprints of tickets, version 1");
    hmac::Key::new(HMAC_SHA256, derived.as_ref())
}

fn fingerprint_by(key: &hmac::Key, parts: &[&[u8]]) -> Fingerprint {
    let mut tag = hmac::Context::with_key(key);
    for part in parts {
        tag.update(part);
    }
    let tag = tag.sign();
    let mut half = [0; 16];
    for (place, byte) in half.iter_mut().zip(tag.as_ref()) {
        *place = *byte;
    }
    Fingerprint(u128::from_be_bytes(half))
}

impl KeyedHasher {
    /// A hasher with a key of its own: no two agree.
    pub fn random() -> Result<Self, RandomnessError> {
        hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).map(Self).map_err(|_| RandomnessError)
    }

    /// The hash of a tenant's refresh token.
    pub fn hash(&self, context_identifier: ContextIdentifier, token: &RefreshToken) -> [u8; 32] {
        self.hash_of(context_identifier, 0, token.expose())
    }

    /// The hash of a tenant's user. It is no refresh token's.
    pub fn hash_user(&self, context_identifier: ContextIdentifier, user: &str) -> [u8; 32] {
        self.hash_of(context_identifier, 1, user)
    }

    /// The hash of a caller's bearer token. It is no tenant's.
    pub fn hash_bearer(&self, token: &str) -> [u8; 32] {
        // No context identifier begins so.
        tag_of(&self.0, &[b"\0bearer\0", token.as_bytes()])
    }

    fn hash_of(&self, context_identifier: ContextIdentifier, kind: u8, text: &str) -> [u8; 32] {
        // An identifier has letters and digits only: the kind's byte keeps the two parts apart.
        tag_of(&self.0, &[context_identifier.key().as_bytes(), &[kind], text.as_bytes()])
    }
}

fn tag_of(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut message = hmac::Context::with_key(key);
    for part in parts {
        message.update(part);
    }
    let tag = message.sign();
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().zip(tag.as_ref()) {
        *place = *byte;
    }
    hash
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(FingerprintError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| FingerprintError)
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fingerprinter(redacted)")
    }
}

impl fmt::Debug for KeyedHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyedHasher(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_secret_and_ticket_make_the_same_fingerprint_everywhere() {
        let ticket = Ticket::new("7T:ticket");
        let fingerprint = Fingerprinter::new(&ClientSecret::new("secret")).fingerprint(&ticket);
        assert_eq!(fingerprint, Fingerprinter::new(&ClientSecret::new("secret")).fingerprint(&ticket));
        // Computed with Python's hmac module: replicas of different versions must agree on it.
        assert_eq!(fingerprint.to_string(), "840ac40bf3cce32d425b4d6c805f4ddb");
        assert_ne!(fingerprint, Fingerprinter::new(&ClientSecret::new("other")).fingerprint(&ticket));
        assert_ne!(
            fingerprint,
            Fingerprinter::new(&ClientSecret::new("secret")).fingerprint(&Ticket::new("7T:tickeu"))
        );
    }

    #[test]
    fn what_a_ticket_was_issued_for_is_said_by_the_ticket_alone() {
        let (ticket, token) = (Ticket::new("7T:ticket"), SystemUserToken::new("App-1"));
        let said = issued_for(&ticket, Fingerprint(1), &token);
        // Computed with Python's hmac module: replicas of different versions must agree on it.
        assert_eq!(said.to_string(), "4bd8e7d715a4d38f7a90fa0b3228db6b");
        assert_ne!(said, issued_for(&Ticket::new("7T:tickeu"), Fingerprint(1), &token));
        assert_ne!(said, issued_for(&ticket, Fingerprint(2), &token));
        assert_ne!(said, issued_for(&ticket, Fingerprint(1), &SystemUserToken::new("App-2")));
    }

    #[test]
    fn fingerprints_round_trip_through_text() {
        let fingerprint = Fingerprint(0xab);
        assert_eq!(fingerprint.to_string(), "000000000000000000000000000000ab");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        for wrong in
            ["", "ab", "000000000000000000000000000000AB", "+00000000000000000000000000000ab", "ä".repeat(16).as_str()]
        {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError), "{wrong}");
        }
    }

    #[test]
    fn a_hash_depends_on_tenant_token_and_process() {
        let hasher = KeyedHasher::random().unwrap();
        let token = RefreshToken::new("token");
        let hash = |tenant: &str, token: &RefreshToken| hasher.hash(tenant.parse().unwrap(), token);
        assert_eq!(hash("Cust1", &token), hash("cust1", &token));
        assert_ne!(hash("Cust1", &token), hash("Cust2", &token));
        assert_ne!(hash("Cust1", &token), hash("Cust1", &RefreshToken::new("other")));
        assert_ne!(hash("Cust1", &token), KeyedHasher::random().unwrap().hash("Cust1".parse().unwrap(), &token));
        assert_eq!(hasher.hash_bearer("a"), hasher.hash_bearer("a"));
        assert_ne!(hasher.hash_bearer("a"), hasher.hash_bearer("b"));
        assert_ne!(hasher.hash_bearer("a"), KeyedHasher::random().unwrap().hash_bearer("a"));
    }

    #[test]
    fn debug_output_reveals_nothing() {
        let shown =
            format!("{:?} {:?}", Fingerprinter::new(&ClientSecret::new("canary")), KeyedHasher::random().unwrap());
        assert_eq!(shown, "Fingerprinter(redacted) KeyedHasher(redacted)");
    }
}
