use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{authorization, crypto};

/// One thing that is wrong, and where. It never holds the value itself.
#[derive(Debug)]
pub struct Mistake {
    /// The key with its section, `tickets.lifetime`; empty when the file's syntax is wrong.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong and what is expected.
    pub problem: Problem,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    Line(usize),
    /// An environment variable.
    Variable(String),
    /// Nowhere: it is not set.
    Unset,
}

/// What is wrong with a value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is no TOML here.
    #[error("{0}")]
    Syntax(String),
    /// A required key is not set.
    #[error("is missing: expected {0}")]
    Missing(String),
    /// The value has another type or is out of range.
    #[error("expected {0}")]
    Expected(String),
    /// The value is no text.
    #[error("expected UTF-8")]
    NotUnicode,
    /// No key or section has this name.
    #[error("is unknown{}", did_you_mean(.suggestion.as_deref()))]
    Unknown {
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// A secret stands where everybody sees it.
    #[error("a secret is read from a file only{}", advice(.file_key.as_deref()))]
    SecretInline {
        /// The key that names the file.
        file_key: Option<String>,
    },
    /// Two settings do not fit together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A file or directory cannot be read.
    #[error("cannot read {file}: {cause}")]
    File {
        /// Which.
        file: ShownPath,
        /// Why.
        cause: io::Error,
    },
    /// A secret file's mode lets everybody read or change it.
    #[error(
        "{file} is open to everybody (mode {mode:04o}): take that away (chmod o-rw), \
         or mount its Kubernetes Secret with defaultMode 0440"
    )]
    OpenToEverybody {
        /// Which.
        file: ShownPath,
        /// Its permissions.
        mode: u32,
    },
    /// A file cannot hold what it is named for.
    #[error("{file} {expected}")]
    Content {
        /// Which.
        file: ShownPath,
        /// What it should be.
        expected: &'static str,
    },
    /// A file holds no usable signing key.
    #[error("{file} is no usable signing key: {reason}")]
    SigningKey {
        /// Which.
        file: ShownPath,
        /// Why.
        reason: crypto::PrivateKeyError,
    },
    /// A file holds no usable sealing key.
    #[error("{file} is no usable sealing key: {reason}")]
    SealingKey {
        /// Which.
        file: ShownPath,
        /// Why.
        reason: crypto::SealingKeyError,
    },
    /// A policy cannot be used.
    #[error("{file}: {mistake}")]
    Policy {
        /// Which.
        file: ShownPath,
        /// One thing that is wrong in it.
        mistake: authorization::Mistake,
    },
    /// The log filter does not parse.
    #[error(transparent)]
    LogFilter(#[from] crate::telemetry::LogFilterError),
}

/// Something that works and should be looked at all the same.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Nothing is written down.
    #[error("{key}: nobody will be able to tell who got which ticket")]
    NoAudit {
        /// The key that says so.
        key: String,
    },
    /// Whoever connects may do everything.
    #[error("{key} is not set: every caller without an identity may do everything, which is for development only")]
    NoPolicy {
        /// The key that would name it.
        key: String,
    },
    /// A signing key is shorter than it should be.
    #[error("{key}: {file} has {bits} bits: register one of {} or more", crypto::RECOMMENDED_BITS)]
    WeakKey {
        /// The key that names it.
        key: String,
        /// Which.
        file: ShownPath,
        /// Its length.
        bits: usize,
    },
}

/// A path as it may be shown: a secret that was given in a path's place is not repeated.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownPath(PathBuf);

impl ShownPath {
    /// Shows this path if it cannot be a secret.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl fmt::Display for ShownPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_str() {
            // No secret of SuperOffice's begins so: it is hexadecimal, PEM, XML or base64 of DER.
            Some(path) if ["/", "./", "../"].iter().any(|start| path.starts_with(start)) => {
                write!(formatter, "{}", path.escape_debug())
            }
            _ => formatter.write_str("the path (not shown: it does not begin with / or ./)"),
        }
    }
}

impl fmt::Debug for ShownPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key may be quoted in TOML, and then hold anything of any length.
        let key: String = self.key.chars().take(80).flat_map(char::escape_debug).collect();
        match &self.origin {
            Origin::Line(line) if key.is_empty() => write!(formatter, "line {line}: {}", self.problem),
            Origin::Line(line) => write!(formatter, "{key} (line {line}): {}", self.problem),
            Origin::Variable(name) => {
                let name: String = name.chars().take(100).flat_map(char::escape_debug).collect();
                write!(formatter, "{key} ({name}): {}", self.problem)
            }
            Origin::Unset => write!(formatter, "{key}: {}", self.problem),
        }
    }
}

/// Each mistake on a line of its own.
pub(super) fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}

fn advice(file_key: Option<&str>) -> String {
    file_key.map(|key| format!(": set {key} to its path")).unwrap_or_default()
}
