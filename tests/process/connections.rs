//! Peers that say nothing, or come in too great a number. The rest of what attackers do is in `tests/edge`.

use std::net::SocketAddr;
use std::time::Duration;

use prost::Message;
use superoffice_sandbox::{Behaviour, Endpoint};
use ticketd::grpc::proto::{GetSystemTicketRequest, GetSystemTicketResponse};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::place::{Place, Running, TENANT, health, pass, ticket, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_delay_no_one_who_is_connected_and_others_once_they_go() {
    let place = Place::new().await;
    place.put_tenant().await;
    place.configure("server.max_connections", "20");
    let server = place.serve().await;
    let mut connected = server.tickets();
    ticket(&mut connected).await.unwrap();

    let idle = idle(server.address, 1_000).await;
    let began = Instant::now();
    for _ in 0..50 {
        ticket(&mut connected).await.unwrap();
    }
    let each = began.elapsed() / 50;
    assert!(health(server.health_address, "liveness").await.is_ok(), "the other port has places of its own");

    drop(idle);
    let gone = Instant::now();
    ticket(&mut server.tickets()).await.unwrap();
    let recovered = gone.elapsed();
    println!(
        "1000 idle connections at 20 places: {each:?} a call on a connection that was there; a new one was served \
         {recovered:?} after they had gone"
    );
    assert!(recovered < Duration::from_secs(2), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_file_descriptors_burn_no_core_and_are_recovered_from() {
    let place = Place::new().await;
    place.put_tenant().await;
    let server = Running::start(place.shell("ulimit -n 256; exec ticketd serve")).await;
    let mut connected = server.tickets();
    ticket(&mut connected).await.unwrap();

    let open = idle(server.address, 1_000).await;
    until(async || server.log().contains("no connection can be accepted")).await;
    let (before, began) = (cpu_seconds(&server), Instant::now());
    pass(Duration::from_secs(2)).await;
    let share = (cpu_seconds(&server) - before) / began.elapsed().as_secs_f64();
    ticket(&mut connected).await.expect("who is connected is served");

    drop(open);
    let gone = Instant::now();
    ticket(&mut server.tickets()).await.unwrap();
    let recovered = gone.elapsed();
    println!(
        "1,000 connections at 256 file descriptors: {:.1} % of a core; recovered after {recovered:?}",
        share * 100.0
    );
    assert!(share < 0.2, "{share}");
    assert!(recovered < Duration::from_secs(2), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_asked_to_close_and_its_call_finishes() {
    let place = Place::new().await;
    place.put_tenant().await;
    place.configure("max_connection_age", "\"1s\"");
    place.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(2_500)).at(Endpoint::Exchange));
    let server = place.serve().await;

    let began = Instant::now();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, mut body) = client.send_request(request(server.address), false).unwrap();
    body.send_data(message(TENANT).into(), true).unwrap();

    let refused = within(async {
        loop {
            match client.clone().ready().await {
                Ok(_) => pass(Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    })
    .await;
    let asked = began.elapsed();
    assert!(refused.is_go_away() && refused.is_remote(), "{refused}");
    assert_eq!(refused.reason(), Some(h2::Reason::NO_ERROR));
    assert!(asked >= Duration::from_millis(900) && asked < Duration::from_secs(2), "{asked:?}");

    let mut body = within(response).await.unwrap().into_body();
    let data = within(body.data()).await.unwrap().unwrap();
    let answer = GetSystemTicketResponse::decode(&data[5..]).unwrap();
    assert_eq!(answer.system_ticket.unwrap().context_identifier, TENANT);
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let answered = began.elapsed();
    drop((client, body));
    within(connection).await.unwrap().unwrap();
    println!("GOAWAY after {asked:?}, the call under way answered after {answered:?}");
    assert!(answered >= Duration::from_millis(2_500));
}

/// Peers that connect and say nothing, until they are dropped. More than the kernel queues go on trying.
async fn idle(address: SocketAddr, peers: usize) -> JoinSet<()> {
    let mut idle = JoinSet::new();
    for _ in 0..peers {
        idle.spawn(async move {
            let _silent = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
        });
    }
    pass(Duration::from_millis(500)).await;
    idle
}

fn request(address: SocketAddr) -> http::Request<()> {
    http::Request::post(format!("http://{address}/superoffice.ticket.v1.TicketService/GetSystemTicket"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A message with its gRPC prefix.
fn message(tenant: &str) -> Vec<u8> {
    let message = GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), &message].concat()
}

/// How long the process has been on a processor.
fn cpu_seconds(server: &Running) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.process().as_raw_nonzero())).unwrap();
    // The name in parentheses may hold anything; user and system time are the 14th and 15th field. Linux counts them in
    // hundredths for programs, whatever its own ticks are.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<f64>().unwrap() / 100.0).sum()
}
