use std::time::Duration;

use super::kind::{any_number_of, duration, number, parsed, path, socket_address, switch, text};
use super::reader::{Checked, Reader};
use super::tls;
use crate::server::Settings;

const MAX_NETWORKS: usize = 64;
const UNIDENTIFIED: &str = "cannot be served: callers cannot identify themselves without TLS. Set tls.certificate_file and \
    tls.key_file, or server.unix_socket for callers of this machine; for development, \
    server.allow_unidentified_callers = true lets everybody in who can connect";
const NOT_LOOPBACK: &str = "must be on the loopback interface: server.allow_unidentified_callers is for 127.0.0.1 and \
    [::1] only. Set tls.certificate_file and tls.key_file";

/// Where and how calls are served.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let default = Settings::default();
    let tls = tls::read(reader);
    let mut section = reader.section("server");
    let address = section.optional("address", socket_address());
    let unix_socket = section.optional("unix_socket", path("the path of a Unix socket"));
    let mode = text("a file mode in octal, like \"0660\"", file_mode);
    let unix_socket_mode = section.or("unix_socket_mode", mode, default.unix_socket_mode);
    let allow_unidentified_callers =
        section.or("allow_unidentified_callers", switch(), default.allow_unidentified_callers);
    let health_address = section.or("health_address", socket_address(), default.health_address);
    let reflection = section.or("reflection", switch(), default.reflection);
    let limit = duration(Duration::from_millis(1)..=Duration::from_mins(10));
    let request_timeout = section.or("request_timeout", limit, default.request_timeout);
    let max_connections = section.or("max_connections", number(1..=1_000_000), default.max_connections);
    let max_connections_per_ip =
        section.or("max_connections_per_ip", number(0..=1_000_000), default.max_connections_per_ip);
    let networks = any_number_of(parsed("a list of networks, like [\"10.0.0.0/8\", \"fd00::/8\"]"), MAX_NETWORKS);
    let proxy_networks = section.or("proxy_networks", networks, default.proxy_networks);
    let max_calls_per_connection =
        section.or("max_calls_per_connection", number(1..=65_535), default.max_calls_per_connection);
    let max_calls = section.or("max_calls", number(1..=1_000_000), default.max_calls);
    let age = duration(Duration::from_secs(1)..=Duration::from_hours(24));
    let max_connection_age = section.or("max_connection_age", age, default.max_connection_age);
    let drain = || duration(Duration::ZERO..=Duration::from_mins(10));
    let drain_delay = section.or("drain_delay", drain(), default.drain_delay);
    let drain_timeout = section.or("drain_timeout", drain(), default.drain_timeout);

    let (address, unix_socket, tls) = (address?, unix_socket?, tls?);
    let allow_unidentified_callers = allow_unidentified_callers?;
    // A Unix socket alone will do.
    let address = address.or(default.address.filter(|_| unix_socket.is_none() || tls.is_some()));
    if let Some(address) = address {
        section.rule("address", Ok(allow_unidentified_callers || tls.is_some()), UNIDENTIFIED);
        // Also over TLS: a proxy on this machine makes everybody a peer of this machine.
        section.rule("address", Ok(!allow_unidentified_callers || address.ip().is_loopback()), NOT_LOOPBACK);
    }

    Ok(Settings {
        address,
        tls,
        unix_socket,
        unix_socket_mode: unix_socket_mode?,
        allow_unidentified_callers,
        health_address: health_address?,
        reflection: reflection?,
        request_timeout: request_timeout?,
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        proxy_networks: proxy_networks?,
        max_calls_per_connection: max_calls_per_connection?,
        max_calls: max_calls?,
        max_connection_age: max_connection_age?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
    })
}

fn file_mode(text: &str) -> Option<u32> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777)
}
