use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use url::{Host, Url};

/// Where and how ticketd's pages are served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they are served, in plain HTTP: TLS ends before it.
    pub address: SocketAddr,
    /// Where browsers find them.
    pub public_url: PublicUrl,
    /// How many connections are served at once.
    pub max_connections: usize,
    /// How many of them one IP address may have; 0 for as many as it likes. All of an ingress's have its own.
    pub max_connections_per_ip: usize,
    /// The longest a request may take.
    pub request_timeout: Duration,
}

impl Settings {
    /// How many connections are served at once, unless something else is said.
    pub const MAX_CONNECTIONS: usize = 256;
    /// How many of them one IP address may have.
    pub const MAX_CONNECTIONS_PER_IP: usize = 64;
    /// The longest a request may take.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

    /// The settings with the default limits.
    pub fn new(address: SocketAddr, public_url: PublicUrl) -> Self {
        Self {
            address,
            public_url,
            max_connections: Self::MAX_CONNECTIONS,
            max_connections_per_ip: Self::MAX_CONNECTIONS_PER_IP,
            request_timeout: Self::REQUEST_TIMEOUT,
        }
    }
}

/// Where browsers find the pages: a scheme, a host and perhaps a port. It is https, except on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    is_https: bool,
}

/// The text is no URL that pages can be found at.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("is no public URL: give https://, a host, and nothing after it; http:// only for localhost")]
pub struct PublicUrlError;

impl PublicUrl {
    /// Where SuperOffice sends browsers back to. It has to be registered there exactly so.
    pub fn redirect_uri(&self) -> String {
        format!("{}/onboarding/callback", self.origin)
    }

    /// Whether browsers come over TLS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| PublicUrlError)?;
        let is_loopback = match url.host().ok_or(PublicUrlError)? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        let is_https = url.scheme() == "https";
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let is_allowed = is_bare && (is_https || url.scheme() == "http" && is_loopback);
        is_allowed.then(|| Self { origin: url.origin().ascii_serialization(), is_https }).ok_or(PublicUrlError)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redirect_uri_follows_from_it() {
        for (text, redirect_uri) in [
            ("https://tickets.example.com", "https://tickets.example.com/onboarding/callback"),
            ("https://Tickets.Example.com:443/", "https://tickets.example.com/onboarding/callback"),
            ("https://tickets.example.com:8443", "https://tickets.example.com:8443/onboarding/callback"),
            ("http://localhost:8085", "http://localhost:8085/onboarding/callback"),
            ("http://127.0.0.1:8085", "http://127.0.0.1:8085/onboarding/callback"),
            ("http://[::1]:8085", "http://[::1]:8085/onboarding/callback"),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!(url.redirect_uri(), redirect_uri);
            assert_eq!(url.is_https(), text.starts_with("https:"));
        }
    }

    #[test]
    fn anything_but_an_origin_is_refused() {
        for text in [
            "",
            "tickets.example.com",
            "http://tickets.example.com",
            "http://localhost.example.com",
            "https://tickets.example.com/ticketd",
            "https://tickets.example.com/?",
            "https://tickets.example.com/#",
            "https://user@tickets.example.com",
            "https://:secret@tickets.example.com",
            "ftp://localhost",
            "file:///onboarding",
            "data:text/html,x",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(PublicUrlError), "{text}");
        }
    }
}
