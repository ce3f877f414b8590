use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where and how callers are served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where callers connect. Loopback only, until callers are identified.
    pub address: SocketAddr,
    /// Where `grpc.health.v1` answers in plaintext, and nothing else. Any address.
    pub health_address: SocketAddr,
    /// Whether `grpc.reflection` answers on the callers' address.
    pub reflection: bool,
    /// The longest a call may take, whatever deadline its caller sets.
    pub request_timeout: Duration,
    /// How many connections are served at once on each address.
    pub max_connections: usize,
    /// How many of them one IP address may have on the health address; 0 for as many as it likes. (Callers all have the
    /// loopback interface's.)
    pub max_connections_per_ip: usize,
    /// How many calls are answered at once on each connection.
    pub max_calls_per_connection: u32,
    /// How many calls are answered at once on all connections together.
    pub max_calls: usize,
    /// A connection is asked to close at this age, give or take a tenth.
    pub max_connection_age: Duration,
    /// How long calls are still accepted after shutdown began, while load balancers learn of it.
    pub drain_delay: Duration,
    /// How long running calls may take after that.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            health_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8081)),
            reflection: false,
            request_timeout: Duration::from_secs(30),
            max_connections: 1_024,
            max_connections_per_ip: 64,
            max_calls_per_connection: 128,
            max_calls: 20_000,
            max_connection_age: Duration::from_mins(5),
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(15),
        }
    }
}
