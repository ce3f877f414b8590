use std::time::Duration;

use super::breaker::Breaker;

/// How SuperOffice's side does, as far as we have asked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstreams {
    /// The login host, but for the state API.
    pub login: Upstream,
    /// The state API.
    pub state: Upstream,
    /// Those hosts of tenants' APIs that keep failing.
    pub failing_hosts: Vec<Upstream>,
    /// How many hosts of tenants' APIs were asked lately.
    pub hosts: usize,
}

/// How one part of SuperOffice's side does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `login`, `state`, or a host of tenants' APIs.
    pub name: String,
    /// For how long its circuit has been open, if it is: it is asked once in ten seconds only.
    pub open_for: Option<Duration>,
    /// For how long yet it wants us to wait, if it does.
    pub throttled_for: Option<Duration>,
}

impl Upstream {
    pub(super) fn of(breaker: &Breaker, throttled_for: Option<Duration>) -> Self {
        Self { name: breaker.upstream().to_owned(), open_for: breaker.open_for(), throttled_for }
    }
}
