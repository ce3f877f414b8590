//! What the command line takes, and how it refuses: without repeating it. What is typed in the wrong place may be a
//! secret, and what a command says ends in logs.

use std::path::Path;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use jiff::Timestamp;

use crate::config::ShownPath;

const NOT_SHOWN: &str = "(not shown)";
/// Longer words are no part of a file's name, and shorter ones no secret.
const LONGEST_WORD: usize = 11;
/// No option of ours is longer.
const LONGEST_OPTION: usize = 24;

/// Takes `30s` or `1h30m`, up to a day: nothing here waits longer, and more is more than gRPC can say.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    at_most(text, Duration::from_hours(24), "expected a duration with its unit, at most a day, like 30s or 1h30m")
}

/// Takes what `tickets.clock_leeway` may be.
pub(super) fn leeway(text: &str) -> Result<Duration, String> {
    at_most(text, Duration::from_mins(1), "expected a duration with its unit, at most 60s")
}

fn at_most(text: &str, longest: Duration, expected: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok().filter(|duration| *duration <= longest);
    duration.ok_or_else(|| expected.to_owned())
}

/// Takes `2026-01-31T12:00:00Z`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected a moment like 2026-01-31T12:00:00Z".to_owned())
}

/// A file as it may be named in an error: not when a secret was given in its place.
pub(super) fn shown(path: &Path) -> String {
    let is_word = |word: &str| word.len() <= LONGEST_WORD && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match path.to_str() {
        // A system user token has no dot; all else that is secret has a longer word.
        Some(name) if name.contains('.') && name.split(['.', '-', '_', '/']).all(is_word) => name.to_owned(),
        _ => ShownPath::new(path).to_string(),
    }
}

/// The error without the values that were given.
pub(super) fn without_values(mut error: clap::Error) -> clap::Error {
    // It says how a value could have been passed, and repeats it.
    error.remove(ContextKind::Suggested);
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if error.get(kind).is_some() {
            error.insert(kind, ContextValue::String(NOT_SHOWN.to_owned()));
        }
    }
    let is_named = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(name)) if is_option(name));
    if error.kind() == ErrorKind::UnknownArgument && !is_named {
        error.insert(ContextKind::InvalidArg, ContextValue::String(NOT_SHOWN.to_owned()));
    }
    error
}

fn is_option(name: &str) -> bool {
    name.len() <= LONGEST_OPTION
        && name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_bounded() {
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(leeway("60s"), Ok(Duration::from_mins(1)));
        for wrong in ["12000y", "24h 1s", "30", "-1s", ""] {
            assert!(duration(wrong).is_err() && leeway(wrong).is_err(), "{wrong}");
        }
        assert!(leeway("61s").is_err());
    }

    #[test]
    fn files_are_named_and_secrets_in_their_place_are_not() {
        for name in ["token.txt", "private-key.xml", "/run/secrets/x", "./a", "superoffice_prod.toml", "keys/a.pem"] {
            assert_eq!(shown(Path::new(name)), name);
        }
        for secret in [
            "fedcba9876543210fedcba9876543210",
            "My App-8k8Q7DmBgo",
            "App-8k8Q7DmBgo",
            "App-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM==",
            "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl",
            "7T:MAA3AGYAMQBlAGQAZAAxAA==",
        ] {
            assert!(shown(Path::new(secret)).contains("not shown"), "{secret}");
        }
    }
}
