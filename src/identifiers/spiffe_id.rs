use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A workload's name in a trust domain: `spiffe://corp.example/ns/crm/sa/sync` (SPIFFE-ID standard, section 2).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where in `text` the path begins.
    path: usize,
}

/// Why a text is no [`SpiffeId`]. The text itself is left out: it may hold anything.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SpiffeIdError {
    /// It does not begin with `spiffe://`.
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// It is longer than [`SpiffeId::MAX_LENGTH`].
    #[error("a SPIFFE ID has at most {} bytes", SpiffeId::MAX_LENGTH)]
    TooLong,
    /// The trust domain is missing or has a character that it may not have.
    #[error("a trust domain is made of lower-case letters, digits, dots, hyphens and underscores")]
    TrustDomain,
    /// A segment of the path is missing, empty, `.` or `..`, or has a character that it may not have.
    #[error("a SPIFFE ID's path is segments of letters, digits, dots, hyphens and underscores, each after a slash")]
    Path,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The longest identifier accepted, in bytes (SPIFFE-ID standard, 2.3).
    pub const MAX_LENGTH: usize = 2048;

    /// Whether a text can be a trust domain's name (SPIFFE-ID standard, 2.1).
    pub fn is_trust_domain(text: &str) -> bool {
        let of_trust_domain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        (1..=255).contains(&text.len()) && text.bytes().all(of_trust_domain)
    }

    /// The whole identifier.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who vouches for it: `corp.example`.
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.path).unwrap_or_default()
    }

    /// The name within the trust domain, with its leading slash.
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::MAX_LENGTH {
            return Err(SpiffeIdError::TooLong);
        }
        let name = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (trust_domain, path) = name.split_once('/').ok_or(SpiffeIdError::Path)?;
        if !Self::is_trust_domain(trust_domain) {
            return Err(SpiffeIdError::TrustDomain);
        }
        if !path.split('/').all(is_segment) {
            return Err(SpiffeIdError::Path);
        }
        Ok(Self { text: text.into(), path: SCHEME.len() + trust_domain.len() })
    }
}

fn is_segment(segment: &str) -> bool {
    let of_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(of_path)
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_a_trust_domain_and_a_path() {
        let id: SpiffeId = "spiffe://corp.example/ns/crm/sa/sync".parse().unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("corp.example", "/ns/crm/sa/sync"));
        assert_eq!(id.to_string(), "spiffe://corp.example/ns/crm/sa/sync");
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        for (text, error) in [
            ("", SpiffeIdError::Scheme),
            ("https://corp.example/a", SpiffeIdError::Scheme),
            ("SPIFFE://corp.example/a", SpiffeIdError::Scheme),
            ("spiffe:///a", SpiffeIdError::TrustDomain),
            ("spiffe://Corp/a", SpiffeIdError::TrustDomain),
            ("spiffe://user@corp/a", SpiffeIdError::TrustDomain),
            ("spiffe://corp:8443/a", SpiffeIdError::TrustDomain),
            ("spiffe://corp", SpiffeIdError::Path),
            ("spiffe://corp/", SpiffeIdError::Path),
            ("spiffe://corp/a/", SpiffeIdError::Path),
            ("spiffe://corp/a//b", SpiffeIdError::Path),
            ("spiffe://corp/a/../b", SpiffeIdError::Path),
            ("spiffe://corp/a?b", SpiffeIdError::Path),
            ("spiffe://corp/a#b", SpiffeIdError::Path),
            ("spiffe://corp/a%2fb", SpiffeIdError::Path),
            ("spiffe://corp/\u{e4}", SpiffeIdError::Path),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text}");
        }
        let long = format!("spiffe://corp/{}", "a".repeat(SpiffeId::MAX_LENGTH));
        assert_eq!(long.parse::<SpiffeId>(), Err(SpiffeIdError::TooLong));
    }
}
