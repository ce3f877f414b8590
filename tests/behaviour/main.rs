//! What ticketd does, seen from outside: the real server and the sandbox over real sockets, time in the test's hand.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod log;
mod world;

mod clock_skew;
mod directory;
mod exchange_transports;
mod faults;
mod first_ticket;
mod fleet;
mod forms;
mod full_cache;
mod log_lines;
mod overload;
mod renewals;
mod signing_keys;
mod single_flight;
mod throttling;
mod unread_answers;
mod wrong_tenant;
