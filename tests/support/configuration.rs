//! The configuration of a server that runs within its test.

use std::path::Path;

use ticketd::config::Config;
use ticketd::crypto::PrivateKey;
use ticketd::{audit, authorization, credentials, server, superoffice, telemetry};

use crate::store_settings::store_settings;

/// Of a server on ports of the loopback interface that are free, with its database in `directory`. It lets everybody
/// in, stops without delay and tells nobody anything.
pub(crate) fn configuration(
    superoffice: superoffice::Settings,
    signing_keys: Vec<PrivateKey>,
    directory: &Path,
) -> Config {
    Config {
        superoffice,
        signing_keys,
        tickets: credentials::Settings::default(),
        store: store_settings(format!("sqlite://{}", directory.join("ticketd.db").display())),
        server: server::Settings {
            address: Some("127.0.0.1:0".parse().unwrap()),
            allow_unidentified_callers: true,
            health_address: "127.0.0.1:0".parse().unwrap(),
            drain_delay: std::time::Duration::ZERO,
            ..server::Settings::default()
        },
        identity: None,
        authorization: authorization::Settings::development(),
        http: None,
        admin: None,
        audit: audit::Settings { output: audit::Output::Off, ..Default::default() },
        telemetry: telemetry::Settings::default(),
        source: None,
    }
}
