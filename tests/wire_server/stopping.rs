//! How a server ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ticketd::clock::{Clock, Sleep, SystemClock};
use ticketd::random::SeededRandom;
use ticketd::server::{Process, ServeError, Server, Signals};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{Rig, channel, config, grpc, health, within};

#[tokio::test]
async fn a_drain_says_so_first_and_ends_streams_that_watch_health() {
    let rig = Rig::start().await;
    let addresses = rig.server.addresses();
    let grpc_address = grpc(&rig);
    let mut watching = HealthClient::new(channel(grpc(&rig)));
    let watch = watching.watch(HealthCheckRequest { service: "readiness".to_owned() }).await.unwrap();
    let mut watch = watch.into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let clock = rig.clock.clone();

    rig.server.stop().request();
    assert_eq!(within(watch.next()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    for address in [grpc(&rig), addresses.health] {
        for name in ["", "readiness", "superoffice.ticket.v1.TicketService"] {
            assert_eq!(health(address, name).await.unwrap(), ServingStatus::NotServing, "{name}");
        }
        assert_eq!(health(address, "liveness").await.unwrap(), ServingStatus::Serving);
    }

    let request = HealthCheckRequest { service: "liveness".to_owned() };
    let mut alive = HealthClient::new(channel(grpc(&rig))).watch(request).await.unwrap().into_inner();
    assert_eq!(alive.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut holds_up = TcpStream::connect(grpc_address).await.unwrap();
    holds_up.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    holds_up.read_exact(&mut [0; 9]).await.unwrap();

    clock.advance(Duration::from_secs(5));
    assert!(within(watch.next()).await.is_none_or(|last| last.is_err()));
    assert!(within(alive.next()).await.is_none_or(|last| last.is_err()));
    assert_eq!(health(addresses.health, "readiness").await.unwrap(), ServingStatus::NotServing, "while it waits");
    drop((watching, holds_up));
    within(rig.server.join()).await.unwrap();
    assert!(TcpStream::connect(grpc_address).await.is_err());
    assert!(TcpStream::connect(addresses.health).await.is_err());
}

#[tokio::test]
async fn a_second_request_to_stop_aborts() {
    let rig = Rig::start().await;
    let address = grpc(&rig);
    let stop = rig.server.stop();
    let mut open = TcpStream::connect(address).await.unwrap();
    stop.request();
    let joined = tokio::spawn(rig.server.join());
    while health(address, "readiness").await.unwrap() != ServingStatus::NotServing {}
    assert!(!joined.is_finished());
    stop.request();
    assert_eq!(within(joined).await.unwrap(), Err(ServeError::Aborted));
    assert!(matches!(within(open.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_aborts() {
    let rig = Rig::start().await;
    let address = grpc(&rig);
    rig.server.stop_on(Signals::install().unwrap());
    let signal = || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    signal();
    while health(address, "readiness").await.unwrap() != ServingStatus::NotServing {}
    assert_eq!(health(address, "liveness").await.unwrap(), ServingStatus::Serving);
    signal();
    assert_eq!(within(rig.server.join()).await, Err(ServeError::Aborted));
}

/// The machine's clock, at which nobody can wait as long as the store's watch does between two looks.
#[derive(Debug)]
struct NoHalfSeconds;

impl Clock for NoHalfSeconds {
    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        assert_ne!(duration, Duration::from_millis(500), "no wait of half a second");
        SystemClock.sleep(duration)
    }
}

#[tokio::test]
async fn a_server_whose_store_is_no_longer_watched_drains_and_fails() {
    let (mut config, _directory) = config();
    config.server.drain_delay = Duration::ZERO;
    let process = Process { clock: Arc::new(NoHalfSeconds), random: Arc::new(SeededRandom::new(7)) };
    let server = Server::bind_with(config, process).await.unwrap();
    assert_eq!(within(server.join()).await, Err(ServeError::TaskEnded("watch over the store")));
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let rig = Rig::start().await;
    let address = grpc(&rig);
    let mut open = TcpStream::connect(address).await.unwrap();
    drop(rig);
    assert!(matches!(within(open.read(&mut [0; 64])).await, Ok(0) | Err(_)));
    within(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
