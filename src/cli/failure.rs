use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

use super::console::Console;
use crate::telemetry::one_line;

/// `EX_USAGE` of sysexits.h: the command line or the configuration is wrong, and trying again will not help.
pub(super) const EXIT_USAGE: u8 = 64;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line or the configuration is wrong.
    Usage(String),
    /// It went wrong.
    Failed(String),
    /// It went wrong in a way that has an exit code of its own.
    Coded(u8, String),
    /// It went wrong, and the log has said so.
    Logged,
    /// Nobody reads the output any more, as with `| head`.
    OutputClosed,
}

impl Failure {
    pub(super) fn usage(message: &impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    pub(super) fn failed(message: &impl Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// The same failure with an exit code of its own, unless it says already how the process ends.
    pub(super) fn with_code(self, code: u8) -> Self {
        match self {
            Self::Failed(message) => Self::Coded(code, message),
            other => other,
        }
    }

    /// What went wrong, with its causes.
    pub(super) fn caused_by(context: impl Display, error: &dyn Error) -> Self {
        Self::Failed(format!("{context}: {}", with_causes(error)))
    }

    /// Tells it, a line each, and answers the exit code.
    pub(super) fn report(self, console: &mut Console<'_>) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, ExitCode::from(EXIT_USAGE)),
            Self::Failed(message) => (message, ExitCode::FAILURE),
            Self::Coded(code, message) => (message, ExitCode::from(code)),
            Self::Logged => return ExitCode::FAILURE,
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        for line in message.lines() {
            // When stderr is gone, nobody is left to tell.
            drop(writeln!(console.errors, "ticketd: {}", one_line(line)));
        }
        code
    }
}

impl Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::Coded(_, message) => {
                formatter.write_str(&one_line(message))
            }
            Self::Logged => formatter.write_str("the log has said what went wrong"),
            Self::OutputClosed => formatter.write_str("nobody reads the output any more"),
        }
    }
}

/// The error, and the causes that its own text leaves out.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Of writing the output: what is read says which file it was.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("cannot write the output: {error}"))
        }
    }
}
