use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::registry::LookupSpan;

use crate::regular_file;

/// More than any filter needs.
const MAX_BYTES: usize = 4 * 1024;

/// What is logged, in `RUST_LOG`'s syntax: `info`, or `warn,ticketd::credentials=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// The text is no log filter. The text itself, and the parser's words that repeat it, are left out: it may be a secret
/// that stands in the wrong place.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("is no log filter: give one like info or warn,ticketd::credentials=debug")]
pub struct LogFilterError;

/// There is no filter in a file.
#[derive(Debug, Error)]
pub enum LogFilterFileError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// What it holds is none.
    #[error("it {0}")]
    Filter(#[from] LogFilterError),
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(LogFilterError),
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl LogFilter {
    /// The filter in a file, whose end of line does not count. It may block.
    pub fn read(file: &Path) -> Result<Self, LogFilterFileError> {
        let content = regular_file::read(file, MAX_BYTES).map_err(LogFilterFileError::Unreadable)?;
        let text = std::str::from_utf8(&content.bytes).map_err(|_| LogFilterError)?;
        Ok(text.trim().parse()?)
    }

    /// The filter, and above it a limit that no filter lifts.
    ///
    /// Libraries know nothing of our secrets: h2 prints header frames at TRACE, with tickets in them, hyper and rustls
    /// print bytes, sqlx prints statements at DEBUG. So whatever the filter says, only our own targets go below INFO;
    /// a library that is added later is held back without being named here.
    pub fn filter<S>(&self) -> impl Filter<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
    {
        EnvFilter::builder()
            .parse_lossy(&self.0)
            .and(filter_fn(|metadata| *metadata.level() <= Level::INFO || is_ours(metadata)))
    }
}

/// Whether a span or an event is this crate's, library or program.
pub(super) fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().strip_prefix("ticketd").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_and_not_repeated() {
        let error = "c4nary=loud".parse::<LogFilter>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("c4nary"), "{error}");
        assert!("info".parse::<LogFilter>().is_ok());
        assert!("warn,ticketd::credentials=debug,[call{tenant=Cust1}]=trace".parse::<LogFilter>().is_ok());
    }
}
