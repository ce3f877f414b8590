//! Whom the policy lets watch, at the beginning and as long as the stream lasts.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use ticketd::authorization::Policy;
use ticketd::grpc::proto::invalidate_system_ticket_response::Outcome;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tonic::Code;
use tonic::transport::Endpoint;

use super::{SECOND, lasting, next};
use crate::lapse::lapse;
use crate::several::Watch;
use crate::world::{TENANT, reason, within};

pub(super) const BOTH: &str = "apiVersion: policy/v1\ncallers:\n  - {unidentified: true, rpcs: [WatchSystemTickets, PutTenant], \
     tenants: [Cust12345, Cust1], limits: {rps: 1000, burst: 1000}}\n";

#[tokio::test]
async fn another_policy_counts_for_streams_that_are_open() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.yaml");
    fs::write(&file, BOTH).unwrap();
    let policy_file = file.clone();
    let world = lasting().config(move |config| {
        config.authorization.policy = Policy::parse(BOTH).unwrap();
        config.authorization.policy_file = Some(policy_file.clone());
    });
    let world = world.start().await;
    world.add_tenant("Cust1").await;
    let refused = Watch::begin(world.tickets(), &["Cust2", "Cust404"]).await.err().expect("it may have neither");
    let not_authorized = (Code::PermissionDenied, "CALLER_NOT_AUTHORIZED".to_owned());
    assert_eq!(reason(&refused), not_authorized);
    let mut watch = Watch::begin(world.tickets(), &[TENANT, "Cust2", "Cust1"]).await.unwrap();
    let mut told = [watch.next().await.unwrap(), watch.next().await.unwrap(), watch.next().await.unwrap()];
    told.sort_by_key(|(tenant, _)| tenant.clone());
    assert!(told[0].1.is_ok() && told[1].1.is_ok());
    assert_eq!((told[2].0.as_str(), reason(told[2].1.as_ref().unwrap_err())), ("Cust2", not_authorized.clone()));

    fs::write(
        &file,
        BOTH.replace("Cust1]", "Cust2]").replace("WatchSystemTickets, ", "WatchSystemTickets, GetTenant, "),
    )
    .unwrap();
    let reloaded = async {
        let mut told = Vec::new();
        while told.len() < 2 {
            tokio::select! {
                next = watch.next() => told.push(next.unwrap()),
                () = world.pass(SECOND, SECOND) => {}
            }
        }
        told
    };
    let mut told = within(reloaded).await;
    told.sort_by_key(|(tenant, _)| tenant.clone());
    assert_eq!((told[0].0.as_str(), reason(told[0].1.as_ref().unwrap_err())), ("Cust1", not_authorized));
    assert_eq!(
        (told[1].0.as_str(), reason(told[1].1.as_ref().unwrap_err()).1),
        ("Cust2", "TENANT_NOT_REGISTERED".to_owned())
    );
    assert!(watch.is_silent().await, "each once");
    // What it lost is renewed no more for it, and told no more.
    let first = world.sandbox.exchanges("Cust1");
    lapse(&world, Duration::from_hours(7), Duration::from_mins(5)).await;
    assert_eq!(world.sandbox.exchanges("Cust1"), first);
    assert_eq!(watch.ticket().await.context_identifier, TENANT);
}

#[tokio::test]
async fn what_was_not_sent_when_the_policy_is_replaced_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.yaml");
    let policy_file = file.clone();
    let names: Vec<_> = (0..12).map(|number| format!("Cust{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let all = BOTH.replace("Cust12345, Cust1]", &format!("Cust12345, {}]", names.join(", ")));
    let all = all.replace("PutTenant", "PutTenant, InvalidateSystemTicket");
    fs::write(&file, &all).unwrap();
    let world = lasting().config(move |config| {
        config.authorization.policy = Policy::parse(&all).unwrap();
        config.authorization.policy_file = Some(policy_file.clone());
    });
    let world = world.start().await;
    for name in &names {
        world.add_tenant(name).await;
    }
    let mut quick = Watch::begin(world.tickets(), &names).await.unwrap();
    let mut first = Vec::new();
    for _ in &names {
        first.push(quick.ticket().await);
    }
    // It lets the server send so many bytes: about one message.
    let slow = Endpoint::from_shared(format!("http://{}", world.address())).unwrap();
    let slow = slow.initial_stream_window_size(512).initial_connection_window_size(512).connect_lazy();
    let mut slow = Watch::begin(TicketServiceClient::new(slow), &names).await.unwrap();
    slow.ticket().await;

    world.clock.advance(Duration::from_mins(1));
    for ticket in &first {
        assert_eq!(world.invalidate(&ticket.context_identifier, &ticket.fingerprint).await, Outcome::Invalidated);
        assert_ne!(next(&world, &mut quick).await.1.unwrap().fingerprint, ticket.fingerprint);
    }
    fs::write(&file, BOTH.replace("Cust12345, Cust1]", "Cust12345]")).unwrap();
    for _ in &names {
        assert_eq!(reason(&next(&world, &mut quick).await.1.unwrap_err()).1, "CALLER_NOT_AUTHORIZED");
    }
    let (mut renewed, mut refused) = (0, BTreeSet::new());
    while refused.len() < names.len() {
        match slow.next().await.unwrap() {
            (tenant, Ok(ticket)) => {
                assert!(!refused.contains(&tenant), "{tenant} comes after it was refused");
                renewed += usize::from(first.iter().all(|before| before.fingerprint != ticket.fingerprint));
            }
            (tenant, Err(status)) => {
                assert_eq!(reason(&status).1, "CALLER_NOT_AUTHORIZED");
                assert!(refused.insert(tenant), "each once");
            }
        }
    }
    println!("{} tickets came before the policy did, of which one that reads slowly had {renewed}", names.len());
    assert!(renewed <= 4 && slow.is_silent().await, "{renewed}");
}
