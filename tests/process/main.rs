//! The program itself: real processes, real signals, the machine's clock, and a sandbox of SuperOffice's side in the
//! test's process.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

mod commands;
mod connections;
mod documented;
mod grants;
mod killing;
mod starting;
mod stopping;
mod walk;
