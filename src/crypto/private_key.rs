//! Private keys in every format that SuperOffice's portal, its converters and OpenSSL write.

mod components;
mod convert;
mod der;
mod encrypted;
mod error;
mod pem;
mod xml;

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use getrandom::SysRng;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::sha2::{Digest, Sha256};
use rsa::traits::{PublicKeyParts, SignatureScheme};
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use secrecy::SecretString;
use thiserror::Error;
use zeroize::Zeroizing;

pub use error::PrivateKeyError;

/// The application's RSA key, checked and ready to sign.
pub struct PrivateKey {
    format: KeyFormat,
    numbers: RsaPrivateKey,
    /// Present from [`AWS_LC_MIN_BITS`] on; it then signs in place of `numbers`.
    loaded: Option<aws_lc_rs::rsa::KeyPair>,
    public_pem: String,
    public_key_fingerprint: String,
}

/// What a private key was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// .NET's `<RSAKeyValue>`, which the Developer Portal issues.
    RsaKeyValueXml,
    /// `BEGIN RSA PRIVATE KEY`.
    Pkcs1Pem,
    /// `BEGIN RSA PRIVATE KEY` as the npm package `rsa-xml` writes it: not DER, most programs refuse it.
    Pkcs1PemNotDer,
    /// PKCS#1 without armour.
    Pkcs1Der,
    /// `BEGIN PRIVATE KEY`.
    Pkcs8Pem,
    /// PKCS#8 without armour.
    Pkcs8Der,
    /// `BEGIN ENCRYPTED PRIVATE KEY`.
    EncryptedPkcs8Pem,
    /// Encrypted PKCS#8 without armour.
    EncryptedPkcs8Der,
}

/// The key did not sign.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the key did not sign: the operating system's random numbers or the cryptographic library failed")]
pub struct SigningError;

/// The largest file looked at. A 4096-bit key takes 4 KiB in its longest format.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// aws-lc-rs refuses to sign with less.
const AWS_LC_MIN_BITS: usize = 2048;

impl PrivateKey {
    /// Reads a key from a file's content, whichever format it has, and checks that it is sound. The `passphrase` is
    /// looked at only when the key is encrypted.
    pub fn read(file: &[u8], passphrase: Option<&SecretString>) -> Result<Self, PrivateKeyError> {
        if file.len() > MAX_FILE_BYTES {
            return Err(PrivateKeyError::TooLarge);
        }
        let (components, format) = if der::looks_like(file) {
            der::read(file, passphrase, der::Container::Bare)?
        } else {
            let text = decode_text(file)?;
            match text.trim() {
                "" => return Err(PrivateKeyError::Empty),
                xml if xml.starts_with('<') => (xml::read(xml)?, KeyFormat::RsaKeyValueXml),
                pem if pem.contains(pem::BEGIN) => der::read(&pem::read(pem)?, passphrase, der::Container::Pem)?,
                ssh if ssh.starts_with("ssh-") => return Err(PrivateKeyError::PublicKey),
                _ => return Err(PrivateKeyError::UnknownFormat),
            }
        };
        Self::new(components.build()?, format)
    }

    /// The size of the modulus.
    pub fn bits(&self) -> usize {
        self.numbers.n().bits() as usize
    }

    /// What the key was read from.
    pub fn format(&self) -> KeyFormat {
        self.format
    }

    /// Names the key pair: SHA-256 of its public half (`SubjectPublicKeyInfo` in DER), in hexadecimal digits.
    pub fn public_key_fingerprint(&self) -> String {
        self.public_key_fingerprint.clone()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, the only signature that SuperOffice takes.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        if let Some(key) = &self.loaded {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| SigningError)?;
            return Ok(signature);
        }
        // The random source is named, so that the private operation is blinded whatever features `rsa` is built with.
        Pkcs1v15Sign::new::<Sha256>()
            .sign(Some(&mut SysRng), &self.numbers, &Sha256::digest(message))
            .map_err(|_| SigningError)
    }

    fn new(numbers: RsaPrivateKey, format: KeyFormat) -> Result<Self, PrivateKeyError> {
        let public = numbers.as_public_key();
        let public_pem = public.to_public_key_pem(LineEnding::LF).map_err(|_| PrivateKeyError::Unusable)?;
        let public_der = public.to_public_key_der().map_err(|_| PrivateKeyError::Unusable)?;
        let loaded = if numbers.n().bits() as usize >= AWS_LC_MIN_BITS {
            let pkcs8 = numbers.to_pkcs8_der().map_err(|_| PrivateKeyError::Unusable)?;
            Some(aws_lc_rs::rsa::KeyPair::from_pkcs8(pkcs8.as_bytes()).map_err(|_| PrivateKeyError::Unusable)?)
        } else {
            None
        };
        let public_key_fingerprint = hexadecimal(&Sha256::digest(public_der.as_bytes()));
        let key = Self { format, numbers, loaded, public_pem, public_key_fingerprint };
        key.try_out()?;
        Ok(key)
    }

    /// Signs once and verifies: nothing else shows that the factors are primes.
    fn try_out(&self) -> Result<(), PrivateKeyError> {
        const MESSAGE: &[u8] = b"trial signature";
        let signature = self.sign(MESSAGE).map_err(|_| PrivateKeyError::Unusable)?;
        self.numbers
            .as_public_key()
            .verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(MESSAGE), &signature)
            .map_err(|_| PrivateKeyError::Unusable)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey(redacted, {} bits, {})", self.bits(), self.format)
    }
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::RsaKeyValueXml => "RSAKeyValue XML",
            Self::Pkcs1Pem => "PKCS#1 PEM",
            Self::Pkcs1PemNotDer => "PKCS#1 PEM with unsigned integers (not DER, as rsa-xml writes it)",
            Self::Pkcs1Der => "PKCS#1 DER",
            Self::Pkcs8Pem => "PKCS#8 PEM",
            Self::Pkcs8Der => "PKCS#8 DER",
            Self::EncryptedPkcs8Pem => "encrypted PKCS#8 PEM",
            Self::EncryptedPkcs8Der => "encrypted PKCS#8 DER",
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// UTF-8, or UTF-16 with a byte order mark as Windows editors save it.
fn decode_text(file: &[u8]) -> Result<Zeroizing<String>, PrivateKeyError> {
    let unit: fn([u8; 2]) -> u16 = match file {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let text = std::str::from_utf8(file).map_err(|_| PrivateKeyError::UnknownFormat)?;
            return Ok(Zeroizing::new(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()));
        }
    };
    let (pairs, rest) = file.get(2..).unwrap_or_default().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(PrivateKeyError::UnknownFormat);
    }
    // Two bytes of UTF-16 become at most three of UTF-8: the text never moves and leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(pairs.len() * 3));
    for character in char::decode_utf16(pairs.iter().copied().map(unit)) {
        text.push(character.map_err(|_| PrivateKeyError::UnknownFormat)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
