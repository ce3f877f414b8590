use thiserror::Error;

use crate::identifiers::SystemUserToken;

/// The longest system user token accepted, in bytes. Real ones have under 80: an application's name and ten characters.
pub const MAX_SYSTEM_USER_TOKEN_LENGTH: usize = 512;

/// Why a text is no system user token. The text itself is left out: it is or resembles a secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenProblem {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`MAX_SYSTEM_USER_TOKEN_LENGTH`].
    #[error("it is longer than {MAX_SYSTEM_USER_TOKEN_LENGTH} bytes")]
    TooLong,
    /// It has a dot, which separates the token from time and signature once it is signed.
    #[error("it has a dot: give the system user token itself, neither signed nor a JWT")]
    Dot,
    /// It has a line break, another control character or a byte order mark.
    #[error("it has a line break, a control character or a byte order mark")]
    ControlCharacter,
    /// It begins or ends with white space.
    #[error("it begins or ends with white space")]
    SurroundingSpace,
}

/// Says whether a text can be a system user token, `Application Name-8k8Q7DmBgo`: spaces and non-ASCII letters may
/// occur in it.
pub fn check_system_user_token(token: &SystemUserToken) -> Result<(), TokenProblem> {
    let text = token.expose();
    if text.is_empty() {
        return Err(TokenProblem::Empty);
    }
    if text.len() > MAX_SYSTEM_USER_TOKEN_LENGTH {
        return Err(TokenProblem::TooLong);
    }
    if text.chars().any(|character| character.is_control() || character == '\u{feff}') {
        return Err(TokenProblem::ControlCharacter);
    }
    if text.trim().len() != text.len() {
        return Err(TokenProblem::SurroundingSpace);
    }
    if text.contains('.') {
        return Err(TokenProblem::Dot);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), TokenProblem> {
        check_system_user_token(&SystemUserToken::new(text))
    }

    #[test]
    fn real_tokens_pass() {
        for token in ["SuperOffice DevNet Node OIDC-8k8Q7DmBgo", "Blåbær & Sønn-pzqc70604i", &"a".repeat(512)] {
            assert_eq!(check(token), Ok(()), "{token}");
        }
    }

    #[test]
    fn every_refusal_has_its_reason() {
        assert_eq!(check(""), Err(TokenProblem::Empty));
        assert_eq!(check(&"a".repeat(513)), Err(TokenProblem::TooLong));
        assert_eq!(check("App-1.202611220106.c2ln"), Err(TokenProblem::Dot));
        for text in ["App-1\n", "App\0-1", "App\u{85}-1", "\u{feff}App-1", "App\r\n-1", "\t"] {
            assert_eq!(check(text), Err(TokenProblem::ControlCharacter), "{text:?}");
        }
        for text in [" App-1", "App-1 ", "App-1\u{a0}", " "] {
            assert_eq!(check(text), Err(TokenProblem::SurroundingSpace), "{text:?}");
        }
    }
}
