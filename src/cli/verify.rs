use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::arguments::{leeway, moment};
use super::console::{Console, Source, read_file};
use super::failure::Failure;
use crate::clock::{Clock, SystemClock};
use crate::crypto::{SystemUserProfile, VerificationKeys, verify_system_user_jwt};
use crate::identifiers::{ContextIdentifier, Environment, SystemUserToken, UnverifiedJwt};
use crate::telemetry::one_line;

#[derive(Args, Debug)]
#[command(after_help = "\
The published keys of the environment are built in. The ticket inside the JWT is not printed.

Examples:
  ticketd verify --environment sod --context-identifier Cust12345 --system-user-token-file token.txt < jwt.txt
  ticketd verify --environment sod --context-identifier Cust12345 --system-user-token-file token.txt \\
      --at 2026-01-31T12:00:00Z --jwks jwks.json < jwt.txt")]
pub(super) struct Verify {
    /// Whose keys must have signed it: sod, qaonline or online.
    #[arg(long)]
    environment: Environment,
    /// The tenant that it must be for.
    #[arg(long, value_name = "TENANT")]
    context_identifier: ContextIdentifier,
    /// File with the system user token that it must have been given for.
    #[arg(long, value_name = "FILE")]
    system_user_token_file: PathBuf,
    /// The moment at which it must be valid. Now when it is left out.
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    at: Option<Timestamp>,
    /// How far SuperOffice's clock may be off.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = leeway)]
    leeway: Duration,
    /// File with a JSON Web Key Set to use in place of the built-in keys.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let system_user_token = Source::File(self.system_user_token_file).read_line(console)?;
        let system_user_token = SystemUserToken::new(system_user_token.as_str());
        let keys = match &self.jwks {
            Some(path) => VerificationKeys::from_jwks(&read_file(path)?)
                .map_err(|error| Failure::caused_by("the key set cannot be read", &error))?,
            None => VerificationKeys::pinned(self.environment),
        };
        let jwt = UnverifiedJwt::new(Source::Stdin.read_line(console)?.trim());
        let profile = SystemUserProfile {
            context_identifier: self.context_identifier,
            system_user_token: &system_user_token,
            pinned_serial: None,
            leeway: self.leeway,
        };
        let now = self.at.unwrap_or_else(|| SystemClock.now());
        let claims = verify_system_user_jwt(&jwt, &keys, &profile, now)
            .map_err(|rejection| Failure::failed(&format_args!("{}: {rejection}", rejection.reason())))?;
        let lines = [
            ("tenant", Some(claims.context_identifier.to_string())),
            ("serial", Some(claims.serial)),
            ("webapi", claims.webapi_url),
            ("netserver", claims.netserver_url),
        ];
        writeln!(console.output, "The JWT is valid.")?;
        for (name, value) in lines {
            if let Some(value) = value {
                writeln!(console.output, "{:<11}{}", format!("{name}:"), one_line(&value))?;
            }
        }
        Ok(())
    }
}
