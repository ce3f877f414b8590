mod get;
mod shown;
mod watch;

use clap::Subcommand;

use self::get::Get;
use self::watch::Watch;
use super::console::Console;
use super::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Ticket {
    /// Get a tenant's system user ticket from a running ticketd.
    Get(Get),
    /// Watch tenants' system user tickets at a running ticketd until Ctrl-C.
    Watch(Watch),
}

impl Ticket {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        match self {
            Self::Get(get) => get.run(console),
            Self::Watch(watch) => watch.run(console),
        }
    }
}
