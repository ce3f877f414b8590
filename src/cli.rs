//! The command line. Each subcommand parses, calls one use case and prints its result to stdout; what goes wrong goes
//! to stderr.

mod arguments;
mod call;
mod check_config;
mod config_file;
mod connection;
mod console;
mod failure;
mod healthcheck;
mod keys;
mod migrate;
mod policy;
mod process;
mod serve;
mod tenants;
mod ticket;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::console::Console;
use self::failure::{EXIT_USAGE, Failure};

/// Issues SuperOffice CRM Online system user tickets to internal services over gRPC.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  ticketd check-config --config ticketd.toml
  ticketd serve --config ticketd.toml
  ticketd tenants put Cust12345 --token-file token.txt
  ticketd ticket get Cust12345
  ticketd ticket watch Cust12345 Cust67890
  ticketd call Cust12345 GET v1/User/currentPrincipal

Exit codes: 0 done, 1 failed, 64 wrong usage or configuration; `ticketd call --help` and
`ticketd policy test --help` tell those of theirs."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve tickets until a signal ends it.
    Serve(serve::Serve),
    /// Check a configuration and report everything that is wrong with it.
    CheckConfig(check_config::CheckConfig),
    /// Bring the configuration's database up to date, or fill it from an SQLite database.
    Migrate(migrate::Migrate),
    /// Administer the tenants in the store.
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Use a running ticketd.
    #[command(subcommand)]
    Ticket(ticket::Ticket),
    /// Call tenants' Web APIs with tickets of a running ticketd.
    Call(call::Call),
    /// Look at private keys and convert them.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Verify a JWT of SuperOffice's from stdin.
    Verify(verify::Verify),
    /// Check policies and try them.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Ask a running ticketd whether it serves.
    Healthcheck(healthcheck::Healthcheck),
}

/// Does what the command line says, and answers the process's exit code.
#[must_use]
pub fn run() -> ExitCode {
    // Before there is a secret: nearly every command reads one.
    if let Err(error) = process::close_to_others() {
        let failure = Failure::failed(&format_args!("core dumps of this process cannot be turned off: {error}"));
        return Console::with_process(|console| failure.report(console));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // When the terminal is gone, nobody is left to tell.
            drop(arguments::without_values(error).print());
            return ExitCode::from(code);
        }
    };
    Console::with_process(|console| match execute(arguments, console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(console),
    })
}

fn execute(arguments: Arguments, console: &mut Console<'_>) -> Result<(), Failure> {
    match arguments.command {
        Command::Serve(serve) => serve.run(console),
        Command::CheckConfig(check_config) => check_config.run(console),
        Command::Migrate(migrate) => migrate.run(console),
        Command::Tenants(tenants) => tenants.run(console),
        Command::Ticket(ticket) => ticket.run(console),
        Command::Call(call) => call.run(console),
        Command::Keys(keys) => keys.run(console),
        Command::Verify(verify) => verify.run(console),
        Command::Policy(policy) => policy.run(console),
        Command::Healthcheck(healthcheck) => healthcheck.run(console),
    }?;
    Ok(console.output.flush()?)
}

#[cfg(test)]
mod tests;
