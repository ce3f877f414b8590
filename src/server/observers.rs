use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::connection::Connections;
use super::door::Plaintext;
use super::health::Health;
use super::http1::Http1;
use super::listener::{self, Caps};
use super::settings::Settings;
use super::tasks::Tasks;
use super::{BindError, listen};
use crate::admin::{self, Admin, Certificates, Replica};
use crate::credentials::Overviews;
use crate::grpc;
use crate::identifiers::Environment;
use crate::store;

/// Where Linux has the machine's name, which is the pod's in a cluster.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// How many connections the admin port has at once, in all and of one IP address: what it answers may be large, and its
/// peer may not read it.
const ADMIN_CONNECTIONS: usize = 64;
const ADMIN_CONNECTIONS_PER_IP: usize = 16;

/// Where kubelets, monitoring and operators look: from before there are callers until the last of them has gone.
#[derive(Debug)]
pub(super) struct Observers {
    health: (TcpListener, SocketAddr),
    admin: Option<(TcpListener, SocketAddr)>,
}

impl Observers {
    /// Takes the addresses.
    pub(super) async fn bind(settings: &Settings, admin: Option<admin::Settings>) -> Result<Self, BindError> {
        let health = listen("server.health_address", settings.health_address).await?;
        let admin = match admin {
            None => None,
            Some(admin) => Some(listen("admin.address", admin.address).await?),
        };
        Ok(Self { health, admin })
    }

    /// The health port's address, with the port that was given.
    pub(super) fn health(&self) -> SocketAddr {
        self.health.1
    }

    /// The admin port's, if there is one.
    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// Answers both, each up to these caps and the admin port up to its own as well. A drain waits for none of their connections.
    pub(super) fn serve(self, caps: &Caps, probes: Connections<Plaintext>, admin: Router, tasks: &mut Tasks) {
        let Self { health: (health, _), admin: admin_listener } = self;
        if let Some((listener, _)) = admin_listener {
            let pages = Http1 { router: admin, lifetime: probes.lifetime.clone() };
            tasks.spawn("admin port", listener::serve(listener, of_admin(caps), pages, TaskTracker::new()));
        }
        tasks.spawn("health listener", listener::serve(health, caps.clone(), probes, TaskTracker::new()));
    }
}

fn of_admin(caps: &Caps) -> Caps {
    let per_ip = match caps.per_ip {
        0 => ADMIN_CONNECTIONS_PER_IP,
        cap => cap.min(ADMIN_CONNECTIONS_PER_IP),
    };
    Caps { connections: caps.connections.min(ADMIN_CONNECTIONS), per_ip, proxies: Arc::clone(&caps.proxies) }
}

/// What the admin port tells.
pub(super) fn told(
    replica: Replica,
    health: &Health,
    certificates: Option<Arc<dyn Certificates>>,
    overviews: Arc<OnceLock<Overviews>>,
) -> Admin {
    Admin { readiness: health.readiness(), replica, certificates, overviews, reason: grpc::ticket_reason }
}

/// What stays the same of this replica.
pub(super) fn replica(environment: Environment, store: &store::Settings) -> Replica {
    let host = fs::read_to_string(HOST_NAME).ok().map(|name| name.trim().to_owned());
    let database = if store.is_sqlite() { "SQLite" } else { "PostgreSQL" };
    Replica { host: host.filter(|name| !name.is_empty()), environment, database }
}
