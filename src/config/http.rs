use std::time::Duration;

use super::kind::{duration, number, parsed, socket_address};
use super::reader::{Checked, Reader};
use crate::http::Settings;

/// Where and how pages are served. There are none without an address.
pub(super) fn read(reader: &mut Reader) -> Checked<Option<Settings>> {
    let mut section = reader.section("http");
    let address = section.optional("address", socket_address());
    let public_url = "https://, a host and perhaps a port, like \"https://tickets.example.com\"";
    let public_url = section.optional("public_url", parsed(public_url));
    let max_connections = section.or("max_connections", number(1..=1_000_000), Settings::MAX_CONNECTIONS);
    let max_connections_per_ip =
        section.or("max_connections_per_ip", number(0..=1_000_000), Settings::MAX_CONNECTIONS_PER_IP);
    let limit = duration(Duration::from_secs(1)..=Duration::from_mins(10));
    let request_timeout = section.or("request_timeout", limit, Settings::REQUEST_TIMEOUT);
    let (address, public_url) = (address?, public_url?);

    section.rule("address", Ok(address.is_some() || public_url.is_none()), "must be set as http.public_url is");
    section.rule("public_url", Ok(public_url.is_some() || address.is_none()), "must be set as http.address is");
    let (Some(address), Some(public_url)) = (address, public_url) else { return Ok(None) };
    Ok(Some(Settings {
        address,
        public_url,
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        request_timeout: request_timeout?,
    }))
}
