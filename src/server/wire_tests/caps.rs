use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

use super::raw_peer::{RawPeer, SETTINGS};
use super::rig::{Rig, until, within};
use crate::identifiers::Peer;
use crate::server::listener::{self, Accept, Caps};
use crate::server::settings::Settings;

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
        type Stream = TcpStream;

        async fn accept(&self) -> std::io::Result<(TcpStream, Peer)> {
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
        Caps { connections: 8, per_ip: 0, proxies: Arc::default() },
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
