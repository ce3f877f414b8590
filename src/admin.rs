//! The admin port: what monitoring, kubelets and operators ask about this replica, in plain HTTP.
//!
//! Whoever reaches it may ask; a network policy says who does. So nothing secret is ever served here, and nothing here
//! changes anything.

mod layers;
mod metrics;
mod page;
mod parameters;
mod probes;
mod readiness;
mod spans;
mod status;
mod status_json;
mod status_page;
mod tenant_page;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::credentials::{Overviews, TicketError};
use crate::identifiers::Environment;

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
    /// What this replica is.
    pub replica: Replica,
    /// What callers' TLS handshakes are made with, if there are any.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// What there is to see of tenants, from when the store is open.
    pub overviews: Arc<OnceLock<Overviews>>,
    /// The name that a failure has in the API, and in the operator's documentation.
    pub reason: fn(&TicketError) -> &'static str,
}

/// What stays the same of a replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The machine's or the pod's name, if it is known.
    pub host: Option<String>,
    /// Whose tenants it serves.
    pub environment: Environment,
    /// What its tenants are kept in.
    pub database: &'static str,
}

/// Certificates in use, which change while the server runs.
pub trait Certificates: fmt::Debug + Send + Sync {
    /// Those of this moment.
    fn certificates(&self) -> Vec<Certificate>;
}

/// What expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Which it is.
    pub name: String,
    /// When.
    pub expire_time: Timestamp,
}

/// Everything that is served, with the layers around it. It is served from before this replica is ready until it has
/// stopped.
pub fn router(admin: Admin, clock: Arc<dyn Clock>) -> Router {
    let routes =
        Router::new().merge(probes::routes(admin.readiness.clone())).merge(status::routes(admin, Arc::clone(&clock)));
    let routes = routes.merge(metrics::routes());
    layers::around(routes, clock)
}

/// The commit that this was built from, where the build was told.
fn revision() -> Option<&'static str> {
    option_env!("TICKETD_REVISION").filter(|revision| !revision.is_empty())
}
