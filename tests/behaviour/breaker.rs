//! SuperOffice keeps failing: it is asked once in ten seconds, and nobody waits for it.

use std::time::Duration;

use superoffice_sandbox::Behaviour::{self, Hang, Slow, Status, Throttled, TruncatedBody};
use superoffice_sandbox::Endpoint::{Exchange, TenantState as State, Tokens};
use ticketd::clock::Clock;
use ticketd::grpc::proto::SystemTicket;
use tonic::Code;

use crate::log::Log;
use crate::world::{TENANT, World, eventually, reason, retry_delay, within};

const SECOND: Duration = Duration::from_secs(1);
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_mins(30);

/// A world whose login host has just been given up: as many calls as it takes failed, for Cust11 and on.
async fn given_up(behaviour: Behaviour) -> World {
    let world = World::start().await;
    for number in 1..=20 {
        world.add_tenant(&format!("Cust{number}")).await;
    }
    world.ticket(TENANT).await.unwrap();
    world.sandbox.set_behaviour(behaviour.at(Exchange));
    for number in 11..=20 {
        let refused = while_time_passes(&world, world.ticket(&format!("Cust{number}"))).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        if reason(&refused).1 == "UPSTREAM_CIRCUIT_OPEN" {
            break;
        }
    }
    world.sandbox.reset_requests();
    world
}

async fn refused_at_once(world: &World, tenant: &str) -> Duration {
    let before = world.clock.now();
    let refused = world.ticket(tenant).await.unwrap_err();
    assert_eq!(world.clock.now(), before, "no time passes");
    assert_eq!(reason(&refused), (Code::Unavailable, "UPSTREAM_CIRCUIT_OPEN".to_owned()));
    retry_delay(&refused).expect("it says when to come again")
}

#[tokio::test]
async fn an_outage_of_half_an_hour_costs_a_probe_in_ten_seconds() {
    let world = World::start().await;
    let tenants: Vec<_> = (1..=10).map(|number| format!("Cust{number}")).collect();
    let (warm, cold) = tenants.split_at(3);
    for tenant in &tenants {
        world.add_tenant(tenant).await;
    }
    for tenant in warm {
        world.ticket(tenant).await.unwrap();
    }
    world.clock.advance(Duration::from_hours(3));
    for endpoint in [Exchange, State] {
        world.sandbox.set_behaviour(Status(503).at(endpoint));
    }
    world.sandbox.reset_requests();
    let (mut served, mut refused, mut given_up, mut slowest) = (0, 0, false, Duration::ZERO);
    let end = world.clock.now() + OUTAGE;
    while world.clock.now() < end {
        for tenant in warm {
            world.ticket(tenant).await.expect("what is in memory is served");
            served += 1;
        }
        for tenant in cold {
            // Real time: what is refused waits for no clock.
            let (began, sent) = (tokio::time::Instant::now(), world.sandbox.requests(Exchange));
            let error = while_time_passes(&world, world.ticket(tenant)).await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            assert!(retry_delay(&error).is_some_and(|delay| !delay.is_zero()));
            if given_up && world.sandbox.requests(Exchange) == sent {
                slowest = slowest.max(began.elapsed());
            }
            given_up |= reason(&error).1 == "UPSTREAM_CIRCUIT_OPEN";
            refused += 1;
        }
        world.clock.advance(Duration::from_secs(5));
    }
    let (exchanges, states) = (world.sandbox.requests(Exchange), world.sandbox.requests(State));
    let (normal, probes) = (cold.len() as u64, OUTAGE.as_secs() / BETWEEN_PROBES.as_secs());
    println!(
        "30 min of 503: {served} calls with a ticket served, {refused} without refused, the slowest once given up in {slowest:.0?} of real time; \
         {exchanges} exchanges sent and {states} states asked for, where {normal} of each are normal and {probes} \
         probes allowed"
    );
    assert!(slowest <= SECOND, "{slowest:?}");
    assert!(exchanges * 10 <= normal * 11 + probes * 10, "{exchanges}");
    assert!(states * 10 <= normal * 11 + probes * 10, "{states}");

    world.sandbox.clear_behaviours();
    world.clock.advance(BETWEEN_PROBES + Duration::from_secs(30));
    for tenant in cold {
        world.ticket(tenant).await.expect("it is over");
    }
}

#[tokio::test]
async fn every_kind_of_outage_is_given_up_and_over_with_the_first_probe_that_is_answered() {
    for behaviour in [Status(500), Behaviour::Drop, TruncatedBody, Slow(Duration::from_hours(1)), Hang] {
        let world = given_up(behaviour.clone()).await;
        assert!(refused_at_once(&world, "Cust3").await <= BETWEEN_PROBES, "{behaviour:?}");
        assert_eq!(world.sandbox.request_log(), [], "{behaviour:?}: nothing is sent");
        world.ticket(TENANT).await.expect("what is in memory is served");
        world.sandbox.clear_behaviours();
        world.clock.advance(BETWEEN_PROBES);
        for tenant in ["Cust3", "Cust4", "Cust5"] {
            world.ticket(tenant).await.unwrap_or_else(|error| panic!("{behaviour:?}: {error}"));
        }
    }
}

#[tokio::test]
async fn of_all_who_come_at_once_one_is_the_probe() {
    let world = given_up(Status(503)).await;
    world.clock.advance(BETWEEN_PROBES);
    world.sandbox.clear_behaviours();
    let hanging = world.sandbox.set_behaviour(Hang.at(Exchange));
    let mut clients: Vec<_> = (1..=10).map(|number| (world.tickets(), format!("Cust{number}"))).collect();
    let calls: Vec<_> = clients
        .drain(..)
        .map(|(mut client, tenant)| {
            let request =
                ticketd::grpc::proto::GetSystemTicketRequest { context_identifier: tenant, min_validity: None };
            tokio::spawn(async move { client.get_system_ticket(request).await })
        })
        .collect();
    eventually("all but the probe are refused", || calls.iter().filter(|call| call.is_finished()).count() == 9).await;
    assert_eq!(world.sandbox.requests(Exchange), 1);
    world.sandbox.clear_behaviour(hanging);
    let (mut issued, mut refused) = (0, 0);
    for call in calls {
        match within(call).await.unwrap() {
            Ok(_) => issued += 1,
            Err(error) => {
                assert_eq!(reason(&error).1, "UPSTREAM_CIRCUIT_OPEN");
                assert!(retry_delay(&error).is_some_and(|delay| delay <= SECOND));
                refused += 1;
            }
        }
    }
    println!("10 tenants at once when a probe is due: {issued} sent, {refused} refused");
    assert_eq!((issued, refused), (1, 9));
    for number in 1..=10 {
        world.ticket(&format!("Cust{number}")).await.expect("nothing is remembered of the refusal");
    }
}

#[tokio::test]
async fn a_renewal_that_is_not_sent_is_a_warning() {
    let world = World::builder().renewing_by_exchange().start().await;
    for tenant in ["Cust1", "Cust2"] {
        world.add_tenant(tenant).await;
    }
    let first = world.ticket(TENANT).await.unwrap();
    world.ticket(TENANT).await.unwrap();
    let due = crate::world::timestamp(first.refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due.checked_sub(Duration::from_secs(5)).unwrap());
    world.sandbox.set_behaviour(Status(503).at(Exchange));
    for tenant in ["Cust1", "Cust2"] {
        while_time_passes(&world, world.ticket(tenant)).await.unwrap_err();
    }
    world.sandbox.reset_requests();
    let ticket: SystemTicket = loop {
        let ticket = world.ticket(TENANT).await.expect("it is valid");
        if ticket.refresh_warning.is_some() {
            break ticket;
        }
        world.pass(SECOND, SECOND).await;
    };
    assert_eq!(ticket.fingerprint, first.fingerprint);
    assert_eq!(ticket.refresh_warning.unwrap().reason, "UPSTREAM_CIRCUIT_OPEN");
    assert_eq!(world.sandbox.requests(Exchange), 0);
}

#[tokio::test]
async fn one_tenants_own_trouble_stops_nobody_else() {
    let world = World::start().await;
    world.add_tenant("Cust2").await;
    world.sandbox.set_behaviour(Status(500).for_tenant(TENANT).at(Exchange));
    for _ in 0..20 {
        let refused = while_time_passes(&world, world.ticket(TENANT)).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::Unavailable, "UPSTREAM_UNAVAILABLE".to_owned()));
        world.clock.advance(Duration::from_secs(30));
    }
    world.ticket("Cust2").await.expect("another tenant's trouble is not its own");
}

#[tokio::test]
async fn access_tokens_are_given_up_together_with_exchanges() {
    let world = World::start().await;
    world.add_tenant("Cust2").await;
    let refresh_token = world.sandbox.issue_refresh_token(TENANT).unwrap();
    for endpoint in [Exchange, Tokens] {
        world.sandbox.set_behaviour(Status(503).at(endpoint));
    }
    while_time_passes(&world, world.ticket(TENANT)).await.unwrap_err();
    while_time_passes(&world, world.ticket("Cust2")).await.unwrap_err();
    let refused = world.access_token(TENANT, &refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "UPSTREAM_CIRCUIT_OPEN".to_owned()));
    assert_eq!(world.sandbox.requests(Tokens), 0);
    world.sandbox.clear_behaviours();
    world.clock.advance(BETWEEN_PROBES);
    world.access_token(TENANT, &refresh_token).await.expect("it is the probe");
}

#[tokio::test]
async fn the_request_to_wait_is_no_outage() {
    let world = World::start().await;
    let tenants: Vec<_> = (1..=10).map(|number| format!("Cust{number}")).collect();
    for tenant in &tenants {
        world.add_tenant(tenant).await;
        world.sandbox.set_behaviour(Throttled("1".to_owned()).at(Exchange).times(1));
        let refused = while_time_passes(&world, world.ticket_for(tenant, None)).await;
        assert!(refused.is_ok_and(|ticket| !ticket.ticket.is_empty()), "{tenant}: it waits a second");
    }
}

#[tokio::test]
async fn opening_and_closing_are_logged_once_each() {
    let log = Log::start();
    let world = given_up(Status(503)).await;
    for _ in 0..12 {
        world.clock.advance(SECOND);
        for tenant in ["Cust3", "Cust4"] {
            while_time_passes(&world, world.ticket(tenant)).await.unwrap_err();
        }
    }
    assert_eq!(log.lines_with("it is asked every ten seconds only").len(), 1);
    assert_eq!(log.lines_with("SuperOffice answers again").len(), 0);
    world.sandbox.clear_behaviours();
    world.clock.advance(BETWEEN_PROBES);
    world.ticket("Cust5").await.unwrap();
    let closed = log.lines_with("SuperOffice answers again");
    assert_eq!(closed.len(), 1);
    assert_eq!((&closed[0]["level"], &closed[0]["fields"]["upstream"]), (&"INFO".into(), &"login".into()));
}

pub(crate) async fn while_time_passes<T>(world: &World, call: impl Future<Output = T>) -> T {
    const STEP: Duration = Duration::from_millis(100);
    tokio::pin!(call);
    loop {
        tokio::select! {
            biased;
            outcome = &mut call => return outcome,
            () = world.pass(STEP, STEP) => {}
        }
    }
}
