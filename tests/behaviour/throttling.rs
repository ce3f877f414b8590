//! When SuperOffice asks to wait, nobody of ours asks it anything.

use std::time::Duration;

use superoffice_sandbox::Behaviour::Throttled;
use superoffice_sandbox::Endpoint::{Exchange, Jwks, TenantState as State};
use ticketd::grpc::proto::{GetSystemTicketRequest, TenantState};
use tonic::Code;

use crate::world::{TENANT, World, reason, retry_delay, within};

#[tokio::test]
async fn a_request_to_wait_is_heeded_for_every_tenant() {
    let world = World::start().await;
    let refresh_token = world.sandbox.issue_refresh_token(TENANT).unwrap();
    let first = world.ticket(TENANT).await.unwrap();
    for number in 1..=31 {
        world.add_tenant(&format!("Cust{number}")).await;
    }
    world.sandbox.set_behaviour(Throttled("30".to_owned()).at(Exchange).times(1));
    let refused = world.ticket("Cust31").await.unwrap_err();
    assert_eq!(reason(&refused), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
    assert_eq!(retry_delay(&refused), Some(Duration::from_secs(30)));
    world.sandbox.reset_requests();
    let (mut calls, mut hits) = (0, 0);
    let mut waiting = Vec::new();
    for second in 0..30_u64 {
        let mut tenants = vec!["Cust31".to_owned()];
        let newcomer = format!("Cust{}", second + 1);
        // Who comes so late that the end is within the budget of an exchange waits for it.
        if second > 20 {
            let (mut client, request) = (world.tickets(), request(&newcomer));
            waiting.push(tokio::spawn(async move { client.get_system_ticket(request).await }));
        } else {
            tenants.push(newcomer);
        }
        for tenant in tenants {
            let refused = world.ticket(&tenant).await.unwrap_err();
            assert_eq!(reason(&refused), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
            assert_eq!(retry_delay(&refused), Some(Duration::from_secs(30 - second)));
            calls += 1;
        }
        let refused = world.access_token(TENANT, &refresh_token).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
        assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
        hits += 1;
        assert_eq!(world.sandbox.request_log(), []);
        world.clock.advance(Duration::from_secs(1));
    }
    println!("{} misses and {hits} hits in 30 s of Retry-After: 0 requests", calls + waiting.len());
    for call in waiting {
        within(call).await.unwrap().expect("the wait is over for those who waited");
    }
    world.ticket("Cust31").await.expect("the wait is over");
    world.ticket("Cust1").await.expect("the wait is over for all");
    world.access_token(TENANT, &refresh_token).await.expect("the wait is over for all");
}

#[tokio::test]
async fn a_request_to_wait_counts_for_everything_but_where_a_state_was_asked_for() {
    for (endpoint, counts) in [(Jwks, true), (State, false)] {
        let world = World::start().await;
        world.add_tenant("Cust2").await;
        world.sandbox.set_behaviour(Throttled("30".to_owned()).at(endpoint).times(1));
        assert_eq!(world.ticket(TENANT).await.is_err(), counts, "{endpoint:?}");
        let asked = world.sandbox.request_log().len();
        match world.ticket("Cust2").await {
            Ok(ticket) => assert!(!counts && ticket.tenant_state() == TenantState::Unspecified, "{endpoint:?}"),
            Err(refused) => {
                assert_eq!(reason(&refused), (Code::ResourceExhausted, "UPSTREAM_THROTTLED".to_owned()));
                assert!(counts && world.sandbox.request_log().len() == asked, "{endpoint:?}");
            }
        }
        world.clock.advance(Duration::from_mins(1));
        world.ticket(TENANT).await.expect("the wait is over");
        world.ticket("Cust2").await.expect("the wait is over");
    }
}

fn request(tenant: &str) -> GetSystemTicketRequest {
    GetSystemTicketRequest { context_identifier: tenant.to_owned(), min_validity: None }
}
