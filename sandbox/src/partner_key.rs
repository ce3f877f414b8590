//! The public key that the partner registered, as the Developer Portal keeps it or as PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPublicKey};
use sha2::Sha256;

/// A public key that cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum PartnerKeyError {
    /// Neither of the formats, or broken.
    #[error("the partner's public key is neither an RSAKeyValue XML nor a PEM: {0}")]
    Unreadable(String),
    /// Too short or too long.
    #[error("the partner's public key has {0} bits; 1024 to 4096 are possible")]
    Size(usize),
}

#[derive(Debug)]
pub(crate) struct PartnerKey(VerifyingKey<Sha256>);

impl PartnerKey {
    /// Reads `<RSAKeyValue>` XML, a PEM of a `SubjectPublicKeyInfo`, or one of a PKCS#1 public key.
    pub(crate) fn read(text: &str) -> Result<Self, PartnerKeyError> {
        let unreadable = |error: &dyn std::fmt::Display| PartnerKeyError::Unreadable(error.to_string());
        let key = if text.contains("<RSAKeyValue") {
            let number = |element| {
                let bytes = element_bytes(text, element).ok_or_else(|| unreadable(&format!("no valid <{element}>")))?;
                Ok(BoxedUint::from_be_slice_vartime(&bytes))
            };
            RsaPublicKey::new(number("Modulus")?, number("Exponent")?).map_err(|error| unreadable(&error))?
        } else if text.contains("BEGIN RSA PUBLIC KEY") {
            RsaPublicKey::from_pkcs1_pem(text.trim()).map_err(|error| unreadable(&error))?
        } else {
            RsaPublicKey::from_public_key_pem(text.trim()).map_err(|error| unreadable(&error))?
        };
        let bits = key.n().bits_vartime() as usize;
        if !(1024..=4096).contains(&bits) {
            return Err(PartnerKeyError::Size(bits));
        }
        Ok(Self(VerifyingKey::new(key)))
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::try_from(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

fn element_bytes(xml: &str, element: &str) -> Option<Vec<u8>> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    let (text, _) = rest.split_once(&format!("</{element}>"))?;
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(compact).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}
