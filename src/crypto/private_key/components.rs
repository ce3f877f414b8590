use rsa::{BoxedUint, RsaPrivateKey};
use zeroize::Zeroizing;

use super::PrivateKeyError;

/// A key's numbers as a file gives them: unsigned, big-endian, with any number of leading zeros.
///
/// Only these five are taken. The CRT values are computed anew, because files get them wrong: the key that SuperOffice's
/// own documentation prints has a character missing in its `InverseQ`.
pub(super) struct Components {
    pub(super) modulus: Zeroizing<Vec<u8>>,
    pub(super) public_exponent: Zeroizing<Vec<u8>>,
    pub(super) private_exponent: Zeroizing<Vec<u8>>,
    pub(super) prime_p: Zeroizing<Vec<u8>>,
    pub(super) prime_q: Zeroizing<Vec<u8>>,
}

const MIN_BITS: usize = 1024;
const MAX_BITS: usize = 4096;
/// aws-lc-rs and `rsa` both stop here: a longer one makes every verification slow.
const MAX_PUBLIC_EXPONENT_BITS: usize = 33;

impl Components {
    /// Checks that the numbers are a key and computes what is missing. `rsa` checks that `p * q = n`, and that
    /// `e * d = 1` modulo `p - 1` and `q - 1`: a private exponent made modulo lcm(p - 1, q - 1) is as good as any.
    pub(super) fn build(&self) -> Result<RsaPrivateKey, PrivateKeyError> {
        let bits = bit_length(&self.modulus);
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(PrivateKeyError::SizeUnsupported { bits });
        }
        let exponent_bits = bit_length(&self.public_exponent);
        if !(2..=MAX_PUBLIC_EXPONENT_BITS).contains(&exponent_bits) || !is_odd(&self.public_exponent) {
            return Err(PrivateKeyError::PublicExponentUnsupported);
        }
        let (p, q) = (significant(&self.prime_p), significant(&self.prime_q));
        if p == q || !is_odd(&self.modulus) {
            return Err(PrivateKeyError::FactorsMismatch);
        }
        let number = |bytes| number(bytes, bits);
        RsaPrivateKey::from_components(
            number(&self.modulus).ok_or(PrivateKeyError::FactorsMismatch)?,
            BoxedUint::from_be_slice_vartime(significant(&self.public_exponent)),
            number(&self.private_exponent).ok_or(PrivateKeyError::ExponentsMismatch)?,
            vec![
                number(p).ok_or(PrivateKeyError::FactorsMismatch)?,
                number(q).ok_or(PrivateKeyError::FactorsMismatch)?,
            ],
        )
        .map_err(|error| match error {
            rsa::Error::InvalidExponent => PrivateKeyError::ExponentsMismatch,
            _ => PrivateKeyError::FactorsMismatch,
        })
    }
}

/// The width follows the modulus, which is public, so that no operation's time tells a secret number's length.
fn number(bytes: &[u8], bits: usize) -> Option<BoxedUint> {
    BoxedUint::from_be_slice(significant(bytes), u32::try_from(bits).ok()?).ok()
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn bit_length(bytes: &[u8]) -> usize {
    let bytes = significant(bytes);
    bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize)
}

fn is_odd(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|byte| byte & 1 == 1)
}
