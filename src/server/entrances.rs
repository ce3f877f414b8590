use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::connection::Connections;
use super::door::Plaintext;
use super::listener::{self, Caps};
use super::reload::{self, Subject};
use super::settings::Settings;
use super::tasks::Tasks;
use super::tls::{Generation, Tls};
use super::unix::{PeerCredentials, UnixEntrance};
use super::{BindError, listen};
use crate::admin::Certificates;
use crate::clock::Clock;

/// Where callers come in, before there is anybody to receive them.
#[derive(Debug)]
pub(super) struct Entrances {
    tcp: Option<TcpEntrance>,
    unix: Option<(UnixEntrance, PathBuf)>,
}

#[derive(Debug)]
struct TcpEntrance {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Entrances {
    /// Takes the addresses. Nobody is let in unidentified unless the settings say so, and then only from this machine.
    pub(super) async fn bind(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Self, BindError> {
        check_identification(settings)?;
        let tls = settings.tls.as_ref().map(|tls| Generation::read(tls, clock)).transpose()?;
        let tls = tls.map(|generation| {
            info!(certificate_expire_time = %generation.expire_time, "callers connect over TLS");
            generation.tell();
            Tls::new(Arc::new(ArcSwap::from_pointee(generation)), Arc::clone(clock))
        });
        let tcp = match settings.address {
            None => None,
            Some(address) => {
                let (listener, address) = listen("server.address", address).await?;
                Some(TcpEntrance { listener, address, tls })
            }
        };
        let unix = match &settings.unix_socket {
            None => None,
            Some(path) => {
                let failed = |source| BindError::UnixSocket { path: path.clone(), source };
                let entrance = UnixEntrance::bind(path, settings.unix_socket_mode).await.map_err(failed)?;
                Some((entrance, path.clone()))
            }
        };
        Ok(Self { tcp, unix })
    }

    /// The address, with the port that was given.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|tcp| tcp.address)
    }

    /// Has what handshakes are made with follow its files, if there are any.
    pub(super) fn follow(&self, settings: &Settings, clock: &Arc<dyn Clock>) -> Option<Subject> {
        let current = self.tcp.as_ref().and_then(|tcp| tcp.tls.as_ref()).map(Tls::certificates)?;
        Some(reload::certificates(current, settings.tls.clone()?, Arc::clone(clock)))
    }

    /// What callers' handshakes are made with, for people to look at.
    pub(super) fn certificates(&self) -> Option<Arc<dyn Certificates>> {
        let tls = self.tcp.as_ref()?.tls.clone()?;
        Some(Arc::new(tls))
    }

    /// The Unix socket's path.
    pub(super) fn unix_socket(&self) -> Option<PathBuf> {
        self.unix.as_ref().map(|(_, path)| path.clone())
    }

    /// Lets callers in, each listener up to these caps.
    pub(super) fn serve(self, caps: &Caps, callers: &Connections<Plaintext>, tasks: &mut Tasks, open: &TaskTracker) {
        if let Some(TcpEntrance { listener, tls, .. }) = self.tcp {
            let caps = caps.clone();
            if let Some(tls) = tls {
                tasks.spawn("listener", listener::serve(listener, caps, callers.behind(tls), open.clone()));
            } else {
                tasks.spawn("listener", listener::serve(listener, caps, callers.clone(), open.clone()));
            }
        }
        if let Some((entrance, _)) = self.unix {
            let callers = callers.behind(PeerCredentials);
            tasks.spawn("Unix socket", listener::serve(entrance, caps.clone(), callers, open.clone()));
        }
    }
}

/// Whoever comes over plain TCP proves nothing, and a token that it sent could be read on the way.
fn check_identification(settings: &Settings) -> Result<(), BindError> {
    match settings.address {
        // Also over TLS: a proxy on this machine makes everybody a peer of this machine.
        Some(address) if settings.allow_unidentified_callers && !address.ip().is_loopback() => {
            Err(BindError::NotLoopback { address })
        }
        Some(address) if settings.tls.is_none() && !settings.allow_unidentified_callers => {
            Err(BindError::Unidentified { address })
        }
        None if settings.unix_socket.is_none() => Err(BindError::Nowhere),
        _ => Ok(()),
    }
}
