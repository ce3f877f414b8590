//! What takes a ticket away from those who watch it, and what does not.

use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint, Refusal, WrongTenant};
use ticketd::clock::Clock;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use tonic::Code;

use super::{lasting, next, pass_to_renewal};
use crate::lapse::lapse;
use crate::several::Watch;
use crate::world::{TENANT, reason, timestamp};

#[tokio::test]
async fn a_refusal_takes_the_ticket_away_and_a_failure_does_not() {
    let world = lasting().start().await;
    let mut watch = Watch::begin(world.tickets(), &[TENANT]).await.unwrap();
    let first = watch.ticket().await;
    world.clock.advance(Duration::from_mins(1));
    let refused = world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange));
    assert_eq!(world.invalidate(TENANT, &first.fingerprint).await, Outcome::Invalidated);
    let revoked = (Code::FailedPrecondition, "TENANT_AUTHORIZATION_REVOKED".to_owned());
    assert_eq!(reason(&next(&world, &mut watch).await.1.unwrap_err()), revoked);
    assert_eq!(reason(&world.ticket(TENANT).await.unwrap_err()), revoked);
    let asked = world.sandbox.requests(Endpoint::Exchange);
    lapse(&world, Duration::from_hours(1), Duration::from_mins(1)).await;
    let asked = world.sandbox.requests(Endpoint::Exchange) - asked;
    println!("a tenant that is refused and watched for an hour: {asked} exchanges tried");
    assert!((1..10).contains(&asked) && watch.is_silent().await, "the same refusal is no news");
    world.sandbox.clear_behaviour(refused);
    lapse(&world, Duration::from_mins(31), Duration::from_mins(1)).await;
    let second = watch.ticket().await;
    assert_ne!(second.fingerprint, first.fingerprint);

    // A renewal that fails is a warning, told once, and its end is told.
    let failing = world.sandbox.set_behaviour(Behaviour::Status(503));
    pass_to_renewal(&world, second.refresh_time).await;
    let warned = watch.ticket().await;
    assert_eq!(warned.fingerprint, second.fingerprint);
    assert_eq!(warned.refresh_warning.unwrap().reason, "UPSTREAM_UNAVAILABLE");
    lapse(&world, Duration::from_mins(5), Duration::from_secs(20)).await;
    assert!(watch.is_silent().await);
    world.sandbox.clear_behaviour(failing);
    lapse(&world, Duration::from_mins(5), Duration::from_secs(20)).await;
    let ticket = watch.ticket().await;
    assert!(ticket.refresh_warning.is_none() && timestamp(ticket.expire_time) > timestamp(second.expire_time));
    // And when it lapses nevertheless, that is told in time.
    world.sandbox.set_behaviour(Behaviour::Status(503));
    pass_to_renewal(&world, ticket.refresh_time).await;
    assert!(watch.ticket().await.refresh_warning.is_some());
    let left = timestamp(ticket.expire_time).duration_since(world.clock.now()).unsigned_abs();
    lapse(&world, left + Duration::from_mins(2), Duration::from_mins(1)).await;
    let lapsed = watch.refusal().await;
    assert_eq!(lapsed.code(), Code::Unavailable, "{lapsed:?}");
}

#[tokio::test]
async fn a_watch_never_has_another_tenants_ticket() {
    let world = lasting().start().await;
    world.add_tenant("Cust1").await;
    let mut watch = Watch::begin(world.tickets(), &["Cust1", TENANT]).await.unwrap();
    let mut own = std::collections::HashMap::new();
    for _ in 0..2 {
        let (tenant, ticket) = watch.next().await.unwrap();
        own.insert(tenant, ticket.unwrap());
    }
    for variant in WrongTenant::ALL {
        world.clock.advance(Duration::from_mins(1));
        let wrong = Behaviour::WrongTenant(variant).at(Endpoint::Exchange).for_tenant("Cust1");
        let wrong = world.sandbox.set_behaviour(wrong);
        world.invalidate("Cust1", &own["Cust1"].fingerprint).await;
        let (tenant, told) = next(&world, &mut watch).await;
        assert_eq!((tenant.as_str(), told.unwrap_err().code()), ("Cust1", Code::Internal), "{variant:?}");
        world.sandbox.clear_behaviour(wrong);
        lapse(&world, Duration::from_mins(4), Duration::from_secs(30)).await;
        let ticket = watch.ticket().await;
        assert_eq!(ticket.context_identifier, "Cust1");
        assert!(ticket.fingerprint != own[TENANT].fingerprint && ticket.ticket != own[TENANT].ticket);
        own.insert("Cust1".to_owned(), ticket);
    }
    assert!(watch.is_silent().await);
}
