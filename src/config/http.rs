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
    let max_connections = section.optional("max_connections", number(1..=1_000_000));
    let max_connections_per_ip = section.optional("max_connections_per_ip", number(0..=1_000_000));
    let limit = duration(Duration::from_secs(1)..=Duration::from_mins(10));
    let request_timeout = section.optional("request_timeout", limit);
    let (address, public_url) = (address?, public_url?);

    section.rule("address", Ok(address.is_some() || public_url.is_none()), "must be set as http.public_url is");
    section.rule("public_url", Ok(public_url.is_some() || address.is_none()), "must be set as http.address is");
    let (Some(address), Some(public_url)) = (address, public_url) else { return Ok(None) };
    let default = Settings::new(address, public_url);
    Ok(Some(Settings {
        max_connections: max_connections?.unwrap_or(default.max_connections),
        max_connections_per_ip: max_connections_per_ip?.unwrap_or(default.max_connections_per_ip),
        request_timeout: request_timeout?.unwrap_or(default.request_timeout),
        ..default
    }))
}
