//! What listener, connection, layers and drain do on the wire, with a handler of the test's and a clock that it moves.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::client::{ResponseFuture, SendRequest};
use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::connection::Connections;
use super::drain::{Steps, drain};
use super::health::Health;
use super::lifetime::Lifetime;
use super::listener::{self, Accept, Caps};
use super::settings::Settings;
use super::stop::{Phases, Stop};
use crate::clock::ManualClock;
use crate::grpc::layers::{self, Limits};
use crate::random::SeededRandom;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_handler_that_never_answers_is_cut_short_by_the_callers_deadline() {
    let rig = Rig::start(Settings::default()).await;
    let mut client = client(rig.address).await;
    let response = call(&mut client, Some("1S"));
    rig.handlers(1).await;
    rig.sleepers(2).await;

    rig.clock.advance(Duration::from_millis(974));
    assert_eq!(rig.running(), 1, "not before its time, less what the answer needs to arrive");
    rig.clock.advance(Duration::from_millis(1));

    let status = trailers_only(response).await;
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("ticketd", "DEADLINE_EXCEEDED"));
    rig.handlers(0).await;
}

#[tokio::test]
async fn without_a_deadline_or_with_a_longer_one_the_servers_holds() {
    for grpc_timeout in [None, Some("31S"), Some("99999999H"), Some("soon"), Some("-1S")] {
        let rig = Rig::start(Settings { request_timeout: Duration::from_secs(30), ..Settings::default() }).await;
        let mut client = client(rig.address).await;
        let response = call(&mut client, grpc_timeout);
        rig.handlers(1).await;
        rig.sleepers(2).await;
        rig.clock.advance(Duration::from_secs(30));
        assert_eq!(trailers_only(response).await.code(), tonic::Code::DeadlineExceeded, "{grpc_timeout:?}");
    }
}

#[tokio::test]
async fn calls_beyond_the_cap_are_refused_at_once_and_a_place_comes_back() {
    let rig = Rig::start(Settings { max_calls: 2, ..Settings::default() }).await;
    let mut one = client(rig.address).await;
    let mut other = client(rig.address).await;
    let first = call(&mut one, None);
    rig.handlers(1).await;
    let _second = call(&mut other, None);
    rig.handlers(2).await;

    let status = trailers_only(call(&mut one, None)).await;
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());

    rig.answer.notify_one();
    assert_eq!(within(first).await.unwrap().status(), 200);
    rig.handlers(1).await;
    let _third = call(&mut one, None);
    rig.handlers(2).await;
}

#[tokio::test]
async fn the_settings_frame_says_what_we_hold_peers_to() {
    let rig = Rig::start(Settings::default()).await;
    let mut peer = RawPeer::connect(rig.address).await;
    let settings = peer.frame().await;
    assert_eq!(settings.kind, SETTINGS);
    let mut values: Vec<(u16, u32)> = settings
        .payload
        .chunks(6)
        .map(|it| (u16::from_be_bytes([it[0], it[1]]), u32::from_be_bytes([it[2], it[3], it[4], it[5]])))
        .collect();
    values.sort_unstable();
    let (concurrent_streams, window, frame_size, header_list) = ((3, 128), (4, 65_535), (5, 16_384), (6, 16_384));
    assert_eq!(values, [concurrent_streams, window, frame_size, header_list]);

    let window = loop {
        let frame = peer.frame().await;
        if frame.kind == WINDOW_UPDATE {
            break frame;
        }
    };
    assert_eq!(window.stream, 0);
    assert_eq!(65_535 + u32::from_be_bytes(window.payload.try_into().unwrap()), 262_144);
}

#[tokio::test]
async fn too_many_headers_are_refused_and_the_connection_lives_on() {
    let rig = Rig::start(Settings::default()).await;
    let mut client = client(rig.address).await;
    let mut request = request(None);
    for number in 0..600_u16 {
        let name: http::HeaderName = format!("x{number}").parse().unwrap();
        request.headers_mut().insert(name, "1".parse().unwrap());
    }
    let (response, _) = client.send_request(request, true).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 431);
    assert_eq!(rig.begun(), 0);
    let _call = call(&mut client, None);
    rig.handlers(1).await;
}

#[tokio::test]
async fn headers_of_64_kib_end_the_connection_and_reach_no_handler() {
    let rig = Rig::start(Settings::default()).await;
    let mut client = client(rig.address).await;
    let mut request = request(None);
    for number in 0..16 {
        let name: http::HeaderName = format!("x{number}").parse().unwrap();
        request.headers_mut().insert(name, "x".repeat(4_096).parse().unwrap());
    }
    let (response, _) = client.send_request(request, true).unwrap();
    assert!(within(response).await.unwrap_err().is_go_away());
    until(|| rig.open.is_empty()).await;
    assert_eq!(rig.begun(), 0);
}

#[tokio::test]
async fn connections_that_say_nothing_are_gone_after_the_preface_deadline() {
    let rig = Rig::start(Settings::default()).await;
    let silent = TcpStream::connect(rig.address).await.unwrap();
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
    let mut http1 = TcpStream::connect(rig.address).await.unwrap();
    http1.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    rig.sleepers(3).await;

    rig.clock.advance(Duration::from_millis(4_999));
    assert_eq!(rig.open.len(), 3);
    rig.clock.advance(Duration::from_millis(1));
    for mut peer in [silent, slow, http1] {
        assert!(matches!(within(peer.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    }
    until(|| rig.open.is_empty()).await;
}

#[tokio::test]
async fn a_peer_that_speaks_another_protocol_is_dropped_at_once() {
    let rig = Rig::start(Settings::default()).await;
    let mut peer = TcpStream::connect(rig.address).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: ticketd\r\n\r\n").await.unwrap();
    assert!(matches!(within(peer.read(&mut [0; 64])).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn an_old_connection_is_asked_to_close_and_cut_a_minute_later() {
    let rig = Rig::start(Settings { request_timeout: Duration::from_hours(1), ..Settings::default() }).await;
    let (mut client, connection) = client_and_connection(rig.address).await;
    let response = call(&mut client, None);
    rig.handlers(1).await;
    rig.sleepers(2).await;

    rig.clock.advance(Duration::from_secs(269));
    rig.sleepers(2).await;
    rig.clock.advance(Duration::from_secs(61));
    // Its own deadline, and the cut.
    rig.sleepers(2).await;
    until(|| within_poll_ready_fails(&mut client)).await;
    assert_eq!(rig.running(), 1, "the call under way goes on");
    rig.clock.advance(Duration::from_mins(1));
    assert!(within(response).await.is_err());
    drop(within(connection).await);
    rig.handlers(0).await;
}

#[tokio::test]
async fn a_drain_lets_calls_finish_refuses_new_connections_and_waits_for_nobody_silent() {
    let rig = Rig::start(Settings::default()).await;
    let mut client = client(rig.address).await;
    let response = call(&mut client, None);
    rig.handlers(1).await;
    let _says_nothing = TcpStream::connect(rig.address).await.unwrap();
    let mut went_silent = RawPeer::connect(rig.address).await;
    went_silent.frame().await;
    until(|| rig.open.len() == 3).await;
    // Two ages, one deadline, one preface.
    rig.sleepers(4).await;

    let drained = rig.drain();
    rig.sleepers(5).await;
    rig.clock.advance(Duration::from_millis(4_999));
    assert!(TcpStream::connect(rig.address).await.is_ok(), "accepts while load balancers learn");
    let _late = call(&mut client, None);
    rig.handlers(2).await;
    rig.clock.advance(Duration::from_millis(1));
    until(|| rig.open.len() <= 2).await;
    while TcpStream::connect(rig.address).await.is_ok() {
        tokio::task::yield_now().await;
    }

    rig.answer.notify_waiters();
    assert_eq!(within(response).await.unwrap().status(), 200);
    rig.handlers(0).await;
    until(|| rig.open.len() == 1).await;
    assert!(!drained.is_finished());
    rig.clock.advance(Duration::from_secs(2));
    within(drained).await.unwrap();
    assert_eq!(rig.open.len(), 0, "the silent peer is cut soon after nothing runs on its connection");
}

#[tokio::test]
async fn a_call_that_outlasts_the_drain_is_cut() {
    let rig = Rig::start(Settings::default()).await;
    let mut client = client(rig.address).await;
    let response = call(&mut client, None);
    rig.handlers(1).await;
    rig.sleepers(2).await;
    let drained = rig.drain();
    rig.sleepers(3).await;
    rig.clock.advance(Duration::from_secs(5));
    // The call's deadline, the connection's end and the drain's.
    rig.sleepers(3).await;
    rig.clock.advance(Duration::from_secs(15));
    within(drained).await.unwrap();
    rig.phases.cut.cancel();
    assert!(within(response).await.is_err());
    rig.handlers(0).await;
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let rig = Rig::start(Settings { max_connections: 1, ..Settings::default() }).await;
    let first = TcpStream::connect(rig.address).await.unwrap();
    until(|| rig.open.len() == 1).await;
    let mut second = RawPeer::connect(rig.address).await;
    assert_eq!(rig.open.len(), 1);
    drop(first);
    assert_eq!(second.frame().await.kind, SETTINGS);
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let rig = Rig::start(Settings { max_connections: 4, max_connections_per_ip: 2, ..Settings::default() }).await;
    let from = |ip: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        socket.connect(rig.address)
    };
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(within(from("127.0.0.2")).await.unwrap());
    }
    for mut beyond in silent.split_off(2) {
        assert!(matches!(within(beyond.read(&mut [0; 64])).await, Ok(0) | Err(_)), "closed at once");
    }
    let mut other = RawPeer::speak(within(from("127.0.0.3")).await.unwrap()).await;
    assert_eq!(other.frame().await.kind, SETTINGS);
    drop(silent);
    until(|| rig.open.len() == 1).await;
    let mut again = RawPeer::speak(within(from("127.0.0.2")).await.unwrap()).await;
    assert_eq!(again.frame().await.kind, SETTINGS);
}

#[tokio::test]
async fn failing_accepts_are_spaced_out() {
    struct Exhausted(Arc<AtomicUsize>);
    impl Accept for Exhausted {
        async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
            self.0.fetch_add(1, Ordering::SeqCst);
            // EMFILE
            Err(std::io::Error::from_raw_os_error(24))
        }
    }
    let rig = Rig::start(Settings::default()).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let connections = rig.connections.clone();
    let serving = tokio::spawn(listener::serve(
        Exhausted(attempts.clone()),
        Caps { connections: 8, per_ip: 0 },
        connections,
        TaskTracker::new(),
    ));
    for (attempt, pause) in [50, 100, 200, 400, 800, 1_000, 1_000].into_iter().enumerate() {
        rig.sleepers(1).await;
        assert_eq!(attempts.load(Ordering::SeqCst), attempt + 1);
        rig.clock.advance(Duration::from_millis(pause - 1));
        assert_eq!(rig.clock.sleepers(), 1, "the pause is {pause} ms");
        rig.clock.advance(Duration::from_millis(1));
        until(|| attempts.load(Ordering::SeqCst) == attempt + 2).await;
    }
    rig.phases.closing.cancel();
    within(serving).await.unwrap();
}

#[tokio::test]
async fn streams_reset_for_the_peers_faults_end_the_connection() {
    let rig = Rig::start(Settings::default()).await;
    let mut peer = RawPeer::connect(rig.address).await;
    let overflow = 0x7fff_ffff_u32.to_be_bytes();
    let streams = peer.attack(|stream| [headers(stream), frame(WINDOW_UPDATE, 0, stream, &overflow)].concat()).await;
    println!("GOAWAY after {streams} streams reset by us");
    assert!(streams <= 300, "{streams}");
    assert!(rig.begun() <= 300, "{}", rig.begun());
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let rig = Rig::start(Settings::default()).await;
    let mut peer = RawPeer::connect(rig.address).await;
    let burst: Vec<u8> = (0..1_000)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            [headers(stream), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    // The server may close before it has read all.
    drop(peer.socket.write_all(&burst).await);
    let begun = within(async {
        while peer.try_frame().await.is_some_and(|frame| frame.kind != GOAWAY) {}
        rig.begun()
    })
    .await;
    println!("GOAWAY after {begun} handlers of 1000 rapid resets");
    assert!(begun <= 150, "{begun}");
}

/// A listener with everything behind it but the services: its handler counts itself and waits for the test.
struct Rig {
    address: SocketAddr,
    clock: ManualClock,
    phases: Phases,
    open: TaskTracker,
    connections: Connections,
    settings: Settings,
    answer: Arc<Notify>,
    running: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

impl Rig {
    async fn start(settings: Settings) -> Self {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let answer = Arc::new(Notify::new());
        let (running, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let handler = {
            let (answer, running, begun) = (answer.clone(), running.clone(), begun.clone());
            BoxCloneSyncService::new(service_fn(move |_request: http::Request<Body>| {
                begun.fetch_add(1, Ordering::SeqCst);
                let (answer, running) = (answer.clone(), Running::new(running.clone()));
                async move {
                    answer.notified().await;
                    drop(running);
                    Ok::<_, Infallible>(Status::new(tonic::Code::Ok, "").into_http())
                }
            }))
        };
        let limits = Limits { max_calls: settings.max_calls, request_timeout: settings.request_timeout };
        let phases = Stop::default().phases();
        let connections = Connections {
            calls: layers::around(handler, limits, Arc::new(clock.clone())),
            max_calls: settings.max_calls_per_connection,
            lifetime: Lifetime {
                max_age: settings.max_connection_age,
                phases: phases.clone(),
                clock: Arc::new(clock.clone()),
                random: Arc::new(SeededRandom::new(7)),
            },
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let open = TaskTracker::new();
        let caps = Caps { connections: settings.max_connections, per_ip: settings.max_connections_per_ip };
        tokio::spawn(listener::serve(socket, caps, connections.clone(), open.clone()));
        Self { address, clock, phases, open, connections, settings, answer, running, begun }
    }

    fn drain(&self) -> JoinHandle<()> {
        let steps = Steps { delay: self.settings.drain_delay, timeout: self.settings.drain_timeout };
        let (phases, open, clock) = (self.phases.clone(), self.open.clone(), self.clock.clone());
        tokio::spawn(async move { drain(steps, &Health::new().await, &phases, &open, &clock).await })
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    async fn handlers(&self, running: usize) {
        until(|| self.running() == running).await;
    }

    async fn sleepers(&self, sleepers: usize) {
        until(|| self.clock.sleepers() == sleepers).await;
    }
}

/// Counts a handler while it runs, however it ends.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

type Client = SendRequest<Bytes>;

async fn client(address: SocketAddr) -> Client {
    client_and_connection(address).await.0
}

async fn client_and_connection(address: SocketAddr) -> (Client, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    (within(client.ready()).await.unwrap(), connection)
}

fn within_poll_ready_fails(client: &mut Client) -> bool {
    let waker = std::task::Waker::noop();
    matches!(client.poll_ready(&mut std::task::Context::from_waker(waker)), std::task::Poll::Ready(Err(_)))
}

fn request(grpc_timeout: Option<&str>) -> http::Request<()> {
    let mut request = http::Request::post("http://ticketd/superoffice.ticket.v1.TicketService/GetSystemTicket")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(timeout) = grpc_timeout {
        request = request.header("grpc-timeout", timeout);
    }
    request.body(()).unwrap()
}

fn call(client: &mut Client, grpc_timeout: Option<&str>) -> ResponseFuture {
    client.send_request(request(grpc_timeout), true).unwrap().0
}

/// The status of an answer that has nothing but headers.
async fn trailers_only(response: ResponseFuture) -> Status {
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(response.body().is_end_stream());
    Status::from_header_map(response.headers()).unwrap()
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// POST / over http, complete, with the body still to come.
fn headers(stream: u32) -> Vec<u8> {
    const END_HEADERS: u8 = 4;
    frame(HEADERS, END_HEADERS, stream, &[0x83, 0x86, 0x84, 0x41, 0x01, b'x'])
}

/// A peer that speaks in frames and need not behave.
struct RawPeer {
    socket: TcpStream,
}

impl RawPeer {
    async fn connect(address: SocketAddr) -> Self {
        Self::speak(TcpStream::connect(address).await.unwrap()).await
    }

    async fn speak(mut socket: TcpStream) -> Self {
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self { socket }
    }

    async fn frame(&mut self) -> Frame {
        within(self.try_frame()).await.expect("another frame")
    }

    async fn try_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
        self.socket.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload })
    }

    /// Sends what `faulty` makes of one stream after another, each when the last was reset, until the connection goes.
    async fn attack(&mut self, faulty: impl Fn(u32) -> Vec<u8>) -> u32 {
        within(async {
            for number in 0..2_000 {
                let stream = number * 2 + 1;
                if self.socket.write_all(&faulty(stream)).await.is_err() {
                    return number;
                }
                loop {
                    match self.try_frame().await {
                        None => return number,
                        Some(frame) if frame.kind == GOAWAY => return number,
                        Some(frame) if frame.kind == RST_STREAM => break,
                        Some(_) => {}
                    }
                }
            }
            2_000
        })
        .await
    }
}
