//! Several ticketd processes on one PostgreSQL, crowded, killed and stopped: one of them exchanges for all.
//!
//! Everything is real: processes, signals, the database and the machine's time. SuperOffice is the sandbox in the test's
//! process. `PROOFS=full` runs each proof at its full length.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]
#![expect(clippy::print_stdout, reason = "the figures are printed")]

use tokio::sync::RwLock;

mod balancer;
mod callers;
#[path = "../support/cluster.rs"]
#[expect(dead_code, reason = "the database does not fail here")]
mod cluster;
mod fleet;
mod gate;
mod holder;
#[path = "../process/place.rs"]
#[expect(dead_code, reason = "it is made for the tests of one process, and these need not all of it")]
mod place;

mod cold_tenant;
mod failed_puts;
mod killed_holders;
mod random_kills;
mod renewals;
mod rolling_updates;
mod soak;
mod stopped_holders;
mod two_versions;
mod upgrades;

/// Who keeps the machine busy writes, and has it alone; who mostly waits reads.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Whether the proofs run at the length that the figures are given for. See CONTRIBUTING.md.
fn full() -> bool {
    std::env::var("PROOFS").is_ok_and(|value| value == "full")
}
