//! The sandbox over real sockets, seen from a partner's side that shares no code with it.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod binary;
mod by_name;
mod contacts;
mod control;
mod exchange;
mod failures;
mod forgeries;
mod oauth;
mod partner;
mod sign_in;
mod soap;
mod tenants;
mod webhooks;
mod well_known;
