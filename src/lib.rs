//! ticketd issues SuperOffice CRM Online system user tickets to internal services over gRPC.
//!
//! The house, from the door to the cellar; a module may import those below it on its line, and never one above:
//!
//! ```text
//! main ─ cli ─ server ─┬─ grpc ──┬─ credentials ─┬─ superoffice ─┬─ crypto ─┬─ identifiers
//!                      ├─ http ──┤               └─ store ───────┘          ├─ clock
//!                      ├─ admin ─┘                                          └─ random
//!                      └─ config (Settings)
//!              authorization (identifiers, clock), audit, identity (crypto and below), log_pace (clock),
//!              telemetry, trace_context (metrics), metrics, regular_file (nothing of ours)
//! ```
//!
//! A call's way: `server` accepts the connection, `grpc` learns from `identity` who calls and parses the request,
//! `credentials` answers from memory or starts the tenant's one exchange, which reads `store`, signs with `crypto`, asks
//! `superoffice`, verifies with `crypto` and keeps the ticket. `docs/architecture.md` walks one call through the files.

pub mod admin;
pub mod audit;
pub mod authorization;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod crypto;
pub mod grpc;
pub mod http;
pub mod identifiers;
pub mod identity;
pub mod log_pace;
pub mod metrics;
pub mod random;
pub mod regular_file;
pub mod server;
pub mod store;
pub mod superoffice;
pub mod telemetry;
pub mod trace_context;
