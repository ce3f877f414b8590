//! A properly signed token that is not this tenant's never becomes its ticket.

use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint, WrongTenant};
use ticketd::clock::Clock;
use ticketd::grpc::proto::SystemTicket;
use tonic::Code;

use crate::world::{TENANT, World, reason, timestamp};

/// The tenant that is answered with another's token.
const WRONGED: &str = "Cust54321";

#[tokio::test]
async fn another_tenants_token_is_refused_and_not_kept() {
    let (world, others) = two_tenants().await;
    // Nothing but a serial pinned before tells another database of the same tenant.
    world.ticket(WRONGED).await.unwrap();
    let (mut refusals, mut exchanges) = (0, 1);
    for variant in WrongTenant::ALL {
        world.clock.advance(Duration::from_hours(6));
        let wrong = world.sandbox.set_behaviour(Behaviour::WrongTenant(variant).at(Endpoint::Exchange));
        let refused = world.ticket(WRONGED).await.unwrap_err();
        assert_distrusted(&reason(&refused), variant);
        let told = format!("{refused:?} {}", String::from_utf8_lossy(refused.details()));
        assert!(!told.contains(&others.ticket) && !told.contains(&others.fingerprint), "{variant:?}: {told}");
        refusals += 1;

        world.sandbox.clear_behaviour(wrong);
        let remembered = world.ticket(WRONGED).await.unwrap_err();
        assert_eq!(reason(&remembered), reason(&refused), "{variant:?}");
        world.clock.advance(Duration::from_mins(1));
        let own = world.ticket(WRONGED).await.unwrap();
        assert_own(&world, &own, &others).await;
        exchanges += 2;
        assert_eq!(world.sandbox.exchanges(WRONGED), exchanges, "{variant:?}");
    }
    println!("{refusals} of {} variants refused", WrongTenant::ALL.len());
    assert_eq!(refusals, WrongTenant::ALL.len());
}

#[tokio::test]
async fn at_the_first_exchange_only_the_serial_has_to_be_believed() {
    let mut refusals = 0;
    for variant in WrongTenant::ALL {
        let (world, others) = two_tenants().await;
        world.sandbox.set_behaviour(Behaviour::WrongTenant(variant).at(Endpoint::Exchange));
        match world.ticket(WRONGED).await {
            Err(refused) => {
                assert_distrusted(&reason(&refused), variant);
                refusals += 1;
            }
            Ok(ticket) => {
                assert_eq!(variant, WrongTenant::OtherSerial);
                assert_own(&world, &ticket, &others).await;
            }
        }
    }
    println!("{refusals} of {} variants refused at the first exchange", WrongTenant::ALL.len());
    assert_eq!(refusals, WrongTenant::ALL.len() - 1);
}

#[tokio::test]
async fn another_tenants_token_at_a_renewal_leaves_the_ticket_as_it_is() {
    let (world, others) = two_tenants().await;
    let mut current = world.ticket(WRONGED).await.unwrap();
    let mut refusals = 0;
    for variant in WrongTenant::ALL {
        assert_eq!(world.ticket(WRONGED).await.unwrap().fingerprint, current.fingerprint, "{variant:?}");
        let wrong = world.sandbox.set_behaviour(Behaviour::WrongTenant(variant).at(Endpoint::Exchange));
        let due = timestamp(current.refresh_time).duration_since(world.clock.now());
        world.clock.advance(due.unsigned_abs());
        let warned = until(&world, |ticket| ticket.refresh_warning.is_some()).await;
        assert_eq!((&warned.ticket, &warned.webapi_url), (&current.ticket, &current.webapi_url), "{variant:?}");
        assert_distrusted(&(Code::Internal, warned.refresh_warning.clone().unwrap().reason), variant);
        refusals += 1;

        world.sandbox.clear_behaviour(wrong);
        world.clock.advance(Duration::from_mins(1));
        let renewed = until(&world, |ticket| ticket.refresh_warning.is_none()).await;
        assert_ne!(renewed.ticket, current.ticket, "{variant:?}");
        assert_own(&world, &renewed, &others).await;
        current = renewed;
    }
    println!("{refusals} of {} variants refused at a renewal", WrongTenant::ALL.len());
    assert_eq!(refusals, WrongTenant::ALL.len());
}

/// A world where another tenant has a ticket, which is answered too.
async fn two_tenants() -> (World, SystemTicket) {
    let world = World::builder().renewing_by_exchange().start().await;
    world.add_tenant(WRONGED).await;
    let others = world.ticket(TENANT).await.unwrap();
    (world, others)
}

fn assert_distrusted((code, reason): &(Code, String), variant: WrongTenant) {
    assert_eq!(*code, Code::Internal, "{variant:?}");
    assert!(matches!(reason.as_str(), "UPSTREAM_TENANT_MISMATCH" | "UPSTREAM_TOKEN_INVALID"), "{variant:?}: {reason}");
}

/// The ticket opens the wronged tenant's API, and nothing in it is the other's.
async fn assert_own(world: &World, ticket: &SystemTicket, others: &SystemTicket) {
    assert_eq!(ticket.context_identifier, WRONGED);
    assert_ne!(ticket.ticket, others.ticket);
    assert_ne!(ticket.fingerprint, others.fingerprint);
    assert!(ticket.webapi_url.ends_with(&format!("/{WRONGED}/api/")), "{}", ticket.webapi_url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client
        .get(format!("{}v1/User/currentPrincipal", ticket.webapi_url))
        .header("Authorization", format!("SOTicket {}", ticket.ticket))
        .header("SO-AppToken", world.sandbox.client_secret());
    assert_eq!(call.send().await.unwrap().status(), 200);
}

async fn until(world: &World, wanted: impl Fn(&SystemTicket) -> bool) -> SystemTicket {
    for _ in 0..2_000 {
        let ticket = world.ticket(WRONGED).await.expect("the ticket is valid, whatever becomes of its renewal");
        if wanted(&ticket) {
            return ticket;
        }
    }
    panic!("no call got the ticket wanted");
}
