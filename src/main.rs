//! ticketd, the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ticketd::cli::run()
}
