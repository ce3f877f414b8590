use std::fmt;
use std::io;

use thiserror::Error;

/// Why a policy cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("the policy cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Something in it is wrong. Each mistake is a line of the text.
    #[error("{}", lines(.0))]
    Mistakes(Vec<Mistake>),
}

/// One thing that is wrong in a policy, and where. It never repeats what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line of the file.
    pub line: usize,
    /// What is meant, `callers[2].tenants[0]`; empty when it is the file's syntax.
    pub path: String,
    /// What is wrong, and what is expected.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The file is no YAML here.
    #[error("this is no YAML: {0}")]
    Syntax(String),
    /// YAML has it, and a policy does not.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Something of another kind was expected.
    #[error("expected {0}")]
    Expected(String),
    /// A field is not there.
    #[error("is missing: expected {0}")]
    Missing(String),
    /// No field has this name.
    #[error("there is no such field here{}; the fields are {fields}", did_you_mean(.suggestion.as_deref()))]
    UnknownField {
        /// The one that was probably meant.
        suggestion: Option<String>,
        /// Those that there are.
        fields: String,
    },
    /// It names an RPC that there is not.
    #[error("no RPC has this name{}", did_you_mean(.suggestion.as_deref()))]
    UnknownRpc {
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// It names a group that is not under `groups`.
    #[error("no group has this name{}", did_you_mean(.suggestion.as_deref()))]
    UnknownGroup {
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// It stands there for the second time.
    #[error("stands in line {first} already: keep one of the two")]
    Twice {
        /// The line of the first.
        first: usize,
    },
    /// It does not go with something else.
    #[error("{0}")]
    Conflict(&'static str),
    /// There are more mistakes than are told.
    #[error("there are more mistakes than these: mend these first")]
    More,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, path, problem } = self;
        if path.is_empty() {
            write!(formatter, "line {line}: {problem}")
        } else {
            write!(formatter, "line {line}: {path}: {problem}")
        }
    }
}

/// Longer names are not compared, nor more than so many.
const MAX_COMPARED: usize = 64;
const MOST_COMPARED: usize = 1_000;

/// The name that a misspelt one was probably meant to be.
pub(super) fn nearest<'a>(names: impl Iterator<Item = &'a str>, misspelt: &str) -> Option<String> {
    if misspelt.len() > MAX_COMPARED {
        return None;
    }
    let near = names.take(MOST_COMPARED).map(|name| (strsim::damerau_levenshtein(name, misspelt), name)).min();
    near.filter(|(distance, name)| *distance <= 3 && *distance < name.len()).map(|(_, name)| name.to_owned())
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}
