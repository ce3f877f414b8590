use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint, Refusal};
use ticketd::clock::Clock;
use tonic::Code;

use crate::world::{TENANT, World, eventually, reason, retry_delay, timestamp};

#[tokio::test]
async fn a_ticket_in_use_is_renewed_in_the_background_before_it_lapses() {
    let world = World::builder().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.ticket(TENANT).await.unwrap();
    let due = timestamp(first.refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due.checked_sub(Duration::from_secs(1)).unwrap());
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
    world.clock.advance(Duration::from_secs(1));
    eventually("the renewal is made", || world.sandbox.exchanges(TENANT) == 2).await;
    let renewed = world.ticket(TENANT).await.unwrap();
    assert_ne!(renewed.fingerprint, first.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn a_ticket_nobody_asks_for_again_lapses() {
    let world = World::builder().renewing_by_exchange().start().await;
    world.ticket(TENANT).await.unwrap();
    world.pass(Duration::from_hours(7), Duration::from_mins(5)).await;
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
    world.ticket(TENANT).await.unwrap();
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn a_ticket_asked_for_after_its_renewal_was_passed_over_is_renewed_then() {
    let world = World::builder().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.pass(Duration::from_mins(330), Duration::from_mins(5)).await;
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
    eventually("the renewal is made", || world.sandbox.exchanges(TENANT) == 2).await;
}

#[tokio::test]
async fn nothing_is_served_past_its_expiry() {
    let world = World::builder().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange));
    world.clock.advance(Duration::from_hours(6) - Duration::from_secs(1));
    let last = world.ticket(TENANT).await.expect("the last second counts");
    assert_eq!(last.fingerprint, first.fingerprint);
    assert_eq!(last.refresh_warning.unwrap().reason, "TENANT_AUTHORIZATION_REVOKED");
    world.clock.advance(Duration::from_secs(1));
    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_AUTHORIZATION_REVOKED".to_owned()));
}

#[tokio::test]
async fn an_outage_of_half_an_hour_fails_no_call_of_a_tenant_with_a_ticket() {
    let world = World::start().await;
    world.ticket(TENANT).await.unwrap();
    world.clock.advance(Duration::from_hours(3));
    world.sandbox.set_behaviour(Behaviour::Status(503));
    let (mut calls, mut failed) = (0, 0);
    for _ in 0..30 * 60 {
        calls += 1;
        failed += u32::from(world.ticket(TENANT).await.is_err());
        world.clock.advance(Duration::from_secs(1));
    }
    println!("{failed} of {calls} calls failed in an outage of 30 min with a ticket aged 3 h");
    assert_eq!(failed, 0);
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_ticket_warns_and_is_tried_again_with_pauses() {
    let world = World::builder().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.ticket(TENANT).await.unwrap();
    let outage = world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(5)).at(Endpoint::Exchange));
    let due = timestamp(first.refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due);
    within_calls(&world, |ticket| ticket.refresh_warning.is_some()).await;
    let warned = world.ticket(TENANT).await.unwrap();
    let warning = warned.refresh_warning.unwrap();
    assert_eq!(warned.fingerprint, first.fingerprint);
    assert_eq!((warning.reason.as_str(), warning.failed_attempts), ("TENANT_NEEDS_REAPPROVAL", 1));
    let pause = timestamp(warning.next_attempt_time).duration_since(timestamp(warning.last_failure_time));
    assert!((30..=60).contains(&pause.as_secs()), "{pause:?}");

    let before = world.sandbox.requests(Endpoint::Exchange);
    for _ in 0..600 {
        assert!(world.ticket(TENANT).await.is_ok());
        world.clock.advance(Duration::from_secs(1));
    }
    let tries = world.sandbox.requests(Endpoint::Exchange) - before;
    println!("{tries} renewals tried in ten minutes of refusals");
    assert!((9..=20).contains(&tries), "{tries}");

    world.sandbox.clear_behaviour(outage);
    world.clock.advance(Duration::from_mins(1));
    within_calls(&world, |ticket| ticket.refresh_warning.is_none()).await;
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn after_a_cold_failure_upstream_calls_stay_within_the_back_off() {
    let world = World::start().await;
    world.sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::Exchange));
    let mut calls = 0;
    for _ in 0..600 {
        // The retries of one exchange wait by the clock, so time has to move while a call is under way.
        let refused = fail(&world).await;
        assert_eq!(reason(&refused), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".to_owned()));
        assert!(retry_delay(&refused).is_some_and(|delay| delay <= Duration::from_secs(31)));
        calls += 1;
        world.clock.advance(Duration::from_secs(1));
    }
    let tries = world.sandbox.requests(Endpoint::Exchange);
    println!("{calls} calls in ten minutes of a cold outage made {tries} requests");
    // Pauses between exchanges soon reach 0.5 to 30 s, and an exchange is at most three requests.
    assert!((10..=200).contains(&tries), "{tries}");
    world.sandbox.clear_behaviours();
    world.clock.advance(Duration::from_secs(31));
    world.ticket(TENANT).await.expect("the outage is over");
}

#[tokio::test]
async fn a_permanent_refusal_is_asked_once_a_minute() {
    let world = World::start().await;
    world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange));
    for _ in 0..600 {
        let refused = world.ticket(TENANT).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_AUTHORIZATION_REVOKED".to_owned()));
        world.clock.advance(Duration::from_secs(1));
    }
    let tries = world.sandbox.requests(Endpoint::Exchange);
    println!("600 calls in ten minutes of a revoked authorization made {tries} requests");
    assert_eq!(tries, 10);
    world.sandbox.clear_behaviours();
    world.put_tenant(TENANT, &world.sandbox.add_tenant(TENANT).system_user_token, false).await;
    world.ticket(TENANT).await.expect("PutTenant clears the refusal at once");
}

/// A call that must fail, while time moves for the retries it may make.
async fn fail(world: &World) -> tonic::Status {
    let call = world.ticket(TENANT);
    tokio::pin!(call);
    loop {
        tokio::select! {
            biased;
            outcome = &mut call => return outcome.unwrap_err(),
            () = world.pass(Duration::from_millis(100), Duration::from_millis(100)) => {}
        }
    }
}

/// Calls until the ticket is as wanted.
async fn within_calls(world: &World, wanted: impl Fn(&ticketd::grpc::proto::SystemTicket) -> bool) {
    for _ in 0..2_000 {
        if wanted(&world.ticket(TENANT).await.unwrap()) {
            return;
        }
    }
    panic!("no call got the ticket wanted");
}
