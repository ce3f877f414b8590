use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Output;
use crate::crypto::{AuditKeyError, RandomnessError};

/// Why there is no audit.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The output cannot be opened.
    #[error("{} cannot be written to", shown(.output))]
    Output {
        /// The output.
        output: Output,
        /// Why.
        source: io::Error,
    },
    /// The first event was not taken.
    #[error("{} does not take the first event: see the log for why", shown(.output))]
    FirstEvent {
        /// The output.
        output: Output,
    },
    /// The key file cannot be used.
    #[error("audit.hmac_key_file {} cannot be used", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyFileProblem,
    },
    /// There is no thread for it.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// There are no random numbers for the events' ids.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
}

/// Why a file gives no key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It holds something else.
    #[error("{0}")]
    Content(AuditKeyError),
}

fn shown(output: &Output) -> String {
    match output {
        Output::Stdout => "stdout, which audit.output names,".to_owned(),
        Output::File(path) => format!("audit.path {}", path.display()),
        Output::Off => "nothing".to_owned(),
    }
}
