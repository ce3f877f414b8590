use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::reader::Reader;
use super::{Config, ConfigError, Loaded, superoffice};
use crate::crypto::PrivateKey;
use crate::identifiers::ClientSecret;

/// What a configuration was read from, to read the files again that it names: the text and the variables, which hold no
/// secrets themselves.
#[derive(Clone)]
pub struct Source {
    text: String,
    environment: Vec<(OsString, OsString)>,
    /// Where the client secret and the signing keys are.
    application_files: Vec<PathBuf>,
}

/// What the application proves itself with.
#[derive(Debug)]
pub struct Application {
    /// Sent with exchanges and OAuth requests.
    pub client_secret: ClientSecret,
    /// The keys that sign system user tokens, tried in this order.
    pub signing_keys: Vec<PrivateKey>,
}

impl Source {
    pub(super) fn new(text: &str, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = |name: &OsString| name.to_str().is_some_and(|name| name.starts_with(super::reader::VARIABLE_PREFIX));
        Self {
            text: text.to_owned(),
            environment: environment.into_iter().filter(|(name, _)| ours(name)).collect(),
            application_files: Vec::new(),
        }
    }

    pub(super) fn read(mut self) -> Result<Loaded, ConfigError> {
        let mut reader = self.reader()?;
        let config = super::assemble(&mut reader);
        self.application_files = reader.secret_files(superoffice::SECTION);
        let (mistakes, warnings) = reader.finish();
        match config {
            Ok(config) if mistakes.is_empty() => {
                Ok(Loaded { config: Config { source: Some(self), ..config }, warnings })
            }
            _ => Err(ConfigError::Mistakes(mistakes)),
        }
    }

    /// The client secret and the signing keys as their files hold them now.
    pub fn application(&self) -> Result<Application, ConfigError> {
        let mut reader = self.reader()?;
        let Ok((settings, signing_keys)) = superoffice::read(&mut reader) else {
            return Err(ConfigError::Mistakes(reader.into_mistakes()));
        };
        let client_secret = settings.client_secret.get().as_ref().clone();
        Ok(Application { client_secret, signing_keys })
    }

    /// The files that hold them.
    pub fn application_files(&self) -> &[PathBuf] {
        &self.application_files
    }

    fn reader(&self) -> Result<Reader, ConfigError> {
        Reader::new(&self.text, self.environment.iter().cloned()).map_err(ConfigError::Mistakes)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Source")
    }
}
