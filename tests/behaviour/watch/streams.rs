//! How streams end, who reads slowly, and who has left.

use std::time::Duration;

use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Endpoint as ToServer;

use super::{lasting, pass_to_renewal};
use crate::lapse::lapse;
use crate::several::Watch;
use crate::world::{TENANT, World, eventually, reason, within};

#[tokio::test]
async fn a_stream_ends_with_its_connection_and_with_the_server_so_that_its_caller_comes_again() {
    let ended = (Code::Unavailable, "WATCH_ENDED".to_owned());
    let world = World::start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    watch.ticket().await;
    // By age: give or take a tenth.
    world.clock.advance(world.config().server.max_connection_age * 2);
    assert_eq!(reason(&watch.next().await.unwrap_err()), ended);

    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    watch.ticket().await;
    let started = Instant::now();
    let reading = tokio::spawn(async move { watch.next().await });
    within(world.shutdown()).await;
    assert_eq!(reason(&reading.await.unwrap().unwrap_err()), ended);
    println!("a drain with an open watch took {:.1?}", started.elapsed());
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_the_latest_and_not_all_that_came_before() {
    let world = lasting().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    // It lets the server send so many bytes: about one message.
    let slow = ToServer::from_shared(format!("http://{}", world.address())).unwrap();
    let slow = slow.initial_stream_window_size(512).initial_connection_window_size(512).connect_lazy();
    let mut slow = Watch::begin(TicketServiceClient::new(slow), &[TENANT]).await.unwrap();
    let mut quick = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let mut latest = quick.ticket().await;
    assert_eq!(latest.fingerprint, first.fingerprint);
    let renewals = 30;
    for _ in 0..renewals {
        pass_to_renewal(&world, latest.refresh_time).await;
        latest = quick.ticket().await;
    }
    let mut read = 1;
    while slow.ticket().await.fingerprint != latest.fingerprint {
        read += 1;
    }
    println!("{renewals} renewals, of which one that reads slowly was sent {read}, the last among them");
    assert!(read <= 6 && slow.is_silent().await, "{read}");
}

#[tokio::test]
async fn nothing_is_renewed_for_one_who_has_left() {
    let world = lasting().renewing_by_exchange().start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let ticket = watch.ticket().await;
    let sleepers = world.clock.sleepers();
    drop(watch);
    eventually("its keeper is gone", || world.clock.sleepers() < sleepers).await;
    pass_to_renewal(&world, ticket.refresh_time).await;
    lapse(&world, Duration::from_hours(2), Duration::from_mins(5)).await;
    // The keeper asked for the ticket once, as a call would: that is one renewal at most.
    assert!(world.sandbox.exchanges(TENANT) <= 2);
    lapse(&world, Duration::from_hours(12), Duration::from_mins(5)).await;
    assert!(world.sandbox.exchanges(TENANT) <= 2, "{}", world.sandbox.exchanges(TENANT));
}
