//! Tickets that are watched: sent as they are, and again when something about them changes.

mod audit;
mod cost;
mod order;
mod policy;
mod refusals;
mod streams;

use std::time::Duration;

use superoffice_sandbox::{Behaviour, ChangeType, Endpoint, Webhook};
use ticketd::clock::Clock;
use ticketd::grpc::proto::invalidate_system_ticket_request::Cause;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use tonic::Code;

use crate::cluster::Cluster;
use crate::lapse::lapse;
use crate::several::{Told, Watch};
use crate::visitor::PUBLIC_URL;
use crate::world::{TENANT, World, WorldBuilder, eventually, reason, ticket_at, timestamp, within};

const SECOND: Duration = Duration::from_secs(1);

/// A world whose connections last as long as its tests.
fn lasting() -> WorldBuilder {
    World::builder().config(|config| config.server.max_connection_age = Duration::from_hours(10_000))
}

/// The next message, while some time passes: a change settles first.
async fn next(world: &World, watch: &mut Watch) -> Told {
    let next = async {
        loop {
            world.pass(SECOND / 2, SECOND / 10).await;
            // No faster than the machine's time: nothing is cut that is under way.
            if let Ok(told) = tokio::time::timeout(SECOND / 2, watch.next()).await {
                return told.unwrap();
            }
        }
    };
    within(next).await
}

/// Lets time pass until the ticket's renewal is due.
async fn pass_to_renewal(world: &World, refresh_time: Option<prost_types::Timestamp>) {
    let due = timestamp(refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due);
    world.pass(SECOND, SECOND).await;
}

#[tokio::test]
async fn the_ticket_comes_at_once_and_each_renewal_before_it_lapses() {
    for renewing_by_exchange in [true, false] {
        let builder = lasting();
        let builder = if renewing_by_exchange { builder.renewing_by_exchange() } else { builder };
        let world = builder.start().await;
        world.add_tenant("Cust1").await;
        let mut watch = Watch::begin(world.tickets(), &[TENANT, "Cust1", "cUST1"]).await.unwrap();
        let (first, second) = (watch.next().await.unwrap(), watch.next().await.unwrap());
        for (tenant, ticket) in [&first, &second] {
            assert_eq!(ticket.as_ref().unwrap().context_identifier, *tenant);
        }
        assert!(first.0 != second.0 && watch.is_silent().await, "each once");
        let mut before = if first.0 == TENANT { first.1.unwrap() } else { second.1.unwrap() };
        // From here on one alone, so that no renewal of the other is under way while time leaps.
        drop(watch);
        let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
        assert_eq!(watch.ticket().await.fingerprint, before.fingerprint);
        // Nobody asks by a call: what is watched counts as asked for.
        for _ in 0..3 {
            pass_to_renewal(&world, before.refresh_time).await;
            let renewed = watch.ticket().await;
            assert!(world.clock.now() < timestamp(before.expire_time));
            assert!(timestamp(renewed.expire_time) > timestamp(before.expire_time));
            assert_eq!(renewed.fingerprint == before.fingerprint, !renewing_by_exchange);
            assert!(renewed.refresh_warning.is_none());
            before = renewed;
        }
        assert_eq!(world.sandbox.exchanges(TENANT), if renewing_by_exchange { 4 } else { 1 });
    }
}

#[tokio::test]
async fn a_tenant_that_goes_and_comes_back_is_told_of() {
    let world = lasting().start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT, "Cust777"]).await.unwrap();
    let mut told = [watch.next().await.unwrap(), watch.next().await.unwrap()];
    told.sort_by_key(|(tenant, _)| tenant.clone());
    let first = told[0].1.as_ref().unwrap().clone();
    assert_eq!(reason(told[1].1.as_ref().unwrap_err()), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));

    world.delete_tenant(TENANT).await;
    assert_eq!(reason(&next(&world, &mut watch).await.1.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    // And the other way: one that was not there.
    world.add_tenant("Cust777").await;
    assert_eq!(next(&world, &mut watch).await.1.unwrap().context_identifier, "Cust777");
    println!("a tenant that was put, watched: {} exchange", world.sandbox.exchanges("Cust777"));
    let token = world.sandbox.add_tenant(TENANT).system_user_token;
    world.put_tenant(TENANT, &token, true).await;
    let again = async {
        loop {
            match next(&world, &mut watch).await {
                (tenant, Ok(ticket)) if tenant == TENANT => return ticket,
                // The change is told twice: on a slow machine the other's may be too.
                (tenant, told) => assert!(tenant == "Cust777" && told.is_ok()),
            }
        }
    };
    assert_ne!(within(again).await.fingerprint, first.fingerprint);
}

#[tokio::test]
async fn what_changes_while_a_ticket_is_got_is_told_without_waiting_for_it() {
    let world = lasting().start().await;
    world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    eventually("its exchange is under way", || world.sandbox.requests(Endpoint::Exchange) == 1).await;
    let begun = world.clock.now();
    world.delete_tenant(TENANT).await;
    assert_eq!(reason(&next(&world, &mut watch).await.1.unwrap_err()).1, "TENANT_NOT_REGISTERED");
    let took = world.clock.now().duration_since(begun).unsigned_abs();
    assert!(took < SECOND * 4, "{took:?}");
}

#[tokio::test]
async fn another_state_or_address_is_told_as_it_is_learnt() {
    let world = lasting().pages(PUBLIC_URL).start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let first = watch.ticket().await;
    world.clock.advance(Duration::from_secs(10));
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    assert_eq!(world.report(TENANT, &first.fingerprint, Cause::Misdirected).await, Outcome::Relocated);
    let moved = watch.ticket().await;
    assert_eq!(moved.fingerprint, first.fingerprint);
    assert_eq!(moved.webapi_url, format!("{}/{TENANT}/api/", world.sandbox.host_urls()[1]));
    let url = format!("http://{}/webhooks/tenant-status", world.pages());
    for (change, expected) in [(ChangeType::Suspend, Some("TENANT_NOT_RUNNING")), (ChangeType::Resume, None)] {
        assert_eq!(within(world.sandbox.send_webhook(&url, &Webhook::new(change, TENANT))).await.unwrap(), 202);
        match (watch.next().await.unwrap().1, expected) {
            (Ok(ticket), None) => assert_eq!(ticket.fingerprint, first.fingerprint),
            (Err(refusal), Some(expected)) => assert_eq!(reason(&refusal).1, expected),
            (told, _) => panic!("{change:?}: {told:?}"),
        }
    }
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn what_another_replica_did_reaches_those_who_watch_here() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let builder = lasting().renewing_by_exchange().config(move |config| {
        config.store.url.clone_from(&url);
        config.store.postgres.session_url = Some(url.clone());
    });
    let world = builder.start().await;
    let replica = world.replica().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let mut before = watch.ticket().await;
    for _ in 0..2 {
        // The other renews it first, for one who asks for a long life.
        world.clock.advance(Duration::from_hours(3));
        let long = ticket_at(replica.address(), TENANT, Some(Duration::from_hours(4))).await.unwrap();
        assert!(timestamp(long.expire_time) > timestamp(before.expire_time));
        let watching = async {
            loop {
                tokio::select! {
                    // A renewal that failed, on a slow machine, is told of by the ticket that is there.
                    ticket = watch.ticket() => if ticket.fingerprint != before.fingerprint { return ticket },
                    () = lapse(&world, Duration::from_mins(1), Duration::from_mins(1)) => {}
                }
            }
        };
        let renewed = within(watching).await;
        assert!(world.clock.now() < timestamp(before.expire_time));
        // The other may have renewed it once more by now.
        let others = [long.fingerprint, replica.ticket(TENANT).await.unwrap().fingerprint];
        assert!(others.contains(&renewed.fingerprint), "it is one that the other got: {renewed:?}, {others:?}");
        before = renewed;
    }
    // One that a caller of the other reports is taken away here too.
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(replica.invalidate(TENANT, &before.fingerprint).await, Outcome::Invalidated);
    // A renewal that failed meanwhile, on a slow machine, may have been told of first.
    let another = async { while next(&world, &mut watch).await.1.unwrap().fingerprint == before.fingerprint {} };
    within(another).await;
}
