use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use super::arguments::shown;
use super::failure::Failure;

/// The longest input: a key set of a few dozen keys.
const MAX_INPUT: usize = 256 * 1024;
/// The longest of what is only passed on: a document.
pub(super) const MAX_DATA: usize = 16 * 1024 * 1024;

/// What a command reads from and writes to.
pub(super) struct Console<'a> {
    pub(super) input: &'a mut dyn Read,
    /// Results and nothing else, so that they can be piped. A reader that goes away is no error.
    pub(super) output: &'a mut dyn Write,
    pub(super) errors: &'a mut dyn Write,
    pub(super) output_is_terminal: bool,
    pub(super) errors_is_terminal: bool,
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Console<'_> {
    /// The process's own.
    pub(super) fn with_process<T>(run: impl FnOnce(&mut Console<'_>) -> T) -> T {
        let output_is_terminal = io::stdout().is_terminal();
        run(&mut Console {
            input: &mut io::stdin().lock(),
            output: &mut io::stdout().lock(),
            // Not locked: the log is written there from other threads.
            errors: &mut io::stderr(),
            output_is_terminal,
            errors_is_terminal: io::stderr().is_terminal(),
            environment: std::env::vars_os().collect(),
        })
    }
}

/// A file, or stdin when it is named `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Stdin } else { Self::File(PathBuf::from(text)) })
    }
}

impl Source {
    /// All of it.
    pub(super) fn read(&self, console: &mut Console<'_>) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.read_at_most(MAX_INPUT, console)
    }

    /// All of it, unless it is longer than `limit`.
    pub(super) fn read_at_most(&self, limit: usize, console: &mut Console<'_>) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self {
            Self::Stdin => read(&mut *console.input, limit)
                .map_err(|error| Failure::failed(&format_args!("cannot read stdin: {error}"))),
            Self::File(path) => read_file_at_most(path, limit),
        }
    }

    /// All of it as a line of text, without the line end.
    pub(super) fn read_line(&self, console: &mut Console<'_>) -> Result<Zeroizing<String>, Failure> {
        let bytes = self.read(console)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(&"the input is not UTF-8"))?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// All of a file.
pub(super) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_file_at_most(path, MAX_INPUT)
}

fn read_file_at_most(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    File::open(path)
        .and_then(|file| read(file, limit))
        .map_err(|error| Failure::failed(&format_args!("cannot read {}: {error}", shown(path))))
}

fn read(input: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // As large as it can get from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    input.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let error = format!("it is larger than {} KiB", limit / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(bytes)
}
