//! What callers send. Lists have it in `pages`.

use std::collections::HashSet;
use std::time::Duration;

use thiserror::Error;

use crate::crypto::Fingerprint;
use crate::identifiers::{ContextIdentifier, ContextIdentifierError, RefreshToken, SystemUserToken};
use crate::store::{TokenProblem, check_system_user_token};

/// The longest refresh token taken, in bytes. Real ones have 64 characters.
const MAX_REFRESH_TOKEN: usize = 1_024;
/// As long as an e-mail address can be.
pub(super) const MAX_USER: usize = 254;
/// How many tenants a call may name.
const MOST_TENANTS: usize = 100;

/// The longest `google.protobuf.Duration`, in seconds.
const LONGEST_DURATION: u64 = 315_576_000_000;

/// What is wrong with a request. What the caller sent is left out: it may be a secret or anything else.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(in crate::grpc) enum InvalidRequest {
    #[error(transparent)]
    ContextIdentifier(#[from] ContextIdentifierError),
    #[error("the tenant at place {0}, counted from 0, cannot be: {1}")]
    ContextIdentifierAt(usize, ContextIdentifierError),
    #[error("name 1 to {MOST_TENANTS} tenants")]
    ContextIdentifiers,
    #[error("min_validity is a duration from 0 to 10,000 years")]
    MinValidity,
    #[error("the fingerprint is not one that GetSystemTicket returns")]
    Fingerprint,
    #[error("the refresh token is too long, or there is neither it nor a user")]
    RefreshToken,
    #[error("a user's name has 1 to 254 bytes, and is not given beside a refresh token")]
    User,
    #[error("the system user token is not valid: {0}")]
    SystemUserToken(#[from] TokenProblem),
    #[error("the page token did not come from this method")]
    PageToken,
    #[error("the page size is negative")]
    PageSize,
}

pub(in crate::grpc) fn context_identifier(text: &str) -> Result<ContextIdentifier, InvalidRequest> {
    Ok(text.parse()?)
}

pub(in crate::grpc) fn optional_context_identifier(text: &str) -> Result<Option<ContextIdentifier>, InvalidRequest> {
    if text.is_empty() { Ok(None) } else { context_identifier(text).map(Some) }
}

/// Each of them once, in the order in which they come first.
pub(in crate::grpc) fn context_identifiers(texts: &[String]) -> Result<Vec<ContextIdentifier>, InvalidRequest> {
    if !(1..=MOST_TENANTS).contains(&texts.len()) {
        return Err(InvalidRequest::ContextIdentifiers);
    }
    let mut seen = HashSet::with_capacity(texts.len());
    let mut tenants = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let tenant = text.parse().map_err(|error| InvalidRequest::ContextIdentifierAt(place, error))?;
        if seen.insert(tenant) {
            tenants.push(tenant);
        }
    }
    Ok(tenants)
}

pub(in crate::grpc) fn min_validity(duration: Option<prost_types::Duration>) -> Result<Duration, InvalidRequest> {
    let Some(prost_types::Duration { seconds, nanos }) = duration else { return Ok(Duration::ZERO) };
    let seconds = u64::try_from(seconds).map_err(|_| InvalidRequest::MinValidity)?;
    let nanos = u32::try_from(nanos).map_err(|_| InvalidRequest::MinValidity)?;
    if seconds > LONGEST_DURATION || nanos > 999_999_999 {
        return Err(InvalidRequest::MinValidity);
    }
    Ok(Duration::new(seconds, nanos))
}

pub(in crate::grpc) fn fingerprint(text: &str) -> Result<Fingerprint, InvalidRequest> {
    text.parse().map_err(|_| InvalidRequest::Fingerprint)
}

/// By what an access token is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::grpc) enum GrantOf {
    Caller(RefreshToken),
    User(String),
}

pub(in crate::grpc) fn grant_of(refresh_token_text: String, user_text: String) -> Result<GrantOf, InvalidRequest> {
    match (refresh_token_text.is_empty(), user_text.is_empty()) {
        (true, false) => user(user_text).map(GrantOf::User),
        (_, true) => refresh_token(refresh_token_text).map(GrantOf::Caller),
        (false, false) => Err(InvalidRequest::User),
    }
}

pub(in crate::grpc) fn user(text: String) -> Result<String, InvalidRequest> {
    let is_name = (1..=MAX_USER).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_name { Ok(text) } else { Err(InvalidRequest::User) }
}

fn refresh_token(text: String) -> Result<RefreshToken, InvalidRequest> {
    if text.is_empty() || text.len() > MAX_REFRESH_TOKEN {
        return Err(InvalidRequest::RefreshToken);
    }
    Ok(RefreshToken::new(text))
}

pub(in crate::grpc) fn system_user_token(text: String) -> Result<SystemUserToken, InvalidRequest> {
    let token = SystemUserToken::new(text);
    check_system_user_token(&token)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_validity_is_absent_or_a_sound_duration() {
        let of = |seconds, nanos| min_validity(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!(min_validity(None), Ok(Duration::ZERO));
        assert_eq!(of(1, 500_000_000), Ok(Duration::from_millis(1_500)));
        assert_eq!(of(315_576_000_000, 0), Ok(Duration::from_hours(87_660_000)));
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (1, -1),
            (-1, 1),
            (0, 1_000_000_000),
            (315_576_000_001, 0),
            (i64::MIN, i32::MIN),
            (i64::MAX, i32::MAX),
        ] {
            assert_eq!(of(seconds, nanos), Err(InvalidRequest::MinValidity), "{seconds} {nanos}");
        }
    }

    #[test]
    fn several_tenants_are_each_named_once_and_a_hundred_at_most() {
        let of = |texts: &[&str]| context_identifiers(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let spelled = |tenants: Vec<ContextIdentifier>| tenants.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(spelled(of(&["Cust2", "Cust1", "cUST2", "Cust1"]).unwrap()), ["Cust2", "Cust1"]);
        assert_eq!(of(&[]), Err(InvalidRequest::ContextIdentifiers));
        assert_eq!(of(&["Cust1"; 100]).unwrap().len(), 1);
        assert_eq!(of(&["Cust1"; 101]), Err(InvalidRequest::ContextIdentifiers));
        let malformed = InvalidRequest::ContextIdentifierAt(1, ContextIdentifierError::Malformed);
        assert_eq!(of(&["Cust1", "1Cust"]), Err(malformed));
    }

    #[test]
    fn an_access_token_is_asked_for_by_one_of_two() {
        let of = |token: &str, user: &str| grant_of(token.to_owned(), user.to_owned());
        assert_eq!(of("r", ""), Ok(GrantOf::Caller(RefreshToken::new("r"))));
        assert_eq!(of("", "me@example.com"), Ok(GrantOf::User("me@example.com".to_owned())));
        assert_eq!(of("", ""), Err(InvalidRequest::RefreshToken));
        assert_eq!(of(&"r".repeat(1_025), ""), Err(InvalidRequest::RefreshToken));
        assert_eq!(of("r", "me@example.com"), Err(InvalidRequest::User));
        assert_eq!(of("", &"m".repeat(255)), Err(InvalidRequest::User));
        assert_eq!(of("", "a\0b"), Err(InvalidRequest::User));
    }
}
