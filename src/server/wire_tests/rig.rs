use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use crate::audit::Audit;
use crate::clock::ManualClock;
use crate::grpc::layers::{self, Conditions, Places};
use crate::identifiers::Peer;
use crate::identity::ConnectionIdentity;
use crate::log_pace::LogPace;
use crate::random::SeededRandom;
use crate::server::connection::Connections;
use crate::server::door::Plaintext;
use crate::server::drain::{Steps, drain};
use crate::server::health::Health;
use crate::server::lifetime::Lifetime;
use crate::server::listener::{self, Caps};
use crate::server::settings::Settings;
use crate::server::stop::{Phases, Stop};

const PATIENCE: Duration = Duration::from_secs(20);

/// A listener with everything behind it but the services: its handler counts itself and waits for the test.
pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) clock: ManualClock,
    pub(super) phases: Phases,
    pub(super) open: TaskTracker,
    pub(super) connections: Connections<Plaintext>,
    settings: Settings,
    pub(super) answer: Arc<Notify>,
    running: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
    pub(super) last_peer: Arc<Mutex<Option<Peer>>>,
}

impl Rig {
    pub(super) async fn start(settings: Settings) -> Self {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let answer = Arc::new(Notify::new());
        let (running, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let last_peer = Arc::new(Mutex::new(None));
        let handler = {
            let (answer, running, begun) = (answer.clone(), running.clone(), begun.clone());
            let last_peer = last_peer.clone();
            BoxCloneSyncService::new(service_fn(move |request: http::Request<Body>| {
                let identity = request.extensions().get::<ConnectionIdentity>().expect("every request has one");
                last_peer.lock().unwrap().replace(identity.peer);
                begun.fetch_add(1, Ordering::SeqCst);
                let (answer, running) = (answer.clone(), Running::new(running.clone()));
                async move {
                    answer.notified().await;
                    drop(running);
                    Ok::<_, Infallible>(Status::new(tonic::Code::Ok, "").into_http())
                }
            }))
        };
        let conditions = Conditions {
            places: Places::new(settings.max_calls),
            request_timeout: settings.request_timeout,
            audit: Audit::off(),
            callers: None,
            log_pace: Arc::new(LogPace::new(Arc::new(clock.clone()))),
            clock: Arc::new(clock.clone()),
        };
        let phases = Stop::default().phases();
        let connections = Connections {
            door: Plaintext,
            calls: layers::around(handler, &conditions),
            hits: None,
            max_calls: settings.max_calls_per_connection,
            lifetime: Lifetime {
                max_age: settings.max_connection_age,
                phases: phases.clone(),
                clock: Arc::new(clock.clone()),
                random: Arc::new(SeededRandom::new(7)),
            },
            pace: Arc::new(LogPace::new(Arc::new(clock.clone()))),
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let open = TaskTracker::new();
        let caps = Caps {
            connections: settings.max_connections,
            per_ip: settings.max_connections_per_ip,
            proxies: Arc::default(),
        };
        tokio::spawn(listener::serve(socket, caps, connections.clone(), open.clone()));
        Self { address, clock, phases, open, connections, settings, answer, running, begun, last_peer }
    }

    pub(super) fn drain(&self) -> JoinHandle<()> {
        let steps = Steps { delay: self.settings.drain_delay, timeout: self.settings.drain_timeout };
        let (phases, open, clock) = (self.phases.clone(), self.open.clone(), self.clock.clone());
        tokio::spawn(async move { drain(steps, &Health::new().await, &phases, &open, async {}, &clock).await })
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub(super) async fn handlers(&self, running: usize) {
        until(|| self.running() == running).await;
    }

    pub(super) async fn sleepers(&self, sleepers: usize) {
        until(|| self.clock.sleepers() == sleepers).await;
    }
}

/// Counts a handler while it runs, however it ends.
pub(super) struct Running(Arc<AtomicUsize>);

impl Running {
    pub(super) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

pub(super) type Client = SendRequest<Bytes>;

pub(super) async fn client(address: SocketAddr) -> Client {
    client_and_connection(address).await.0
}

pub(super) async fn client_and_connection(address: SocketAddr) -> (Client, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    (within(client.ready()).await.unwrap(), connection)
}

pub(super) fn poll_ready_fails(client: &mut Client) -> bool {
    let waker = std::task::Waker::noop();
    matches!(client.poll_ready(&mut std::task::Context::from_waker(waker)), std::task::Poll::Ready(Err(_)))
}

pub(super) fn request(grpc_timeout: Option<&str>) -> http::Request<()> {
    let mut request = http::Request::post("http://ticketd/superoffice.ticket.v1.TicketService/GetSystemTicket")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(timeout) = grpc_timeout {
        request = request.header("grpc-timeout", timeout);
    }
    request.body(()).unwrap()
}

pub(super) fn call(client: &mut Client, grpc_timeout: Option<&str>) -> ResponseFuture {
    client.send_request(request(grpc_timeout), true).unwrap().0
}

/// The status of an answer that has nothing but headers.
pub(super) async fn trailers_only(response: ResponseFuture) -> Status {
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(response.body().is_end_stream());
    Status::from_header_map(response.headers()).unwrap()
}
