//! The configuration: a TOML file, environment variables over it, and secrets from the files they name.
//!
//! Every mistake is reported at once, with its key and what is expected. Reports do not repeat values: a secret that
//! stands in the wrong place stays unseen.

mod admin;
mod audit;
mod authorization;
mod http;
mod identity;
mod kind;
mod mistake;
mod postgres;
mod reader;
mod secret_file;
mod server;
mod source;
mod store;
mod superoffice;
mod telemetry;
mod tickets;
mod tls;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use mistake::{Mistake, Origin, Problem, ShownPath, Warning};
pub use source::{Application, Source};
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
    /// How service accounts' tokens are verified, if they are accepted.
    pub identity: Option<crate::identity::Settings>,
    /// Where and how pages are served, if they are.
    pub http: Option<crate::http::Settings>,
    /// Where monitoring and operators ask about this replica, if they may.
    pub admin: Option<crate::admin::Settings>,
    /// Where and how it is written down what is handed out, refused and changed.
    pub audit: crate::audit::Settings,
    /// Who may ask for what.
    pub authorization: crate::authorization::Settings,
    /// What is logged and traced.
    pub telemetry: crate::telemetry::Settings,
    /// To read again what changes under a running server. Without it nothing does.
    pub source: Option<Source>,
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
        Source::new(text, environment).read()
    }
}

/// Reads every section before it gives up on one.
fn assemble(reader: &mut Reader) -> Checked<Config> {
    let application = superoffice::read(reader);
    let tickets = tickets::read(reader);
    let store =
        store::read(reader, application.as_ref().map(|(superoffice, _)| superoffice).map_err(|recorded| *recorded));
    let server = server::read(reader);
    let has_tls = server.as_ref().map(|server| server.tls.is_some()).map_err(|recorded| *recorded);
    let identity = identity::read(reader, has_tls);
    let http = http::read(reader);
    let admin = admin::read(reader);
    let unidentified = server.as_ref().map(|server| server.allow_unidentified_callers).map_err(|recorded| *recorded);
    let authorization = authorization::read(reader, unidentified);
    let audit = audit::read(reader);
    let telemetry = telemetry::read(reader);
    let (superoffice, signing_keys) = application?;
    let (tickets, store, server, identity, authorization) = (tickets?, store?, server?, identity?, authorization?);
    let (http, admin, audit, telemetry) = (http?, admin?, audit?, telemetry?);
    Ok(Config {
        superoffice,
        signing_keys,
        tickets,
        store,
        server,
        identity,
        authorization,
        http,
        admin,
        audit,
        telemetry,
        source: None,
    })
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
