use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::RandomnessError;
use crate::identifiers::CodeVerifier;

/// 256 bits that nobody can guess, as 43 characters of Base64url: a `state` or a `nonce`.
pub fn random_token() -> Result<String, RandomnessError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| RandomnessError)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// A new PKCE verifier of 256 bits.
pub fn random_code_verifier() -> Result<CodeVerifier, RandomnessError> {
    random_token().map(CodeVerifier::new)
}

/// What of the verifier goes along with the authorization request: its SHA-256, PKCE's method `S256`.
pub fn code_challenge(verifier: &CodeVerifier) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()))
}

/// The SHA-256 of a secret that nobody can guess: finds what belongs to the secret and does not give it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of `secret`, which has 128 bits of randomness or more: one that can be guessed can be found by its hash.
    pub fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        for (place, byte) in hash.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()) {
            *place = *byte;
        }
        Self(hash)
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_rfc_7636s() {
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(code_challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_secrets_hash_is_its_own_and_does_not_show_it() {
        assert_eq!(SecretHash::of("abc").as_bytes()[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_ne!(SecretHash::of("abc"), SecretHash::of("abd"));
        assert!(!format!("{:?}", SecretHash::of("canary")).contains("canary"));
    }

    #[test]
    fn random_tokens_have_43_characters_and_never_repeat() {
        let tokens: std::collections::HashSet<String> = (0..100).map(|_| random_token().unwrap()).collect();
        assert_eq!(tokens.len(), 100);
        for token in &tokens {
            assert!(token.len() == 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        }
        assert_ne!(random_code_verifier().unwrap(), random_code_verifier().unwrap());
    }
}
