use std::time::Duration;

use tokio::net::TcpStream;
use tonic_types::StatusExt;

use super::rig::{Rig, call, client, trailers_only, within};
use crate::identifiers::Peer;
use crate::server::settings::Settings;

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
async fn every_request_says_where_its_connection_comes_from() {
    let rig = Rig::start(Settings::default()).await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let peer = Peer::Tcp(socket.local_addr().unwrap());
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let _call = call(&mut client, None);
    rig.handlers(1).await;
    assert_eq!(*rig.last_peer.lock().unwrap(), Some(peer));
}
