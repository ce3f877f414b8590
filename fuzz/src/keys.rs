use std::sync::LazyLock;

use rsa::pkcs8::EncryptedPrivateKeyInfoRef;
use rsa::pkcs8::pkcs5::pbes2::Kdf;
use secrecy::SecretString;
use ticketd::crypto::{KeyRing, OpenError, Place, PrivateKey, SealingKey, VerificationKeys, sealed_with};
use ticketd::identifiers::{ApplicationId, Environment};

/// A signing key in any of its formats: what is read can be written and is then the same key.
pub(crate) fn private_key(input: &[u8]) {
    let passphrase = is_cheap(input).then(|| SecretString::from("passphrase"));
    let Ok(key) = PrivateKey::read(input, passphrase.as_ref()) else { return };
    assert!((1024..=4096).contains(&key.bits()));
    for written in [key.to_pkcs8_pem().unwrap(), key.to_pkcs1_pem().unwrap(), key.to_rsa_key_value_xml().unwrap()] {
        let again = PrivateKey::read(written.as_bytes(), None).unwrap();
        assert_eq!(again.public_key_fingerprint(), key.public_key_fingerprint());
    }
}

/// What ticketd bounds at some seconds of work would leave no time for other inputs.
fn is_cheap(der: &[u8]) -> bool {
    let Ok(info) = EncryptedPrivateKeyInfoRef::try_from(der) else { return false };
    info.encryption_algorithm.pbes2().is_some_and(|parameters| match &parameters.kdf {
        Kdf::Pbkdf2(parameters) => parameters.iteration_count <= 100,
        Kdf::Scrypt(parameters) => parameters.cost_parameter <= 16 && parameters.parallelization <= 2,
        _ => true,
    })
}

static KEYS: LazyLock<KeyRing> = LazyLock::new(|| {
    KeyRing::new(SealingKey::read(include_bytes!("../../tests/fixtures/keys/sealing.key")).unwrap(), Vec::new())
});

/// The records that open, each with the row that it opens for.
const SEALED: [(&str, &[u8]); 2] = [
    ("cust12345", include_bytes!("../corpus/sealed_record/sealed")),
    ("cust12346", include_bytes!("../corpus/sealed_record/sealed-for-another-row")),
];

/// A record out of the database: it opens where and as it was sealed, and in no other way. And a sealing key.
pub(crate) fn sealed_record(input: &[u8]) {
    let application = ApplicationId::new("0123456789abcdef");
    for (row, sealed) in SEALED {
        let place = Place {
            environment: Environment::Sod,
            application: &application,
            row: &[row],
            column: "tenants.system_user_token",
            schema_version: 1,
        };
        let opened = KEYS.open(input, &place);
        assert_eq!(opened.is_ok(), input == sealed);
        if let Err(OpenError::KeyAbsent(id)) = opened {
            assert_eq!(sealed_with(input), Some(id));
        }
    }
    if let Ok(key) = SealingKey::read(input) {
        assert_eq!(SealingKey::read(key.to_text().as_bytes()).unwrap().id(), key.id());
    }
}

/// SuperOffice's key set.
pub(crate) fn key_set(input: &[u8]) {
    if let Ok(keys) = VerificationKeys::from_jwks(input) {
        let floor = VerificationKeys::pinned(Environment::Sod);
        let known = floor.len();
        assert!(keys.merged_with(floor).len() >= known, "no key set takes a published key away");
    }
}
