//! What every backend of [`SharedTickets`](crate::store::SharedTickets) does.

use std::sync::Arc;

use jiff::Timestamp;

use super::{at, named, pin, token};
use crate::crypto::Fingerprint;
use crate::identifiers::Ticket;
use crate::store::{Claim, Lease, SharedOverview, SharedTicket, SharedTickets, Store};

/// A test for each clause. `$open` answers an empty store and what must outlive it, or nothing.
macro_rules! shared_tickets_contract {
    ($open:path: $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let Some((store, _keep)) = Option::from($open().await) else { return };
                $crate::store::contract::shared_tickets::$clause(&store).await;
            }
        )*
    };
    ($open:path) => {
        $crate::store::contract::shared_tickets::shared_tickets_contract!(
            $open:
            a_ticket_is_found_as_it_was_put_and_its_lease_is_free,
            of_many_who_claim_a_lease_one_gets_it,
            a_dropped_lease_is_free_for_another_with_a_higher_number,
            a_ticket_is_removed_by_its_fingerprint_alone,
            a_tenant_that_changes_has_neither_ticket_nor_lease,
            an_expired_ticket_is_removed,
            what_is_shared_can_be_looked_at_without_the_tickets,
        );
    };
}
pub(in crate::store) use shared_tickets_contract;

pub(in crate::store) fn fingerprint(number: u8) -> Fingerprint {
    format!("{number:032x}").parse().unwrap()
}

pub(in crate::store) fn shared(tenant: &str, number: u8, expire_time: Timestamp) -> SharedTicket {
    SharedTicket {
        context_identifier: named(tenant),
        ticket: Ticket::new(format!("7T:ticket-{number}")),
        fingerprint: fingerprint(number),
        issued_for: fingerprint(200),
        issue_time: at(1),
        expire_time,
        webapi_url: Some("https://sod.superoffice.com/Cust1/api/".to_owned()),
        netserver_url: None,
    }
}

fn shared_tickets(store: &Store) -> Arc<dyn SharedTickets> {
    store.shared_tickets.clone().expect("the engine is one that processes share")
}

pub(in crate::store) async fn a_ticket_is_found_as_it_was_put_and_its_lease_is_free(store: &Store) {
    let tickets = shared_tickets(store);
    assert_eq!(tickets.find(named("Cust1")).await.unwrap(), None);
    let mut numbers = Vec::new();
    for ticket in [shared("Cust1", 1, at(600)), SharedTicket { webapi_url: None, ..shared("Cust1", 2, at(700)) }] {
        let fence = tickets.claim(named("Cust1")).await.unwrap().unwrap().fence;
        numbers.push(fence);
        assert!(tickets.publish(&ticket, fence, at(1)).await.unwrap());
        assert_eq!(tickets.find(named("cUST1")).await.unwrap().unwrap().ticket, ticket.ticket);
        assert_eq!(tickets.find(named("Cust1")).await.unwrap(), Some(ticket.clone()));
        assert!(!tickets.publish(&shared("Cust1", 9, at(900)), fence, at(1)).await.unwrap(), "a lease is good for one");
        assert!(!tickets.renew(named("Cust1"), fence).await.unwrap());
        assert_eq!(tickets.find(named("Cust1")).await.unwrap(), Some(ticket));
    }
    assert!(numbers.is_sorted() && numbers[0] != numbers[1], "{numbers:?}");
    assert_eq!(tickets.find(named("Cust2")).await.unwrap(), None);
}

pub(in crate::store) async fn what_is_shared_can_be_looked_at_without_the_tickets(store: &Store) {
    let tickets = shared_tickets(store);
    let fence = tickets.claim(named("Cust1")).await.unwrap().unwrap().fence;
    assert!(tickets.publish(&shared("Cust1", 1, at(600)), fence, at(1)).await.unwrap());
    tickets.claim(named("Cust2")).await.unwrap().unwrap();
    let overview = tickets.overview(&[named("Cust3"), named("CUST2"), named("Cust1")]).await.unwrap();
    let us = Some(tickets.process_name().to_owned());
    assert_eq!(
        overview,
        [
            SharedOverview::default(),
            SharedOverview { expire_time: None, lease_holder: us },
            SharedOverview { expire_time: Some(at(600)), lease_holder: None },
        ]
    );
    assert_eq!(tickets.overview(&[]).await.unwrap(), []);
}

pub(in crate::store) async fn of_many_who_claim_a_lease_one_gets_it(store: &Store) {
    let tickets = shared_tickets(store);
    for round in 0..10 {
        let tenant = named(&format!("Cust{round}"));
        let claims = (0..4).map(|_| {
            let tickets = Arc::clone(&tickets);
            tokio::spawn(async move { tickets.claim(tenant).await.unwrap() })
        });
        let claims = futures_util::future::join_all(claims).await;
        let fences: Vec<_> = claims.into_iter().filter_map(Result::unwrap).map(|claim| claim.fence).collect();
        assert_eq!(fences.len(), 1);
        assert!(tickets.renew(tenant, fences[0]).await.unwrap());
        assert_eq!(tickets.claim(tenant).await.unwrap(), None, "it is held");
    }
}

pub(in crate::store) async fn a_dropped_lease_is_free_for_another_with_a_higher_number(store: &Store) {
    let tickets = shared_tickets(store);
    let first = tickets.claim(named("Cust1")).await.unwrap().unwrap().fence;
    tickets.release(named("Cust1"), first).await.unwrap();
    let (lease, _) = Lease::claim(&tickets, named("Cust1")).await.unwrap().unwrap();
    assert!(Lease::claim(&tickets, named("Cust1")).await.unwrap().is_none());
    tickets.release(named("Cust1"), first).await.unwrap();
    assert!(Lease::claim(&tickets, named("Cust1")).await.unwrap().is_none(), "another's cannot be given back");
    drop(lease);
    let third = async {
        loop {
            if let Some(claim) = tickets.claim(named("Cust1")).await.unwrap() {
                return claim.fence;
            }
        }
    };
    let third = tokio::time::timeout(std::time::Duration::from_secs(5), third).await.expect("it is given back");
    assert!(third > first);
}

pub(in crate::store) async fn a_ticket_is_removed_by_its_fingerprint_alone(store: &Store) {
    let tickets = shared_tickets(store);
    let fence = tickets.claim(named("Cust1")).await.unwrap().unwrap().fence;
    tickets.publish(&shared("Cust1", 1, at(600)), fence, at(1)).await.unwrap();
    let Claim { fence, ticket } = tickets.claim(named("Cust1")).await.unwrap().unwrap();
    assert_eq!(ticket, Some(shared("Cust1", 1, at(600))), "the lease comes with it");
    assert!(!tickets.remove(named("Cust1"), fingerprint(2)).await.unwrap());
    assert!(tickets.renew(named("Cust1"), fence).await.unwrap(), "nothing has changed");
    assert!(tickets.remove(named("cust1"), fingerprint(1)).await.unwrap());
    assert_eq!(tickets.find(named("Cust1")).await.unwrap(), None);
    // Whoever was about to renew that ticket puts it in vain.
    assert!(!tickets.publish(&shared("Cust1", 1, at(900)), fence, at(1)).await.unwrap());
    assert!(!tickets.remove(named("Cust1"), fingerprint(1)).await.unwrap());
    assert_eq!(tickets.find(named("Cust1")).await.unwrap(), None);
}

pub(in crate::store) async fn a_tenant_that_changes_has_neither_ticket_nor_lease(store: &Store) {
    let tickets = shared_tickets(store);
    store.tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    for change in ["another token", "another serial", "deleted"] {
        let fence = tickets.claim(named("Cust1")).await.unwrap().unwrap().fence;
        assert!(tickets.publish(&shared("Cust1", 1, at(600)), fence, at(1)).await.unwrap());
        pin(&*store.tenants, "Cust1", "1").await;
        let fence = tickets.claim(named("Cust1")).await.unwrap().unwrap().fence;
        assert!(tickets.find(named("Cust1")).await.unwrap().is_some());
        match change {
            "another token" => drop(store.tenants.put(named("Cust1"), token("App-2"), false, at(1)).await.unwrap()),
            "another serial" => drop(store.tenants.put(named("Cust1"), token("App-2"), true, at(2)).await.unwrap()),
            _ => assert!(store.tenants.delete(named("Cust1")).await.unwrap()),
        }
        assert_eq!(tickets.find(named("Cust1")).await.unwrap(), None, "{change}");
        assert!(!tickets.publish(&shared("Cust1", 1, at(600)), fence, at(1)).await.unwrap(), "{change}");
    }
}

pub(in crate::store) async fn an_expired_ticket_is_removed(store: &Store) {
    let tickets = shared_tickets(store);
    for (tenant, second) in [("Cust1", 1), ("Cust2", 599), ("Cust3", 600)] {
        let fence = tickets.claim(named(tenant)).await.unwrap().unwrap().fence;
        assert!(tickets.publish(&shared(tenant, 1, at(600)), fence, at(second)).await.unwrap());
    }
    for tenant in ["Cust1", "Cust2", "Cust3"] {
        assert_eq!(tickets.find(named(tenant)).await.unwrap(), None);
    }
}
