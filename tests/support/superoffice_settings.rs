//! Settings of a client of SuperOffice's side.

use std::time::Duration;

use ticketd::identifiers::{ApplicationId, ClientSecret, Environment};
use ticketd::superoffice::{ClientAuthentication, Development, ExchangeTransport, Settings};

/// As ticketd's defaults have them, for a SuperOffice that stands at `base_url`.
pub(crate) fn superoffice_settings(base_url: &str, client_id: &str, client_secret: &str) -> Settings {
    Settings {
        environment: Environment::Sod,
        client_id: ApplicationId::new(client_id),
        client_secret: ClientSecret::new(client_secret).into(),
        client_authentication: ClientAuthentication::Post,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        state_timeout: Duration::from_secs(2),
        max_requests_in_flight: 64,
        exchange: ExchangeTransport::Rest,
        redirect_uris: Vec::new(),
        development: Some(Development { base_url: base_url.parse().unwrap(), extra_ca_file: None }),
    }
}
