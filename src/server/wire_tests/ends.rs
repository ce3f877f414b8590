use std::time::Duration;

use tokio::net::TcpStream;

use super::raw_peer::RawPeer;
use super::rig::{Rig, call, client, client_and_connection, poll_ready_fails, until, within};
use crate::server::settings::Settings;

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
    until(|| poll_ready_fails(&mut client)).await;
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
    rig.clock.advance(Duration::from_secs(1));
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
