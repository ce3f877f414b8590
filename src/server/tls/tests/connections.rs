use std::convert::Infallible;
use std::sync::Mutex;

use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::audit::Audit;
use crate::grpc::layers::{self, Conditions, Places};
use crate::log_pace::LogPace;
use crate::random::SeededRandom;
use crate::server::connection::Connections;
use crate::server::lifetime::Lifetime;
use crate::server::listener::{self, Caps};
use crate::server::stop::{Phases, Stop};

/// A listener with TLS and a handler that writes down who calls.
struct Gate {
    place: Place,
    address: SocketAddr,
    open: TaskTracker,
    phases: Phases,
    seen: Arc<Mutex<Vec<ConnectionIdentity>>>,
}

impl Gate {
    async fn open() -> Self {
        let place = Place::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writes_down = seen.clone();
        let handler = BoxCloneSyncService::new(service_fn(move |request: http::Request<Body>| {
            let identity = request.extensions().get::<ConnectionIdentity>().expect("every request has one");
            writes_down.lock().unwrap().push(identity.clone());
            async { Ok::<_, Infallible>(Status::new(tonic::Code::Ok, "").into_http()) }
        }));
        let phases = Stop::default().phases();
        let lifetime = Lifetime {
            max_age: Duration::from_mins(5),
            phases: phases.clone(),
            clock: place.clock(),
            random: Arc::new(SeededRandom::new(7)),
        };
        let conditions = Conditions {
            places: Places::new(100),
            request_timeout: Duration::from_secs(30),
            audit: Audit::off(),
            callers: None,
            log_pace: Arc::new(LogPace::new(place.clock())),
            clock: place.clock(),
        };
        let calls = layers::around(handler, &conditions);
        let connections = Connections {
            door: place.tls(),
            calls,
            hits: None,
            max_calls: 128,
            lifetime,
            pace: Arc::new(LogPace::new(place.clock())),
        };
        let (socket, address) = listen().await;
        let open = TaskTracker::new();
        let caps = Caps { connections: 1_024, per_ip: 0, proxies: Arc::default() };
        tokio::spawn(listener::serve(socket, caps, connections, open.clone()));
        Self { place, address, open, phases, seen }
    }

    async fn sleepers(&self, sleepers: usize) {
        until(|| self.place.clock.sleepers() == sleepers).await;
    }
}

#[tokio::test]
async fn a_call_is_its_connections_callers() {
    let gate = Gate::open().await;
    let socket = TcpStream::connect(gate.address).await.unwrap();
    let peer = socket.local_addr().unwrap();
    let client = Arc::new(gate.place.client(Some(&gate.place.caller())));
    let name = ServerName::try_from("localhost").unwrap();
    let stream = within(TlsConnector::from(client).connect(name, socket)).await.unwrap();
    let (mut client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::post("https://localhost/a").header("te", "trailers").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(within(response).await.unwrap().status(), 200);
    }
    let seen = gate.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    for identity in seen.iter() {
        assert_eq!(identity.peer, Peer::Tcp(peer));
        assert_eq!(identity.id.as_ref().unwrap().to_string(), "spiffe://corp.example/ns/crm/sa/sync");
    }
}

#[tokio::test]
async fn handshakes_that_take_too_long_are_given_up() {
    const SILENT: usize = 200;
    let gate = Gate::open().await;
    let mut peers = Vec::new();
    for number in 0..SILENT {
        let mut peer = TcpStream::connect(gate.address).await.unwrap();
        // Every other one begins a hello.
        if number % 2 == 1 {
            peer.write_all(&[22, 3, 1, 0, 200, 1, 0]).await.unwrap();
        }
        peers.push(peer);
    }
    gate.sleepers(SILENT).await;
    gate.place.clock.advance(Duration::from_millis(4_999));
    tokio::task::yield_now().await;
    assert_eq!(gate.open.len(), SILENT);
    gate.place.clock.advance(Duration::from_millis(1));
    for peer in &mut peers {
        assert!(matches!(within(peer.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    }
    until(|| gate.open.is_empty()).await;
    println!("{SILENT} silent handshakes: 0 left after 5 s");
}

#[tokio::test]
async fn a_peer_that_shook_hands_and_says_nothing_more_is_given_up() {
    let gate = Gate::open().await;
    let socket = TcpStream::connect(gate.address).await.unwrap();
    let client = Arc::new(gate.place.client(Some(&gate.place.caller())));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = within(TlsConnector::from(client).connect(name, socket)).await.unwrap();
    gate.sleepers(1).await;
    // Whichever of the two deadlines it is at: both are over then.
    gate.place.clock.advance(Duration::from_secs(5));
    until(|| gate.open.is_empty() || gate.place.clock.sleepers() == 1).await;
    gate.place.clock.advance(Duration::from_secs(5));
    assert!(matches!(within(stream.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    until(|| gate.open.is_empty()).await;
}

#[tokio::test]
async fn a_shutdown_waits_for_no_handshake() {
    let gate = Gate::open().await;
    let mut peers = Vec::new();
    for _ in 0..50 {
        peers.push(TcpStream::connect(gate.address).await.unwrap());
    }
    gate.sleepers(50).await;
    gate.phases.closing.cancel();
    gate.open.close();
    within(gate.open.wait()).await;
}

async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
