//! The configuration: a TOML file, environment variables over it, and secrets from the files they name.
//!
//! Every mistake is reported at once, with its key and what is expected. Reports do not repeat values: a secret that
//! stands in the wrong place stays unseen.

mod http;
mod kind;
mod mistake;
mod postgres;
mod reader;
mod secret_file;
mod server;
mod store;
mod superoffice;
mod telemetry;
mod tickets;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use mistake::{Mistake, Origin, Problem, ShownPath, Warning};
use thiserror::Error;

use self::reader::{Checked, Reader};
use crate::{credentials, crypto};

/// The longest file that is read as a configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What every part of ticketd needs to know.
#[derive(Debug)]
pub struct Config {
    /// SuperOffice's side.
    pub superoffice: crate::superoffice::Settings,
    /// The keys that sign system user tokens, tried in this order.
    pub signing_keys: Vec<crypto::PrivateKey>,
    /// How tickets are kept.
    pub tickets: credentials::Settings,
    /// Where tenants are kept.
    pub store: crate::store::Settings,
    /// Where and how calls are served.
    pub server: crate::server::Settings,
    /// Where and how pages are served, if they are.
    pub http: Option<crate::http::Settings>,
    /// What is logged and traced.
    pub telemetry: crate::telemetry::Settings,
}

/// A configuration, and what should be looked at although it works.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Shown to the operator.
    pub warnings: Vec<Warning>,
}

/// Why there is no configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file itself cannot be read.
    #[error("the configuration {} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it is wrong. Each mistake is a line of the text.
    #[error("{}", mistake::lines(.0))]
    Mistakes(Vec<Mistake>),
}

impl Config {
    /// Reads the file, the environment's `TICKETD_` variables and the secret files they name.
    pub fn load(
        file: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let text = read(file).map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        Self::parse(&text, environment)
    }

    /// Like [`load`](Self::load), with the file's text in hand.
    pub fn parse(
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let mut reader = Reader::new(text, environment).map_err(ConfigError::Mistakes)?;
        let config = assemble(&mut reader);
        let (mistakes, warnings) = reader.finish();
        match config {
            Ok(config) if mistakes.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(ConfigError::Mistakes(mistakes)),
        }
    }
}

/// Reads every section before it gives up on one.
fn assemble(reader: &mut Reader) -> Checked<Config> {
    let application = superoffice::read(reader);
    let tickets = tickets::read(reader);
    let store =
        store::read(reader, application.as_ref().map(|(superoffice, _)| superoffice).map_err(|recorded| *recorded));
    let server = server::read(reader);
    let http = http::read(reader);
    let telemetry = telemetry::read(reader);
    let (superoffice, signing_keys) = application?;
    let (tickets, store, server, http, telemetry) = (tickets?, store?, server?, http?, telemetry?);
    Ok(Config { superoffice, signing_keys, tickets, store, server, http, telemetry })
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
