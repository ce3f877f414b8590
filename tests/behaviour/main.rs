//! What ticketd does, seen from outside: the real server and the sandbox over real sockets, time in the test's hand.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is left out, or runs elsewhere, says so")]

#[path = "../support/api_server.rs"]
mod api_server;
mod browser;
mod chromium;
#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/configuration.rs"]
mod configuration;
mod front;
#[path = "../support/issuer.rs"]
mod issuer;
mod lapse;
mod log;
mod mesh;
#[path = "../support/otlp_collector.rs"]
mod otlp_collector;
#[path = "../support/own_process.rs"]
mod own_process;
#[path = "../support/pki.rs"]
mod pki;
mod processor;
mod proxy;
mod several;
#[path = "../support/standby.rs"]
mod standby;
#[path = "../support/store_settings.rs"]
mod store_settings;
#[path = "../support/superoffice_settings.rs"]
mod superoffice_settings;
mod visitor;
mod world;

mod audit;
mod batch;
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
mod hits;
mod hostile_pages;
mod keep_alive;
mod log_lines;
mod onboarding;
mod onboarding_in_chromium;
mod overload;
mod policy;
mod refused_pages;
mod reload;
mod renewals;
mod replicas;
mod scaling;
mod service_accounts;
mod sign_ins;
mod signing_keys;
mod single_flight;
mod status;
mod status_in_chromium;
mod telemetry;
mod tenant_states;
mod throttling;
mod unheard;
mod unread_answers;
mod warming;
mod watch;
mod webhook;
mod wrong_tenant;
