//! A server on a real socket that answers with raw bytes, so that it can break every rule of HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{ClientAuthentication, Development, ExchangeTransport, Settings, SetupError, SuperOffice};
use crate::clock::ManualClock;
use crate::identifiers::{ApplicationId, ClientSecret, Environment};
use crate::random::SeededRandom;

/// The client under test with the server it speaks to. Its clock stands at noon of 2026-11-22.
pub(super) struct Peer {
    pub(super) server: TestServer,
    pub(super) clock: ManualClock,
    pub(super) superoffice: SuperOffice,
}

impl Peer {
    pub(super) async fn answering(response: impl AsRef<str>) -> Self {
        Self::serving(TestServer::answering(response).await)
    }

    pub(super) fn serving(server: TestServer) -> Self {
        Self::serving_over(ExchangeTransport::Rest, server)
    }

    pub(super) fn serving_over(exchange: ExchangeTransport, server: TestServer) -> Self {
        let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
        let settings = Settings { exchange, ..settings(&server.url()) };
        let superoffice = Self::with_settings(settings, &clock).unwrap();
        Self { server, clock, superoffice }
    }

    pub(super) fn superoffice(base_url: &str, clock: &ManualClock) -> Result<SuperOffice, SetupError> {
        Self::with_settings(settings(base_url), clock)
    }

    pub(super) fn with_settings(settings: Settings, clock: &ManualClock) -> Result<SuperOffice, SetupError> {
        SuperOffice::new(settings, Arc::new(clock.clone()), Arc::new(SeededRandom::new(7)))
    }
}

pub(super) fn settings(base_url: &str) -> Settings {
    Settings {
        environment: Environment::Sod,
        client_id: ApplicationId::new("fedcba9876543210fedcba9876543210"),
        client_secret: ClientSecret::new("0123456789abcdef0123456789abcdef").into(),
        client_authentication: ClientAuthentication::Post,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        state_timeout: Duration::from_secs(2),
        max_requests_in_flight: 64,
        exchange: ExchangeTransport::Rest,
        redirect_uris: Vec::new(),
        development: Some(Development { base_url: base_url.parse().unwrap(), extra_ca_file: None }),
    }
}

pub(super) struct TestServer {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    response: Mutex<String>,
    after: After,
    requests: Mutex<Vec<String>>,
    requests_seen: watch::Sender<usize>,
    connections: AtomicUsize,
    written: AtomicUsize,
    hung_up: Notify,
}

/// What follows a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next request if the response was whole HTTP, else the end of the connection.
    Next,
    /// Bytes without end.
    Endless,
    /// Nothing, while the connection stays open.
    Silence,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TestServer {
    /// A whole response with this body.
    pub(super) fn response(status: u16, body: &str) -> String {
        format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    pub(super) async fn answering(response: impl AsRef<str>) -> Self {
        Self::start(response.as_ref(), After::Next).await
    }

    pub(super) async fn endless(start: &str) -> Self {
        Self::start(start, After::Endless).await
    }

    pub(super) async fn hanging(start: &str) -> Self {
        Self::start(start, After::Silence).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// From now on answers with this.
    pub(super) fn answer(&self, response: impl AsRef<str>) {
        response.as_ref().clone_into(&mut self.shared.response.lock().unwrap());
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> usize {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Ends when so many requests have come and the start of their answers is written.
    pub(super) async fn wait_for_requests(&self, count: usize) {
        self.shared.requests_seen.subscribe().wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// How many bytes of an endless answer were taken.
    pub(super) async fn written_until_hung_up(&self) -> usize {
        self.shared.hung_up.notified().await;
        self.written()
    }

    async fn start(response: &str, after: After) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            response: Mutex::new(response.to_owned()),
            after,
            requests: Mutex::default(),
            requests_seen: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            hung_up: Notify::new(),
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((connection, _)) = listener.accept().await {
                    shared.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(connection, Arc::clone(&shared)));
                }
            }
        });
        Self { address, shared, accepting }
    }
}

async fn serve(mut connection: TcpStream, shared: Arc<Shared>) {
    while let Some(request) = read_request(&mut connection).await {
        shared.requests.lock().unwrap().push(request);
        let response = shared.response.lock().unwrap().clone();
        let is_written = connection.write_all(response.as_bytes()).await.is_ok();
        shared.written.fetch_add(response.len(), Ordering::Relaxed);
        shared.requests_seen.send_modify(|seen| *seen += 1);
        match shared.after {
            After::Next if is_written && is_whole(&response) => {}
            After::Next => return,
            After::Endless => {
                while connection.write_all(&[b'x'; 16 * 1024]).await.is_ok() {
                    shared.written.fetch_add(16 * 1024, Ordering::Relaxed);
                }
                shared.hung_up.notify_one();
                return;
            }
            After::Silence => {
                let mut rest = Vec::new();
                let _ = connection.read_to_end(&mut rest).await;
                return;
            }
        }
    }
}

async fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        connection.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        let text = String::from_utf8_lossy(&bytes);
        if is_whole(&text) {
            return Some(text.into_owned());
        }
    }
}

/// Whether a message has exactly the body that its head announces.
fn is_whole(message: &str) -> bool {
    let Some((head, body)) = message.split_once("\r\n\r\n") else { return false };
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => length.parse() == Ok(body.len()),
        None => head.starts_with("get "),
    }
}
