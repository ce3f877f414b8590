//! Whatever strangers can send ticketd, as functions of bytes: they do what ticketd does with it, and panic when it should
//! not have.
//!
//! `fuzz/run` has libFuzzer make inputs up. What is worth keeping of them lies in `corpus/`, a directory a target, and runs
//! through the same functions with the other tests. Every function goes in by a door that ticketd itself uses: what is
//! private there is reached over a socket.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a target that fails panics")]

mod callers;
mod identifiers;
mod keys;
mod pages;
mod settings;
#[path = "../../tests/support/superoffice_settings.rs"]
mod superoffice_settings;
mod tokens;
mod upstream;

/// A door of ticketd's.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As its corpus is called.
    pub name: &'static str,
    /// Panics when ticketd does wrong with these bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 19] = [
    Target { name: "context_identifier", run: identifiers::context_identifier },
    Target { name: "config", run: settings::config },
    Target { name: "private_key", run: keys::private_key },
    Target { name: "sealed_record", run: keys::sealed_record },
    Target { name: "key_set", run: keys::key_set },
    Target { name: "system_user_jwt", run: tokens::system_user_jwt },
    Target { name: "id_token", run: tokens::id_token },
    Target { name: "webhook_token", run: tokens::webhook_token },
    Target { name: "service_account_token", run: tokens::service_account_token },
    Target { name: "client_certificate", run: callers::client_certificate },
    Target { name: "caller_name", run: callers::caller_name },
    Target { name: "policy", run: callers::policy },
    Target { name: "rest_exchange", run: upstream::rest_exchange },
    Target { name: "soap_exchange", run: upstream::soap_exchange },
    Target { name: "token_response", run: upstream::token_response },
    Target { name: "tenant_state", run: upstream::tenant_state },
    Target { name: "tenant_url", run: upstream::tenant_url },
    Target { name: "callback_query", run: pages::callback_query },
    Target { name: "webhook", run: pages::webhook },
];
