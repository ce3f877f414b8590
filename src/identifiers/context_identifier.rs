use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use thiserror::Error;

/// Names one tenant (customer) of SuperOffice CRM Online, for example `Cust12345`.
///
/// A letter followed by letters and digits, ASCII, at most 24 bytes: nothing in it can change the meaning of a URL,
/// a file name, a log line or an SQL statement. SuperOffice writes the same tenant as `Cust12345` and `cust12345`,
/// so equality, order and hash ignore case, while the spelling given is kept for what is sent and shown.
#[derive(Clone, Copy)]
pub struct ContextIdentifier {
    /// With zeros behind it, as it stands in memory many times for each tenant: its length would take a word more.
    spelling: [u8; Self::MAX_LENGTH],
}

/// Why a text is not a [`ContextIdentifier`]. The text itself is left out: it may hold anything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ContextIdentifierError {
    /// The text is empty.
    #[error("a ContextIdentifier is missing: give one like Cust12345")]
    Empty,
    /// The text is longer than [`ContextIdentifier::MAX_LENGTH`] bytes.
    #[error("a ContextIdentifier has at most {} characters", ContextIdentifier::MAX_LENGTH)]
    TooLong,
    /// The text has a character that is not an ASCII letter or digit, or does not begin with a letter.
    #[error("a ContextIdentifier is an ASCII letter followed by ASCII letters and digits, like Cust12345")]
    Malformed,
}

impl ContextIdentifier {
    /// The longest identifier accepted, in bytes. Real ones have under 12. A client secret has 32 letters and digits: put
    /// here by mistake it must not pass for an identifier, which is shown and logged.
    pub const MAX_LENGTH: usize = 24;

    /// The spelling that was given.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// The lower-case spelling, equal for equal identifiers: for database keys and file names.
    pub fn key(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }

    fn bytes(&self) -> &[u8] {
        self.spelling.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn folded(mut self) -> [u8; Self::MAX_LENGTH] {
        self.spelling.make_ascii_lowercase();
        self.spelling
    }
}

impl FromStr for ContextIdentifier {
    type Err = ContextIdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let first = bytes.first().ok_or(ContextIdentifierError::Empty)?;
        let mut spelling = [0; Self::MAX_LENGTH];
        let place = spelling.get_mut(..bytes.len()).ok_or(ContextIdentifierError::TooLong)?;
        if !first.is_ascii_alphabetic() || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(ContextIdentifierError::Malformed);
        }
        place.copy_from_slice(bytes);
        Ok(Self { spelling })
    }
}

impl PartialEq for ContextIdentifier {
    fn eq(&self, other: &Self) -> bool {
        self.spelling.eq_ignore_ascii_case(&other.spelling)
    }
}

impl Eq for ContextIdentifier {}

impl Hash for ContextIdentifier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl Ord for ContextIdentifier {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl PartialOrd for ContextIdentifier {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ContextIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for ContextIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ContextIdentifier, ContextIdentifierError> {
        text.parse()
    }

    #[test]
    fn case_is_kept_and_ignored() {
        let upper = parse("Cust12345").unwrap();
        let lower = parse("cust12345").unwrap();
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        assert_eq!(HashSet::from([upper, lower]).len(), 1);
        assert_eq!(upper.to_string(), "Cust12345");
        assert_eq!(upper.key(), lower.key());
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert_eq!(parse(""), Err(ContextIdentifierError::Empty));
        assert_eq!(parse(&"C".repeat(25)), Err(ContextIdentifierError::TooLong));
        assert_eq!(parse(&"C".repeat(100_000)), Err(ContextIdentifierError::TooLong));
        assert_eq!(parse("fedcba9876543210fedcba9876543210"), Err(ContextIdentifierError::TooLong));
        assert!(parse(&"C".repeat(24)).is_ok());
        for hostile in
            ["Cust1/..", "Cust1?x", "Cust 1", "Cüst1", "Cust1\n", "\0", "1Cust", "Cust1%2f", "Cust1'--", "Ⅽust1", "-"]
        {
            assert_eq!(parse(hostile), Err(ContextIdentifierError::Malformed), "{hostile:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_harmless_text_and_round_trips(text in ".{0,40}") {
            if let Ok(identifier) = parse(&text) {
                prop_assert_eq!(identifier.as_str(), &text);
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
                prop_assert!(text.len() <= ContextIdentifier::MAX_LENGTH);
            }
        }
    }
}
