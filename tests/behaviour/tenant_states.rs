//! Whether a tenant runs, and where its API is: told with every answer, and never waited for long.

use std::time::Duration;

use superoffice_sandbox::Behaviour::{Hang, Status};
use superoffice_sandbox::Endpoint::TenantState as State;
use superoffice_sandbox::TenantState as InSandbox;
use ticketd::clock::Clock;
use ticketd::config::Config;
use ticketd::credentials::{Settings, TicketError};
use ticketd::grpc::proto::invalidate_system_ticket_request::Cause;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use ticketd::grpc::proto::{GetTenantRequest, TenantState};
use ticketd::superoffice;

use crate::faults::while_time_passes;
use crate::full_cache;
use crate::world::{TENANT, World, eventually, within};

const SECOND: Duration = Duration::from_secs(1);
const STATE_LIFE: Duration = Duration::from_mins(10);

async fn world() -> World {
    let world = World::start().await;
    world.sandbox.change_settings(|settings| settings.state_life = STATE_LIFE);
    world
}

/// The address on this host of the sandbox.
fn address(world: &World, host: usize) -> String {
    format!("{}/{TENANT}/api/", world.sandbox.host_urls()[host])
}

#[tokio::test]
async fn a_tenant_that_moves_is_told_within_the_validity_of_its_state() {
    let world = world().await;
    let first = world.ticket(TENANT).await.unwrap();
    assert_eq!(first.webapi_url, address(&world, 0));
    world.clock.advance(SECOND);
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    let moved = world.clock.now();
    let mut calls = 0;
    let ticket = loop {
        let ticket = world.ticket(TENANT).await.unwrap();
        calls += 1;
        if ticket.webapi_url != first.webapi_url {
            break ticket;
        }
        world.pass(SECOND, SECOND).await;
    };
    let took = world.clock.now().duration_since(moved).unsigned_abs();
    let lookups = world.sandbox.requests(State);
    println!(
        "ValidUntil {STATE_LIFE:?} ahead: the new URL was served {took:?} after the move, {calls} calls, {lookups} lookups"
    );
    assert!(took <= STATE_LIFE, "{took:?}");
    assert_eq!((ticket.webapi_url.clone(), ticket.tenant_state()), (address(&world, 1), TenantState::Running));
    assert_eq!((ticket.fingerprint, lookups), (first.fingerprint, 2));

    // Kept for after a restart.
    within(async {
        loop {
            let asked = GetTenantRequest { context_identifier: TENANT.to_owned() };
            let tenant = world.tenants().get_tenant(asked).await.unwrap().into_inner().tenant.unwrap();
            if tenant.webapi_url == address(&world, 1) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_was_sent_away_gets_the_new_address_at_once_for_the_same_ticket() {
    let world = world().await;
    let first = world.ticket(TENANT).await.unwrap();
    assert_eq!(world.report(TENANT, &first.fingerprint, Cause::Misdirected).await, Outcome::TooRecent);
    world.clock.advance(Duration::from_secs(5));
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    assert_eq!(world.report(TENANT, &"0".repeat(32), Cause::Misdirected).await, Outcome::NotCurrent);
    assert_eq!(world.report(TENANT, &first.fingerprint, Cause::Misdirected).await, Outcome::Relocated);
    let ticket = world.ticket(TENANT).await.unwrap();
    println!("after a report of 421 the next call had the new URL: {}", ticket.webapi_url == address(&world, 1));
    assert_eq!((ticket.webapi_url, ticket.fingerprint), (address(&world, 1), first.fingerprint.clone()));
    for _ in 0..20 {
        assert_eq!(world.report(TENANT, &first.fingerprint, Cause::Misdirected).await, Outcome::TooRecent);
    }
    assert_eq!((world.sandbox.requests(State), world.sandbox.exchanges(TENANT)), (2, 1));

    world.clock.advance(Duration::from_mins(1));
    world.sandbox.move_tenant(TENANT, 0).unwrap();
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    let next = world.ticket(TENANT).await.unwrap();
    assert_eq!(next.webapi_url, address(&world, 0), "a refused ticket may be a move's sign too");
}

#[tokio::test]
async fn a_busy_tenants_state_is_asked_for_in_the_background_and_no_more_than_need_be() {
    // Time jumps here, and no lookup is to take that for its own time.
    let patient = |config: &mut Config| config.superoffice.state_timeout = Duration::from_hours(2);
    let world = World::builder().config(patient).start().await;
    world.sandbox.change_settings(|settings| settings.state_life = STATE_LIFE);
    let mut unknown = 0;
    for _ in 0..360 {
        // Nothing moves the clock during a call: one that waited would hang here.
        unknown += u32::from(world.ticket(TENANT).await.unwrap().tenant_state() != TenantState::Running);
        world.pass(Duration::from_secs(10), Duration::from_secs(10)).await;
    }
    let lookups = world.sandbox.requests(State);
    println!(
        "360 calls in an hour, ValidUntil {STATE_LIFE:?} ahead: {lookups} lookups, {unknown} answers without a state"
    );
    assert_eq!(unknown, 0);
    assert!((7..=9).contains(&lookups), "{lookups}");
}

#[tokio::test]
async fn a_state_api_that_hangs_costs_one_call_a_quarter_of_a_second() {
    let world = world().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.clock.advance(STATE_LIFE);
    world.sandbox.set_behaviour(Hang.at(State));
    let began = world.clock.now();
    let ticket = while_time_passes(&world, world.ticket(TENANT)).await.unwrap();
    let waited = world.clock.now().duration_since(began).unsigned_abs();
    assert_eq!((ticket.tenant_state(), &ticket.webapi_url), (TenantState::Unspecified, &first.webapi_url));
    assert!((250..=1_000).contains(&waited.as_millis()), "{waited:?}");
    for _ in 0..600 {
        // Nothing moves the clock during these calls: one that waited would hang here.
        let ticket = world.ticket(TENANT).await.unwrap();
        assert_eq!((ticket.tenant_state(), ticket.fingerprint), (TenantState::Unspecified, first.fingerprint.clone()));
        world.pass(Duration::from_millis(500), Duration::from_millis(500)).await;
    }
    let lookups = world.sandbox.requests(State);
    println!("a state API that hung for 5 min: one of 601 calls waited {waited:?}, {lookups} lookups");
    assert!(lookups <= 62, "{lookups}");
    world.sandbox.clear_behaviours();
    world.pass(Duration::from_secs(6), SECOND).await;
    for _ in 0..1_000 {
        if world.ticket(TENANT).await.unwrap().tenant_state() == TenantState::Running {
            return;
        }
    }
    panic!("the state is not known again");
}

#[tokio::test]
async fn a_state_api_that_fails_leaves_the_last_address_also_after_a_restart() {
    let world = world().await;
    world.ticket(TENANT).await.unwrap();
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    world.clock.advance(STATE_LIFE);
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, address(&world, 1));
    world.sandbox.set_behaviour(Status(503).at(State));
    world.clock.advance(STATE_LIFE);
    let ticket = world.ticket(TENANT).await.unwrap();
    assert_eq!((ticket.tenant_state(), ticket.webapi_url), (TenantState::Unspecified, address(&world, 1)));
    let world = world.restart().await;
    world.sandbox.change_settings(|settings| settings.webapi_url_claim = false);
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, address(&world, 1));
}

#[tokio::test]
async fn what_a_webhook_tells_counts_for_the_next_call_and_until_the_next_lookup() {
    let world = world().await;
    let (tickets, _store) = full_cache::tickets(&world, Settings::default()).await;
    let tenant = TENANT.parse().unwrap();
    let first = tickets.get(tenant, Duration::ZERO).await.unwrap();
    let lookups = world.sandbox.requests(State);

    tickets.note_tenant_state(tenant, superoffice::TenantState::Suspended);
    for _ in 0..10 {
        let refused = tickets.get(tenant, Duration::ZERO).await.unwrap_err();
        assert_eq!(refused, TicketError::TenantNotRunning(superoffice::TenantState::Suspended));
    }
    tickets.note_tenant_state(tenant, superoffice::TenantState::Running);
    let again = tickets.get(tenant, Duration::ZERO).await.unwrap();
    assert_eq!((again.ticket.fingerprint, again.webapi_url()), (first.ticket.fingerprint, first.webapi_url()));
    assert_eq!(world.sandbox.requests(State), lookups);

    world.sandbox.move_tenant(TENANT, 1).unwrap();
    tickets.relocate(tenant);
    let moved = tickets.get(tenant, Duration::ZERO).await.unwrap();
    assert_eq!(moved.webapi_url(), Some(address(&world, 1).as_str()));
    assert_eq!(moved.ticket.fingerprint, first.ticket.fingerprint);

    // A notice that was wrong, or is out of date, is corrected within a minute.
    tickets.note_tenant_state(tenant, superoffice::TenantState::Deleted);
    world.clock.advance(Duration::from_mins(1));
    assert!(tickets.get(tenant, Duration::ZERO).await.is_ok());
    world.sandbox.set_tenant_state(TENANT, InSandbox::Suspended).unwrap();
    tickets.note_tenant_state(tenant, superoffice::TenantState::Running);
    world.clock.advance(Duration::from_secs(50));
    assert!(tickets.get(tenant, Duration::ZERO).await.is_ok(), "still believed, and asked for meanwhile");
    let known = || world.sandbox.requests(State) == lookups + 3;
    eventually("it is asked", known).await;
}
