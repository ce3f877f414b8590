//! The admin port: what monitoring, kubelets and operators ask about this replica, in plain HTTP.
//!
//! Whoever reaches it may ask; a network policy says who does. So nothing secret is ever served here, and nothing here
//! changes anything.

mod layers;
mod metrics;
mod probes;
mod readiness;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;

use crate::clock::Clock;

pub use self::readiness::Readiness;

/// Where the admin port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Any address: nothing secret is served.
    pub address: SocketAddr,
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether calls should come here, as `grpc.health.v1` says it.
    pub readiness: watch::Receiver<Readiness>,
}

/// Everything that is served, with the layers around it. It is served from before this replica is ready until it has
/// stopped.
pub fn router(admin: Admin, clock: Arc<dyn Clock>) -> Router {
    let routes = Router::new().merge(probes::routes(admin.readiness)).merge(metrics::routes());
    layers::around(routes, clock)
}
