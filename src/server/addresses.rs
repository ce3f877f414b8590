use std::net::SocketAddr;
use std::path::PathBuf;

use tracing::field::display;
use tracing::info;

use super::entrances::Entrances;
use super::observers::Observers;
use super::pages::Pages;

/// Where a server listens: with the ports it was given, when it asked for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Callers connect here, if they may over TCP.
    pub grpc: Option<SocketAddr>,
    /// Callers of this machine connect here, if they may.
    pub unix_socket: Option<PathBuf>,
    /// Kubelets ask here.
    pub health: SocketAddr,
    /// Monitoring and operators ask here, if they may.
    pub admin: Option<SocketAddr>,
    /// Browsers come here, if there are pages.
    pub http: Option<SocketAddr>,
}

impl Addresses {
    pub(super) fn of(entrances: &Entrances, observers: &Observers, pages: Option<&Pages>) -> Self {
        Self {
            grpc: entrances.address(),
            unix_socket: entrances.unix_socket(),
            health: observers.health(),
            admin: observers.admin(),
            http: pages.map(|pages| pages.address),
        }
    }

    pub(super) fn log(&self) {
        let Self { grpc, unix_socket, health, admin, http } = self;
        let (grpc, unix_socket) = (grpc.map(display), unix_socket.as_ref().map(|path| display(path.display())));
        let (admin_address, http_address) = (admin.map(display), http.map(display));
        info!(address = grpc, unix_socket, health_address = %health, admin_address, http_address, "serving");
    }
}
