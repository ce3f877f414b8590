use std::time::Duration;

use super::kind::{duration, number, socket_address, switch};
use super::reader::{Checked, Reader};
use crate::server::Settings;

/// Where and how calls are served.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let default = Settings::default();
    let mut section = reader.section("server");
    let address = section.or("address", socket_address(), default.address);
    let health_address = section.or("health_address", socket_address(), default.health_address);
    let reflection = section.or("reflection", switch(), default.reflection);
    let limit = duration(Duration::from_millis(1)..=Duration::from_mins(10));
    let request_timeout = section.or("request_timeout", limit, default.request_timeout);
    let max_connections = section.or("max_connections", number(1..=1_000_000), default.max_connections);
    let max_connections_per_ip =
        section.or("max_connections_per_ip", number(0..=1_000_000), default.max_connections_per_ip);
    let max_calls_per_connection =
        section.or("max_calls_per_connection", number(1..=65_535), default.max_calls_per_connection);
    let max_calls = section.or("max_calls", number(1..=1_000_000), default.max_calls);
    let age = duration(Duration::from_secs(1)..=Duration::from_hours(24));
    let max_connection_age = section.or("max_connection_age", age, default.max_connection_age);
    let drain = || duration(Duration::ZERO..=Duration::from_mins(10));
    let drain_delay = section.or("drain_delay", drain(), default.drain_delay);
    let drain_timeout = section.or("drain_timeout", drain(), default.drain_timeout);

    let is_loopback = address.map(|address| address.ip().is_loopback());
    section.rule(
        "address",
        is_loopback,
        "must be on the loopback interface: callers are not identified, and get tickets",
    );

    Ok(Settings {
        address: address?,
        health_address: health_address?,
        reflection: reflection?,
        request_timeout: request_timeout?,
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        max_calls_per_connection: max_calls_per_connection?,
        max_calls: max_calls?,
        max_connection_age: max_connection_age?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
    })
}
