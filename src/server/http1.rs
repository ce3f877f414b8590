use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::lifetime::{Activity, Lifetime};
use super::listener::Serve;
use crate::identifiers::Peer;

/// A peer has this long to send a request's head, counted from the end of the one before: an idle connection closes.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// What connections have in common over which pages are asked for: plain HTTP/1.1, one request at a time.
#[derive(Clone, Debug)]
pub(super) struct Http1 {
    pub(super) router: Router,
    pub(super) lifetime: Lifetime,
}

impl Serve<TcpStream> for Http1 {
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
        let seen_through = self.lifetime.see_through(connection, GracefulConnection::graceful_shutdown, &activity);
        self.lifetime.until_cut(seen_through).await;
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
