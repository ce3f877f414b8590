use rsa::pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use rsa::pkcs8::der::{Decode, Reader, Tag, Tagged};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::components::Components;
use super::{KeyFormat, PrivateKeyError, encrypted};

/// What the bytes came in.
#[derive(Clone, Copy)]
pub(super) enum Container {
    Pem,
    Bare,
}

/// A SEQUENCE with its length in the long form, which no text begins with.
pub(super) fn looks_like(file: &[u8]) -> bool {
    matches!(file, [0x30, 0x80..=0xff, ..])
}

/// Tells the structures apart by what they hold, not by a label: files exist whose PEM label is another's.
pub(super) fn read(
    der: &[u8],
    passphrase: Option<&SecretString>,
    container: Container,
) -> Result<(Components, KeyFormat), PrivateKeyError> {
    use Tag::{BitString, Integer, OctetString, Sequence};

    let elements = elements(der)?;
    let tags: Vec<Tag> = elements.iter().map(Tagged::tag).collect();
    match tags.as_slice() {
        [Integer, Sequence, OctetString, ..] => {
            let format = match container {
                Container::Pem => KeyFormat::Pkcs8Pem,
                Container::Bare => KeyFormat::Pkcs8Der,
            };
            Ok((pkcs8(&elements)?, format))
        }
        [Sequence, OctetString] => {
            let passphrase = passphrase.ok_or(PrivateKeyError::PassphraseMissing)?;
            let decrypted: Zeroizing<Vec<u8>> = encrypted::decrypt(der, passphrase)?;
            let format = match container {
                Container::Pem => KeyFormat::EncryptedPkcs8Pem,
                Container::Bare => KeyFormat::EncryptedPkcs8Der,
            };
            Ok((pkcs8(&self::elements(&decrypted).map_err(|_| PrivateKeyError::PassphraseWrong)?)?, format))
        }
        [Integer, Integer] | [Sequence, BitString] => Err(PrivateKeyError::PublicKey),
        [Integer, Integer, ..] => {
            let format = match container {
                Container::Pem if elements.iter().any(is_negative) => KeyFormat::Pkcs1PemNotDer,
                Container::Pem => KeyFormat::Pkcs1Pem,
                Container::Bare => KeyFormat::Pkcs1Der,
            };
            Ok((pkcs1(&elements)?, format))
        }
        [Integer, OctetString, ..] => Err(PrivateKeyError::NotRsa),
        [Integer, Sequence, ..] => Err(PrivateKeyError::Pkcs12),
        [Sequence, Sequence, BitString] => Err(PrivateKeyError::Certificate),
        _ => Err(PrivateKeyError::DerMalformed),
    }
}

/// The elements of the outer SEQUENCE, their values unread. The most that one of ours has is ten.
fn elements(der: &[u8]) -> Result<Vec<AnyRef<'_>>, PrivateKeyError> {
    const MAX_ELEMENTS: usize = 16;
    AnyRef::from_der(der)
        .and_then(|outer| {
            outer.sequence(|reader| {
                let mut elements = Vec::with_capacity(MAX_ELEMENTS);
                while !reader.is_finished() && elements.len() < MAX_ELEMENTS {
                    elements.push(reader.decode()?);
                }
                Ok::<_, rsa::pkcs8::der::Error>(elements)
            })
        })
        .map_err(|_| PrivateKeyError::DerMalformed)
}

fn pkcs8(elements: &[AnyRef<'_>]) -> Result<Components, PrivateKeyError> {
    let [_version, algorithm, key, ..] = elements else { return Err(PrivateKeyError::DerMalformed) };
    let oid = algorithm
        .sequence(|reader| {
            let oid: ObjectIdentifier = reader.decode()?;
            while !reader.is_finished() {
                reader.decode::<AnyRef<'_>>()?;
            }
            Ok::<_, rsa::pkcs8::der::Error>(oid)
        })
        .map_err(|_| PrivateKeyError::DerMalformed)?;
    if oid != rsa::pkcs1::ALGORITHM_OID {
        return Err(PrivateKeyError::NotRsa);
    }
    pkcs1(&self::elements(key.value())?)
}

/// Takes every INTEGER as unsigned. DER puts a zero before a first byte of 0x80 and more; the npm package `rsa-xml`,
/// which SuperOffice's own converters use, leaves it out, and no number of a key is negative.
fn pkcs1(elements: &[AnyRef<'_>]) -> Result<Components, PrivateKeyError> {
    let [version, modulus, public_exponent, private_exponent, prime_p, prime_q, _dp, _dq, _qinv, others @ ..] =
        elements
    else {
        return Err(PrivateKeyError::DerMalformed);
    };
    if !others.is_empty() || version.value() != [0] {
        return Err(PrivateKeyError::MultiPrime);
    }
    let unsigned = |element: &AnyRef<'_>| {
        if element.tag() == Tag::Integer {
            Ok(Zeroizing::new(element.value().to_vec()))
        } else {
            Err(PrivateKeyError::DerMalformed)
        }
    };
    Ok(Components {
        modulus: unsigned(modulus)?,
        public_exponent: unsigned(public_exponent)?,
        private_exponent: unsigned(private_exponent)?,
        prime_p: unsigned(prime_p)?,
        prime_q: unsigned(prime_q)?,
    })
}

fn is_negative(element: &AnyRef<'_>) -> bool {
    element.value().first().is_some_and(|byte| byte & 0x80 != 0)
}
