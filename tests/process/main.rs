//! The program itself: real processes, real signals, the machine's clock, and a sandbox of SuperOffice's side in the
//! test's process.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/pki.rs"]
mod pki;
mod place;
#[path = "../support/superoffice_settings.rs"]
mod superoffice_settings;

mod auditing;
mod callers;
mod commands;
mod connections;
mod documented;
mod grants;
mod hygiene;
mod killing;
mod readiness;
mod starting;
mod stopping;
mod walk;
mod watching;
