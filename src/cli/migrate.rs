use clap::Args;

use super::config_file::ConfigFile;
use super::connection::wait_for;
use super::console::Console;
use super::failure::{Failure, with_causes};
use crate::store::{self, StoreError};

#[derive(Args, Debug)]
#[command(after_help = "\
Serving brings it up to date as well. Done beforehand, as a user who may create tables, ticketd's own user need not.
With --from everything that an SQLite database holds is copied, all or nothing, into the configuration's PostgreSQL
database, which must be empty. Stop ticketd first, and keep the sealing keys: secrets move as they are sealed.

Examples:
  ticketd migrate --config ticketd.toml
  ticketd migrate --config ticketd.toml --from sqlite:///var/lib/ticketd/ticketd.db")]
pub(super) struct Migrate {
    /// The SQLite database to copy.
    #[arg(long, value_name = "sqlite://PATH")]
    from: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

impl Migrate {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let settings = self.config.load(console)?.config.store;
        let failure = |error: StoreError| Failure::Failed(with_causes(&error));
        let Some(from) = self.from else {
            wait_for(async { store::bring_up_to_date(&settings).await.map_err(failure) })?;
            return Ok(writeln!(console.output, "the database is up to date")?);
        };
        let copied = wait_for(async { store::copy_from_sqlite(&from, &settings).await.map_err(failure) })?;
        for (table, rows) in copied.rows {
            writeln!(console.output, "{table}: {rows} rows copied")?;
        }
        Ok(())
    }
}
