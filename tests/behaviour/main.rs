//! What ticketd does, seen from outside: the real server and the sandbox over real sockets, time in the test's hand.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

mod browser;
mod chromium;
#[path = "../support/cluster.rs"]
mod cluster;
mod front;
mod log;
mod proxy;
#[path = "../support/standby.rs"]
mod standby;
mod visitor;
mod world;

mod breaker;
mod call;
mod clock_skew;
mod database;
mod directory;
mod exchange_transports;
mod fault_matrix;
mod faults;
mod first_ticket;
mod fleet;
mod forms;
mod full_cache;
mod grants;
mod hostile_pages;
mod keep_alive;
mod log_lines;
mod onboarding;
mod onboarding_in_chromium;
mod overload;
mod refused_pages;
mod renewals;
mod replicas;
mod sign_ins;
mod signing_keys;
mod single_flight;
mod tenant_states;
mod throttling;
mod unread_answers;
mod webhook;
mod wrong_tenant;
