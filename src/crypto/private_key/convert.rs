use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsa::BoxedUint;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use zeroize::Zeroizing;

use super::{PrivateKey, PrivateKeyError};

impl PrivateKey {
    /// `BEGIN PRIVATE KEY`, unencrypted.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, PrivateKeyError> {
        self.numbers.to_pkcs8_pem(LineEnding::LF).map_err(|_| PrivateKeyError::NotWritten)
    }

    /// `BEGIN RSA PRIVATE KEY`, unencrypted.
    pub fn to_pkcs1_pem(&self) -> Result<Zeroizing<String>, PrivateKeyError> {
        self.numbers.to_pkcs1_pem(LineEnding::LF).map_err(|_| PrivateKeyError::NotWritten)
    }

    /// .NET's `<RSAKeyValue>`, with the element order and the fixed field lengths of the Developer Portal's files.
    pub fn to_rsa_key_value_xml(&self) -> Result<Zeroizing<String>, PrivateKeyError> {
        let key = &self.numbers;
        let inverse_q = key.crt_coefficient();
        let ([p, q], Some(dp), Some(dq), Some(inverse_q)) = (key.primes(), key.dp(), key.dq(), &inverse_q) else {
            return Err(PrivateKeyError::NotWritten);
        };
        let (whole, half) = (key.size(), key.size().div_ceil(2));
        Ok(xml(&[
            ("Modulus", key.n(), whole),
            ("Exponent", key.e(), key.e_bytes().len()),
            ("P", p, half),
            ("Q", q, half),
            ("DP", dp, half),
            ("DQ", dq, half),
            ("InverseQ", inverse_q, half),
            ("D", key.d(), whole),
        ]))
    }

    /// `BEGIN PUBLIC KEY`.
    pub fn public_pem(&self) -> String {
        self.public_pem.clone()
    }

    /// The public half of `<RSAKeyValue>`, which the Developer Portal keeps.
    pub fn public_rsa_key_value_xml(&self) -> String {
        let key = self.numbers.as_public_key();
        xml(&[("Modulus", key.n(), key.size()), ("Exponent", key.e(), key.e_bytes().len())]).to_string()
    }
}

/// An element's name, its number, and how many bytes the number takes.
type Element<'a> = (&'static str, &'a BoxedUint, usize);

fn xml(elements: &[Element<'_>]) -> Zeroizing<String> {
    // Room for all of a 4096-bit key, so that the text never moves and leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(8 * 1024));
    text.push_str("<RSAKeyValue>\n");
    for &(name, number, length) in elements {
        let bytes = Zeroizing::new(number.to_be_bytes());
        let mut fixed = Zeroizing::new(vec![0; length]);
        for (place, byte) in fixed.iter_mut().rev().zip(bytes.iter().rev()) {
            *place = *byte;
        }
        let base64 = Zeroizing::new(STANDARD.encode(&*fixed));
        for piece in ["  <", name, ">", &base64, "</", name, ">\n"] {
            text.push_str(piece);
        }
    }
    text.push_str("</RSAKeyValue>\n");
    text
}
