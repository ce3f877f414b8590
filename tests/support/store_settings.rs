//! Settings of a store.

use ticketd::identifiers::{ApplicationId, Environment};
use ticketd::store::{PostgresSettings, Sealing, Settings};

/// Of the database at this URL, sealed by the fixtures' key.
pub(crate) fn store_settings(url: String) -> Settings {
    let sealing = Sealing {
        key_files: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key").into()],
        environment: Environment::Sod,
        application: ApplicationId::new("app"),
    };
    Settings { url, tenants_directory: None, postgres: PostgresSettings::default(), sealing }
}
