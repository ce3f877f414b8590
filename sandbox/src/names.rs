//! The names that clients know the hosts by, where those are not this machine's own.

use axum::http::header::HOST;
use axum::http::request::Parts;

use crate::endpoint::Host;

/// The login host's name, then the tenant hosts' in their order. Whatever port a request came to, its host's name
/// decides: names lead to addresses, and all of them may lead to one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<String>);

impl Names {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }

    /// The URL of the host with this place in the order, without a slash at the end: by its name if it has one, and
    /// then without a port, as clients write it that have the name in them.
    pub(crate) fn url(&self, place: usize, by_address: String) -> String {
        self.0.get(place).map_or(by_address, |name| format!("https://{name}"))
    }

    /// Which host a request names.
    pub(crate) fn host(&self, request: &Parts) -> Option<Host> {
        let header = || request.headers.get(HOST).and_then(|value| value.to_str().ok());
        let name = request.uri.authority().map(axum::http::uri::Authority::as_str).or_else(header)?;
        let name = name.rsplit_once(':').map_or(name, |(name, _port)| name);
        let place = self.0.iter().position(|own| own.eq_ignore_ascii_case(name))?;
        Some(Host::at(place))
    }
}
