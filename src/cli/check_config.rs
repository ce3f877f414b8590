use std::sync::Arc;

use clap::Args;

use super::config_file::ConfigFile;
use super::console::Console;
use super::failure::Failure;
use crate::clock::{Clock, SystemClock};
use crate::telemetry::one_line;

#[derive(Args, Debug)]
#[command(after_help = "\
Reads the secret files and parses the signing keys too, and connects nowhere. Warnings go to stderr.

Examples:
  ticketd check-config --config ticketd.toml
  TICKETD_SUPEROFFICE_ENVIRONMENT=online ticketd check-config --config ticketd.toml")]
pub(super) struct CheckConfig {
    #[command(flatten)]
    config: ConfigFile,
}

impl CheckConfig {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let loaded = self.config.load(console)?;
        for warning in &loaded.warnings {
            // A closed stderr changes nothing about the result.
            drop(writeln!(console.errors, "ticketd: warning: {}", one_line(&warning.to_string())));
        }
        let config = &loaded.config;
        if let Some(tls) = &config.server.tls {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            tls.check(&clock).map_err(|error| Failure::caused_by("TLS cannot be served", &error))?;
        }
        let keys: Vec<_> = config.signing_keys.iter().map(|key| format!("{} bits", key.bits())).collect();
        writeln!(console.output, "The configuration is good.")?;
        writeln!(console.output, "environment:     {}", config.superoffice.environment)?;
        writeln!(console.output, "signing keys:    {}", keys.join(", "))?;
        if let Some(address) = config.server.address {
            let how = if config.server.tls.is_some() { "TLS" } else { "plaintext, callers are not identified" };
            writeln!(console.output, "address:         {address} ({how})")?;
        }
        if let Some(path) = &config.server.unix_socket {
            writeln!(console.output, "Unix socket:     {}", one_line(&path.display().to_string()))?;
        }
        writeln!(console.output, "health address:  {}", config.server.health_address)?;
        Ok(())
    }
}
