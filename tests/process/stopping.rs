//! Signals: what is under way finishes, nobody silent holds the end up, and a second signal cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use sqlx::ConnectOptions;
use superoffice_sandbox::{Behaviour, Endpoint};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::place::{Place, Running, TENANT, channel, health, ticket, until, within};

const MARGIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_call_fails_before_the_listener_closes() {
    for (name, signal) in [("SIGTERM", Signal::TERM), ("SIGINT", Signal::INT)] {
        let (delay, timeout) = (Duration::from_secs(1), Duration::from_secs(4));
        let place = Place::new().await;
        place.put_tenant().await;
        place.configure("drain_delay", "\"1s\"");
        place.configure("drain_timeout", "\"4s\"");
        let mut server = place.serve().await;
        ticket(&mut server.tickets()).await.unwrap();
        let _parked = park(server.address).await;
        let _parked_at_health = park(server.health_address).await;

        let answered = Arc::new(AtomicU64::new(0));
        let mut load = JoinSet::new();
        for number in 0..8 {
            // Half of them take a new connection for each call, as a client does that has just been told of this replica.
            load.spawn(call_until_refused(server.address, number % 2 == 0, Arc::clone(&answered)));
        }
        until(async || answered.load(Ordering::Relaxed) >= 200).await;

        let before = answered.load(Ordering::Relaxed);
        let signalled = Instant::now();
        server.signal(signal);
        until(async || health(server.health_address, "readiness").await.ok() == Some(ServingStatus::NotServing)).await;
        let told = signalled.elapsed();
        assert!(told < delay, "health says so first: {told:?}");
        assert_eq!(health(server.health_address, "liveness").await.unwrap(), ServingStatus::Serving);

        let refused: Vec<_> = within(load.join_all()).await;
        let first = refused.iter().map(|(when, _)| *when - signalled).min().unwrap();
        for (when, status) in &refused {
            let after = *when - signalled;
            assert!(after >= delay, "a call failed {after:?} after the signal: {status}");
        }
        let status = server.exit().await;
        let took = signalled.elapsed();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        assert!(took < delay + timeout + MARGIN, "{took:?}");
        let during = answered.load(Ordering::Relaxed) - before;
        println!(
            "{name} under load: {before} calls answered before, {during} after it, 0 failed before the listener \
             closed; NOT_SERVING after {told:?}, first refusal after {first:?}, exit code 0 after {took:?}"
        );
        assert!(during > 50, "calls are accepted during the delay");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_under_way_finishes_and_its_caller_is_answered() {
    let place = Place::new().await;
    place.put_tenant().await;
    let mut server = place.serve().await;
    place.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(1_500)).at(Endpoint::Exchange));
    let call = ticket_in_background(&server);
    within(place.sandbox.wait_for_requests(Endpoint::Exchange, 1)).await;
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
    let took = signalled.elapsed();
    call.await.unwrap().expect("the call is answered");
    assert_eq!(place.sandbox.exchanges(TENANT), 1);
    println!("a call that waited for an exchange was answered; exit code 0 after {took:?}");
    assert!(took < Duration::from_millis(1_500) + MARGIN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_hangs_is_cut_after_the_timeout() {
    let place = Place::new().await;
    place.put_tenant().await;
    place.configure("drain_delay", "\"500ms\"");
    place.configure("drain_timeout", "\"1s\"");
    let mut server = place.serve().await;
    place.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let _parked = park(server.address).await;
    let call = ticket_in_background(&server);
    within(place.sandbox.wait_for_requests(Endpoint::Exchange, 1)).await;
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
    let took = signalled.elapsed();
    call.await.unwrap().unwrap_err();
    println!("with an exchange that hangs: exit code 0 after {took:?} of delay 500ms and timeout 1s");
    assert!(took >= Duration::from_millis(1_500) && took < Duration::from_millis(1_500) + MARGIN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_hangs_it_ends_in_time() {
    let place = Place::new().await;
    place.put_tenant().await;
    place.configure("drain_delay", "\"200ms\"");
    place.configure("drain_timeout", "\"5s\"");
    let longest = Duration::from_millis(5_200);
    let (collector, _accepting) = silent_listener().await;
    place.configure("otlp_endpoint", &format!("\"http://{collector}\""));
    let (_unread, stdout) = std::io::pipe().unwrap();
    let mut command = place.ticketd(["serve"]);
    command.stdout(stdout);
    let mut server = Running::start(command).await;
    let mut tickets = server.tickets();
    while ticket(&mut tickets).await.is_ok() {}
    let _parked = park(server.address).await;
    place.sandbox.set_behaviour(Behaviour::Hang);
    let file = place.path("ticketd.db");
    let mut lock = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut lock).await.unwrap();
    let calls: Vec<_> = (0..20).map(|_| ticket_in_background(&server)).collect();

    let signalled = Instant::now();
    server.signal(Signal::TERM);
    let status = server.exit().await;
    let took = signalled.elapsed();
    drop(calls);
    println!("SuperOffice, database, audit and collector hang: exit code {:?} after {took:?}", status.code());
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(took < longest + MARGIN, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_at_once_and_says_so() {
    let (terminate, interrupt) = (("SIGTERM", Signal::TERM), ("SIGINT", Signal::INT));
    for ((name, first), (second_name, second)) in
        [(terminate, terminate), (interrupt, interrupt), (terminate, interrupt)]
    {
        let place = Place::new().await;
        place.put_tenant().await;
        place.configure("drain_timeout", "\"5m\"");
        let mut server = place.serve().await;
        let hang = place.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
        let call = ticket_in_background(&server);
        within(place.sandbox.wait_for_requests(Endpoint::Exchange, 1)).await;
        server.signal(first);
        until(async || TcpStream::connect(server.address).await.is_err()).await;
        let again = Instant::now();
        server.signal(second);
        let status = server.exit().await;
        let took = again.elapsed();
        call.await.unwrap().unwrap_err();
        place.sandbox.clear_behaviour(hang);
        println!("{name}, {second_name}: exit code {:?} after {took:?}", status.code());
        assert_eq!(status.code(), Some(1), "{}", server.log());
        assert!(server.log().contains("aborted: calls under way were cut"), "{}", server.log());
        assert!(took < MARGIN, "{took:?}");
    }
}

/// Accepts connections and says nothing.
async fn silent_listener() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut accepting) = (listener.local_addr().unwrap(), JoinSet::new());
    accepting.spawn(async move {
        let mut accepted = Vec::new();
        while let Ok(connection) = listener.accept().await {
            accepted.push(connection);
        }
    });
    (address, accepting)
}

/// Connections that say nothing, and some that say hello and nothing more.
async fn park(address: SocketAddr) -> Vec<TcpStream> {
    let mut parked = Vec::new();
    for number in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 4 == 0 {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        }
        parked.push(stream);
    }
    parked
}

/// Calls without a pause until the first failure, and answers when it came.
async fn call_until_refused(address: SocketAddr, keep_connection: bool, answered: Arc<AtomicU64>) -> (Instant, Status) {
    use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
    let mut tickets = TicketServiceClient::new(channel(address));
    loop {
        if !keep_connection {
            tickets = TicketServiceClient::new(channel(address));
        }
        match ticket(&mut tickets).await {
            Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
            Err(status) => return (Instant::now(), status),
        };
    }
}

fn ticket_in_background(
    server: &Running,
) -> tokio::task::JoinHandle<Result<ticketd::grpc::proto::SystemTicket, Status>> {
    let mut tickets = server.tickets();
    tokio::spawn(async move { ticket(&mut tickets).await })
}
