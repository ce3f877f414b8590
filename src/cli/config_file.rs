use std::path::PathBuf;

use clap::Args;

use super::arguments::shown;
use super::console::Console;
use super::failure::Failure;
use crate::config::{Config, ConfigError, Loaded};

/// Which configuration a command works with.
#[derive(Args, Debug)]
pub(super) struct ConfigFile {
    /// The configuration. Environment variables win over it.
    #[arg(long, value_name = "FILE", env = "TICKETD_CONFIG", default_value = "/etc/ticketd/ticketd.toml")]
    config: PathBuf,
}

impl ConfigFile {
    pub(super) fn load(&self, console: &Console<'_>) -> Result<Loaded, Failure> {
        Config::load(&self.config, console.environment.iter().cloned()).map_err(|error| match error {
            ConfigError::Unreadable { file, source } => {
                Failure::usage(&format_args!("the configuration {} cannot be read: {source}", shown(&file)))
            }
            mistakes => Failure::usage(&mistakes),
        })
    }
}
