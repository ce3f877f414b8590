use clap::Args;

use super::config_file::ConfigFile;
use super::console::Console;
use super::failure::Failure;
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
        let keys: Vec<_> = config.signing_keys.iter().map(|key| format!("{} bits", key.bits())).collect();
        writeln!(console.output, "The configuration is good.")?;
        writeln!(console.output, "environment:     {}", config.superoffice.environment)?;
        writeln!(console.output, "signing keys:    {}", keys.join(", "))?;
        writeln!(console.output, "address:         {}", config.server.address)?;
        writeln!(console.output, "health address:  {}", config.server.health_address)?;
        Ok(())
    }
}
