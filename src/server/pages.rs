use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::BindError;
use super::http1::Http1;
use super::lifetime::Lifetime;
use super::listener::{self, Caps};
use crate::audit::Audit;
use crate::credentials::TenantNotices;
use crate::http::{self, Onboarding, Settings};

/// A place for pages, before there is anything to show.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) settings: Settings,
    pub(super) address: SocketAddr,
    listener: TcpListener,
}

impl Pages {
    /// Takes the address, if there is one.
    pub(super) async fn bind(settings: Option<Settings>) -> Result<Option<Self>, BindError> {
        let Some(settings) = settings else { return Ok(None) };
        let (listener, address) = super::listen("http.address", settings.address).await?;
        Ok(Some(Self { settings, address, listener }))
    }

    /// Serves the pages until the listener is closed.
    pub(super) async fn serve(
        self,
        onboarding: Onboarding,
        notices: TenantNotices,
        audit: Audit,
        lifetime: Lifetime,
        proxies: Arc<[IpNet]>,
        serving: TaskTracker,
    ) {
        let Self { settings, listener, .. } = self;
        let router = http::router(&settings, onboarding, notices, audit, lifetime.clock.clone());
        let Settings { max_connections: connections, max_connections_per_ip: per_ip, .. } = settings;
        let caps = Caps { connections, per_ip, proxies };
        listener::serve(listener, caps, Http1 { router, lifetime }, serving).await;
    }
}
