//! The edge under attack: raw bytes over real sockets against the real server, and how honest callers fare meanwhile.
//! docs/edge.md has the figures.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the figures are said")]

mod frames;
mod honest;
mod peer;
mod rig;

mod bombs;
mod caps;
mod floods;
mod load;
mod malformed;
mod protocols;
mod resets;
mod slow;
