use std::time::Duration;

use superoffice_sandbox::Behaviour::Hang;
use superoffice_sandbox::Endpoint::Exchange;
use ticketd::clock::Clock;
use ticketd::grpc::proto::TenantState;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use tonic::Code;

use crate::world::{TENANT, World, reason, timestamp};

#[tokio::test]
async fn the_first_call_exchanges_and_the_next_ones_do_not() {
    let world = World::start().await;
    let sent = world.clock.now();
    let ticket = world.ticket(TENANT).await.unwrap();
    assert!(ticket.ticket.starts_with("7T:"));
    assert_eq!(ticket.context_identifier, TENANT);
    assert_eq!(timestamp(ticket.issue_time), sent);
    assert_eq!(timestamp(ticket.expire_time), sent + Duration::from_hours(6));
    let refresh_time = timestamp(ticket.refresh_time);
    assert!(refresh_time >= sent + Duration::from_mins(290) && refresh_time <= sent + Duration::from_mins(320));
    assert_eq!(ticket.webapi_url, format!("{}/{TENANT}/api/", world.sandbox.host_urls()[0]));
    assert_eq!(ticket.tenant_state(), TenantState::Running);
    assert_eq!(ticket.refresh_warning, None);
    for spelling in [TENANT, "cust12345", "CUST12345"] {
        assert_eq!(world.ticket(spelling).await.unwrap().fingerprint, ticket.fingerprint);
    }
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn an_exchange_may_take_as_long_as_is_configured() {
    const LONG: Duration = Duration::from_mins(4);
    let world = World::builder()
        .config(|config| {
            config.tickets.exchange_budget = LONG;
            config.superoffice.request_timeout = LONG;
            config.server.request_timeout = LONG;
        })
        .start()
        .await;
    world.sandbox.set_behaviour(Hang.at(Exchange));
    let (ticket, ()) = tokio::join!(world.ticket(TENANT), async {
        world.sandbox.wait_for_requests(Exchange, 1).await;
        world.pass(Duration::from_mins(3), Duration::from_secs(1)).await;
        world.sandbox.clear_behaviours();
    });
    ticket.unwrap();
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn a_restart_keeps_the_tenant_and_its_pinned_serial() {
    let world = World::start().await;
    world.ticket(TENANT).await.unwrap();
    let world = world.restart().await;
    world.ticket(TENANT).await.unwrap();
    assert_eq!(world.sandbox.exchanges(TENANT), 2);

    world.sandbox.set_tenant_serial(TENANT, "999999999").unwrap();
    let world = world.restart().await;
    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Internal, "UPSTREAM_TENANT_MISMATCH".to_owned()));

    let token = world.sandbox.add_tenant(TENANT).system_user_token;
    world.put_tenant(TENANT, &token, true).await;
    world.sandbox.set_tenant_serial(TENANT, "999999999").unwrap();
    world.ticket(TENANT).await.expect("the new serial is accepted");
}

#[tokio::test]
async fn a_reported_ticket_is_replaced_once_and_only_if_it_is_current() {
    let world = World::start().await;
    let first = world.ticket(TENANT).await.unwrap();
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::TooRecent);
    world.clock.advance(Duration::from_secs(30));
    let foreign = "0".repeat(32);
    assert_eq!(world.invalidate(TENANT, &foreign).await, Outcome::NotCurrent);
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::NotCurrent);
    let second = world.ticket(TENANT).await.unwrap();
    assert_ne!(second.fingerprint, first.fingerprint);
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::NotCurrent);
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn storms_of_reports_force_two_exchanges_a_minute_at_most() {
    let world = World::start().await;
    let mut reports = 0;
    for _ in 0..60 {
        let ticket = world.ticket(TENANT).await.unwrap();
        for _ in 0..10 {
            world.invalidate(TENANT, &ticket.fingerprint).await;
            reports += 1;
        }
        world.clock.advance(Duration::from_secs(1));
    }
    let forced = world.sandbox.exchanges(TENANT) - 1;
    println!("{reports} reports in a minute forced {forced} exchanges");
    assert!((1..=2).contains(&forced), "{forced}");
}

#[tokio::test]
async fn min_validity_fetches_a_fresher_ticket_and_is_bounded() {
    let world = World::builder().renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.clock.advance(Duration::from_hours(2));
    let longest = Duration::from_mins(290);
    assert_eq!(world.ticket_for(TENANT, Some(Duration::from_hours(4))).await.unwrap().fingerprint, first.fingerprint);
    let fresher = world.ticket_for(TENANT, Some(longest)).await.unwrap();
    assert_ne!(fresher.fingerprint, first.fingerprint);
    let refused = world.ticket_for(TENANT, Some(longest + Duration::from_secs(1))).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::InvalidArgument, "MIN_VALIDITY_TOO_LARGE".to_owned()));
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn a_changed_token_and_a_removed_tenant_take_effect_at_once() {
    let world = World::start().await;
    let first = world.ticket(TENANT).await.unwrap();
    let token = "Application Name-0000000000";
    world.sandbox.add_tenant_with_token(TENANT, token);
    world.put_tenant(TENANT, token, false).await;
    let second = world.ticket(TENANT).await.unwrap();
    assert_ne!(second.fingerprint, first.fingerprint);

    world.delete_tenant(TENANT).await;
    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::NotFound, "TENANT_NOT_REGISTERED".to_owned()));
    world.put_tenant(TENANT, token, false).await;
    world.ticket(TENANT).await.expect("registering again clears the refusal");
}

#[tokio::test]
async fn an_access_token_is_refreshed_once_and_belongs_to_the_tenant() {
    let world = World::start().await;
    let refresh_token = world.sandbox.issue_refresh_token(TENANT).unwrap();
    let first = world.access_token(TENANT, &refresh_token).await.unwrap();
    let second = world.access_token(TENANT, &refresh_token).await.unwrap();
    assert_eq!(first.access_token, second.access_token);
    assert_eq!(timestamp(first.expire_time), world.clock.now() + Duration::from_hours(1));
    world.clock.advance(Duration::from_mins(59));
    let third = world.access_token(TENANT, &refresh_token).await.unwrap();
    assert_ne!(first.access_token, third.access_token);

    let refused = world.access_token("Cust54321", &refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Internal, "UPSTREAM_TENANT_MISMATCH".to_owned()));
    world.sandbox.revoke_refresh_token(&refresh_token);
    world.clock.advance(Duration::from_mins(59));
    let refused = world.access_token(TENANT, &refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "REFRESH_TOKEN_REFUSED".to_owned()));
}
