//! Renewal by using the ticket: its life counts anew, and no row is written.

use std::time::Duration;

use jiff::Timestamp;
use superoffice_sandbox::Behaviour::{Answer, Drop, Hang, Jwt, Slow, Status, Throttled};
use superoffice_sandbox::Endpoint::{Exchange, TenantState as State, WebApi};
use superoffice_sandbox::{CannedAnswer, JwtFlaw, TenantState};
use ticketd::clock::Clock;
use ticketd::credentials::Renewal;
use ticketd::grpc::proto::SystemTicket;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use tonic::Code;

use crate::world::{TENANT, World, eventually, reason, timestamp};

const DAY: Duration = Duration::from_hours(24);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_busy_tenant_makes_one_exchange_in_30_days() {
    let world = World::start().await;
    let rows = exchanges_in_30_days(&world).await;
    let uses = world.sandbox.requests(WebApi);
    println!("a busy tenant in 30 days, renewal by keep-alive: {rows} exchange, {uses} keep-alives");
    assert_eq!(rows, 1);
    assert!((30 * 4..=30 * 5).contains(&uses), "{uses}");
}

#[tokio::test]
async fn without_keep_alive_a_busy_tenant_makes_at_most_five_exchanges_a_day() {
    let world = World::builder().renewing_by_exchange().start().await;
    let rows = exchanges_in_30_days(&world).await;
    println!("a busy tenant in 30 days, renewal by exchange: {rows} exchanges");
    assert!((30 * 4..=30 * 5).contains(&rows), "{rows}");
    assert_eq!(world.sandbox.requests(WebApi), 0);
}

async fn exchanges_in_30_days(world: &World) -> u64 {
    let end = world.clock.now() + 30 * DAY;
    while world.clock.now() < end {
        // Nobody waits for a renewal but this test, so that it does not overtake one.
        while timestamp(world.ticket(TENANT).await.unwrap().refresh_time) <= world.clock.now() {}
        // Often enough to see each renewal, which is due 40 minutes before expiry at the latest.
        world.clock.advance(Duration::from_mins(38));
    }
    world.sandbox.exchanges(TENANT)
}

#[tokio::test]
async fn the_same_ticket_gets_another_life_from_when_its_use_was_sent() {
    let world = World::start().await;
    let first = due(&world).await;
    let sent = world.clock.now();
    let renewed = renewed(&world, &first).await;
    assert_eq!((&renewed.fingerprint, renewed.issue_time), (&first.fingerprint, first.issue_time));
    assert_eq!(timestamp(renewed.expire_time), sent + Duration::from_hours(6));
    let before_expiry = timestamp(renewed.expire_time).duration_since(timestamp(renewed.refresh_time)).as_mins();
    assert!((40..=70).contains(&before_expiry), "{before_expiry}");
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (1, 1));
    world.clock.advance(Duration::from_hours(5));
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
}

#[tokio::test]
async fn a_ticket_that_the_tenant_refuses_is_exchanged_for_at_once() {
    for status in [401, 403] {
        let world = World::start().await;
        let first = due_unless(&world, |world| {
            world.sandbox.change_settings(|settings| settings.stale_ticket_status = status);
            assert_eq!(world.sandbox.revoke_tickets(TENANT), 1);
        })
        .await;
        let renewed = renewed(&world, &first).await;
        assert_ne!(renewed.fingerprint, first.fingerprint, "{status}");
        assert_eq!(renewed.refresh_warning, None);
        assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (2, 1));
    }
}

#[tokio::test]
async fn a_tenant_that_moved_is_looked_for_and_its_ticket_used_there() {
    let world = World::start().await;
    let first = due_unless(&world, |world| world.sandbox.move_tenant(TENANT, 1).unwrap()).await;
    let renewed = renewed(&world, &first).await;
    assert_eq!(renewed.fingerprint, first.fingerprint);
    assert_eq!(renewed.webapi_url, format!("{}/{TENANT}/api/", world.sandbox.host_urls()[1]));
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (1, 2));
}

#[tokio::test]
async fn a_tenants_api_that_fails_costs_a_warning_and_an_exchange_in_the_last_ten_minutes_only() {
    let page = CannedAnswer { status: 200, body: "<html>Somebody else's</html>".to_owned() };
    for (failure, because) in [
        (Status(500), "UPSTREAM_UNAVAILABLE"),
        (Status(503), "UPSTREAM_UNAVAILABLE"),
        (Status(404), "UPSTREAM_UNAVAILABLE"),
        (Status(421), "UPSTREAM_UNAVAILABLE"),
        (Throttled("30".to_owned()), "UPSTREAM_THROTTLED"),
        (Drop, "UPSTREAM_UNAVAILABLE"),
        (Answer(page), "UPSTREAM_UNAVAILABLE"),
        (Hang, "UPSTREAM_UNAVAILABLE"),
        (Slow(Duration::from_hours(1)), "UPSTREAM_UNAVAILABLE"),
    ] {
        let world = World::start().await;
        let first = due_unless(&world, |world| world.sandbox.set_behaviour(failure.clone().at(WebApi))).await;
        for tries in 1..=4 {
            let is_warned = |ticket: &SystemTicket| failed_attempts(ticket) >= tries;
            let warned = in_time(&world, Duration::from_millis(500), is_warned).await;
            assert_eq!(warned.refresh_warning.unwrap().reason, because, "{failure:?}");
            assert_eq!((warned.fingerprint, world.sandbox.exchanges(TENANT)), (first.fingerprint.clone(), 1));
            world.clock.advance(Duration::from_mins(1));
        }
        // Steps are shorter than an exchange may take.
        pass_until(&world, timestamp(first.expire_time) - Duration::from_mins(9));
        let is_another = |ticket: &SystemTicket| ticket.fingerprint != first.fingerprint;
        let renewed = in_time(&world, Duration::from_millis(250), is_another).await;
        let left = timestamp(first.expire_time).duration_since(timestamp(renewed.issue_time)).as_secs();
        println!("{failure:?}: a warning, and an exchange {left} s before expiry");
        assert!((1..=9 * 60).contains(&left), "{failure:?}");
        assert_eq!(world.sandbox.exchanges(TENANT), 2, "{failure:?}");
    }
}

#[tokio::test]
async fn a_tenant_in_maintenance_at_its_renewal_has_its_ticket_back_afterwards() {
    let world = World::start().await;
    let set = |state| world.sandbox.set_tenant_state(TENANT, state).unwrap();
    let first = due_unless(&world, |_| set(TenantState::OfflineMaintenance)).await;
    warned(&world, "UPSTREAM_UNAVAILABLE").await;
    pass_until(&world, timestamp(first.expire_time) - Duration::from_mins(9));
    // It counted as running until then, by its state's own validity: before an exchange it is asked anew.
    until_refused(&world, "TENANT_MAINTENANCE").await;
    set(TenantState::Running);
    // An answer from before may be on its way still, and is believed for a minute.
    while world.ticket(TENANT).await.is_err() {
        world.clock.advance(Duration::from_mins(1));
    }
    let back = renewed(&world, &first).await;
    assert_eq!(back.fingerprint, first.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn a_ticket_is_kept_alive_only_while_somebody_asks_for_it() {
    let world = World::start().await;
    world.ticket(TENANT).await.unwrap();
    world.pass(Duration::from_hours(7), Duration::from_mins(5)).await;
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (1, 0));
    let first = due(&world).await;
    eventually("it is kept alive", || world.sandbox.requests(WebApi) == 1).await;
    // The answer is on its way still, and must not come too late.
    world.pass(SECOND, Duration::from_millis(5)).await;
    world.pass(Duration::from_hours(12), Duration::from_mins(5)).await;
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (2, 1), "nobody asked since");
    assert_ne!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
}

#[tokio::test]
async fn after_a_restart_one_exchange_begins_another_row_of_lives() {
    let world = World::start().await;
    due(&world).await;
    let world = world.restart().await;
    let first = due(&world).await;
    let renewed = renewed(&world, &first).await;
    assert_eq!(renewed.fingerprint, first.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn a_keep_alive_brings_no_ticket_back_that_was_dropped_meanwhile() {
    let world = World::start().await;
    let first = due_unless(&world, |world| world.sandbox.set_behaviour(Hang.at(WebApi))).await;
    world.sandbox.wait_for_requests(WebApi, 1).await;
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    world.sandbox.clear_behaviours();
    let next = world.ticket(TENANT).await.unwrap();
    assert_ne!(next.fingerprint, first.fingerprint);
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, next.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn whoever_asks_after_a_report_gets_another_ticket_though_a_keep_alive_of_the_old_one_hangs() {
    let world = World::start().await;
    let first = due_unless(&world, |world| world.sandbox.set_behaviour(Hang.at(WebApi))).await;
    world.sandbox.wait_for_requests(WebApi, 1).await;
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    let asked = world.ticket(TENANT);
    let time_passes = world.pass(Duration::from_secs(12), Duration::from_millis(100));
    let (next, ()) = tokio::join!(asked, time_passes);
    assert_ne!(next.unwrap().fingerprint, first.fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

#[tokio::test]
async fn a_report_is_too_recent_for_an_exchange_and_never_for_a_keep_alive() {
    let world = World::start().await;
    let first = due(&world).await;
    renewed(&world, &first).await;
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    let next = world.ticket(TENANT).await.unwrap();
    assert_eq!(world.invalidate(TENANT, &next.fingerprint).await, Outcome::TooRecent);
}

#[tokio::test]
async fn a_longer_life_is_had_by_a_keep_alive_too() {
    let world = World::start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.clock.advance(Duration::from_hours(2));
    let longest = Some(Duration::from_mins(290));
    let prolonged = world.ticket_for(TENANT, longest).await.unwrap();
    assert_eq!(prolonged.fingerprint, first.fingerprint);
    assert_eq!(timestamp(prolonged.expire_time), world.clock.now() + Duration::from_hours(6));
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (1, 1));

    world.clock.advance(Duration::from_hours(2));
    world.sandbox.set_behaviour(Status(503).at(WebApi));
    let refused = world.ticket_for(TENANT, longest).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".to_owned()));
    assert!(world.ticket(TENANT).await.is_ok(), "it lives for four hours");
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test]
async fn without_an_address_a_renewal_is_an_exchange() {
    let world = World::start().await;
    world.sandbox.set_behaviour(Status(503).at(State));
    world.sandbox.set_behaviour(Jwt(JwtFlaw::ForeignWebapiUrl).at(Exchange));
    let first = due(&world).await;
    assert_eq!(first.webapi_url, "");
    let renewed = renewed(&world, &first).await;
    assert_ne!(renewed.fingerprint, first.fingerprint);
    assert_eq!((world.sandbox.exchanges(TENANT), world.sandbox.requests(WebApi)), (2, 0));
}

#[tokio::test]
async fn lives_of_20_seconds_are_kept_alive_too() {
    let second = Duration::from_secs;
    let world = World::builder()
        .sandbox(|builder| builder.ticket_life(second(20)))
        .config(|config| {
            config.tickets.lifetime = Duration::from_secs(20);
            config.tickets.renew_before_min = Duration::from_secs(5);
            config.tickets.renew_before_max = Duration::from_secs(8);
            config.tickets.wait_before_expiry = SECOND;
            assert_eq!(config.tickets.renewal, Renewal::KeepAlive);
        })
        .start()
        .await;
    let first = due(&world).await;
    let kept = renewed(&world, &first).await;
    assert_eq!(kept.fingerprint, first.fingerprint);
    world.sandbox.set_behaviour(Drop.at(WebApi));
    while world.ticket(TENANT).await.unwrap().fingerprint == kept.fingerprint {
        world.pass(Duration::from_millis(250), Duration::from_millis(250)).await;
    }
    let next = world.ticket(TENANT).await.unwrap();
    assert!(timestamp(next.issue_time) < timestamp(kept.expire_time), "exchanged for before it expired");
    assert_eq!(world.sandbox.exchanges(TENANT), 2);
}

/// A ticket in use whose renewal is due.
async fn due(world: &World) -> SystemTicket {
    due_unless(world, |_| {}).await
}

/// A ticket in use whose renewal is due; what `goes_wrong` does so shortly before.
async fn due_unless<T>(world: &World, goes_wrong: impl FnOnce(&World) -> T) -> SystemTicket {
    let first = world.ticket(TENANT).await.unwrap();
    let due = timestamp(first.refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due.saturating_sub(SECOND));
    // By now its state has been asked for anew.
    let used = world.ticket(TENANT).await.unwrap();
    assert_eq!(used.fingerprint, first.fingerprint);
    goes_wrong(world);
    world.clock.advance(SECOND);
    used
}

/// The ticket after its renewal, whatever that was.
async fn renewed(world: &World, before: &SystemTicket) -> SystemTicket {
    until(world, "it is renewed", |ticket| ticket.refresh_time != before.refresh_time).await
}

async fn warned(world: &World, because: &str) -> SystemTicket {
    let is_warned = |ticket: &SystemTicket| ticket.refresh_warning.as_ref().is_some_and(|it| it.reason == because);
    until(world, "there is a warning", is_warned).await
}

async fn until(world: &World, what: &str, holds: impl Fn(&SystemTicket) -> bool) -> SystemTicket {
    for _ in 0..5_000 {
        let ticket = world.ticket(TENANT).await.unwrap();
        if holds(&ticket) {
            return ticket;
        }
    }
    panic!("never: {what}");
}

fn failed_attempts(ticket: &SystemTicket) -> u32 {
    ticket.refresh_warning.as_ref().map_or(0, |warning| warning.failed_attempts)
}

fn pass_until(world: &World, time: Timestamp) {
    world.clock.advance(time.duration_since(world.clock.now()).unsigned_abs());
}

/// Calls, while time passes in such steps, until the ticket is as wanted.
async fn in_time(world: &World, step: Duration, holds: impl Fn(&SystemTicket) -> bool) -> SystemTicket {
    for _ in 0..1_000 {
        let ticket = world.ticket(TENANT).await.unwrap();
        if holds(&ticket) {
            return ticket;
        }
        world.pass(step, step).await;
    }
    panic!("no call got the ticket wanted");
}

async fn until_refused(world: &World, because: &str) {
    for _ in 0..5_000 {
        if let Err(refused) = world.ticket(TENANT).await {
            assert_eq!(reason(&refused).1, because);
            return;
        }
    }
    panic!("never refused");
}
