use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::BindError;
use super::lifetime::{Activity, Lifetime};
use super::listener::{self, Caps, Serve};
use crate::audit::Audit;
use crate::credentials::TenantNotices;
use crate::http::{self, Onboarding, Settings};
use crate::identifiers::Peer;

/// A peer has this long to send a request's head, counted from the end of the one before: an idle connection closes.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

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
        listener::serve(listener, caps, Browsers { router, lifetime }, serving).await;
    }
}

/// What the connections of browsers, or of the ingress before them, have in common: HTTP/1.1, one request at a time.
#[derive(Clone, Debug)]
struct Browsers {
    router: Router,
    lifetime: Lifetime,
}

impl Serve<TcpStream> for Browsers {
    async fn serve(self, socket: TcpStream, peer: Peer) {
        let activity = Activity::default();
        let under_way = activity.under_way.clone();
        let service = service_fn(|mut request: ::http::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let (answer, token) = (self.router.clone().oneshot(request), under_way.token());
            async move {
                let answer = answer.await;
                drop(token);
                answer
            }
        });
        let connection = http1().serve_connection(TokioIo::new(socket), service);
        self.lifetime.until_cut(self.lifetime.see_through(connection, &activity)).await;
    }

    fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    builder
}
