use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::drain::Steps;

/// Where and how callers are served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where callers connect over TCP, if they do.
    pub address: Option<SocketAddr>,
    /// How they do: in plaintext when absent, and then only unidentified and on the loopback interface.
    pub tls: Option<TlsSettings>,
    /// Where callers of this machine connect, if they do: identified by the user that they run as.
    pub unix_socket: Option<PathBuf>,
    /// Which users can open it.
    pub unix_socket_mode: u32,
    /// Whether callers that prove nothing are served: only on the loopback interface or the Unix socket.
    pub allow_unidentified_callers: bool,
    /// Where `grpc.health.v1` answers in plaintext, and nothing else. Any address.
    pub health_address: SocketAddr,
    /// Whether `grpc.reflection` answers on the callers' address.
    pub reflection: bool,
    /// The longest a call may take, whatever deadline its caller sets.
    pub request_timeout: Duration,
    /// How many connections are served at once on each address.
    pub max_connections: usize,
    /// How many of them one IP address may have; 0 for as many as it likes.
    pub max_connections_per_ip: usize,
    /// Where that does not count, on any of our addresses: one that translates addresses, balances load or runs beside
    /// us, as all do that come over the loopback interface, speaks for many.
    pub proxy_networks: Vec<IpNet>,
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

impl Settings {
    /// How long the server takes at most from the first request to stop until nothing of its callers' runs.
    pub fn longest_drain(&self) -> Duration {
        self.steps().longest()
    }

    pub(super) fn steps(&self) -> Steps {
        Steps { delay: self.drain_delay, timeout: self.drain_timeout }
    }
}

/// What callers' TLS handshakes are made with. Every file is PEM.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Our certificate, followed by those above it.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Whether callers must show a certificate. They are not asked for one without a bundle to verify it with.
    pub client_certificate: ClientCertificate,
    /// The SPIFFE trust domains that are accepted, each with the file of its authorities.
    pub trust_bundles: BTreeMap<String, PathBuf>,
    /// The authorities of certificates with a DNS name in a SPIFFE ID's place. Those are not accepted without.
    pub dns_ca_file: Option<PathBuf>,
    /// Lists of revoked certificates.
    pub crl_files: Vec<PathBuf>,
}

/// Whether a caller must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Without one there is no connection.
    #[default]
    Required,
    /// Without one a caller has to prove itself by its bearer token.
    Optional,
}

impl FromStr for ClientCertificate {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            _ => Err(()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))),
            tls: None,
            unix_socket: None,
            unix_socket_mode: 0o660,
            allow_unidentified_callers: false,
            health_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8081)),
            reflection: false,
            request_timeout: Duration::from_secs(30),
            max_connections: 1_024,
            max_connections_per_ip: 64,
            proxy_networks: vec![
                IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                IpAddr::from(Ipv6Addr::LOCALHOST).into(),
            ],
            max_calls_per_connection: 128,
            max_calls: 20_000,
            max_connection_age: Duration::from_mins(5),
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(15),
        }
    }
}
