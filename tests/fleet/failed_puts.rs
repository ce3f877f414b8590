//! The database is away while the holder of a lease puts its ticket.

use crate::MACHINE;
use crate::fleet::{Fleet, ticket};
use crate::gate::Until;
use crate::holder::{Holder, Reached};
use crate::place::{until, within};

const TENANT: &str = "Blip";

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_could_not_be_put_is_put_again_and_nobody_gets_another() {
    let _waiting = MACHINE.read().await;
    let Some(fleet) = Fleet::new().await else { return };
    let waiter = fleet.start().await;
    fleet.register(&waiter, &[TENANT.to_owned()]).await;
    let holder = Holder::start(&fleet).await;
    let (reached, caller) = holder.load(TENANT, Until::Before("INSERT INTO shared_tickets")).await;
    assert!(matches!(reached, Reached::Held(_)));
    let mut client = waiter.tickets();
    let waiting = tokio::spawn(async move { ticket(&mut client, TENANT).await.unwrap() });

    // The holder gives up on its transaction, and answers who asked for the ticket.
    let own = within(caller).await.unwrap();
    assert!(fleet.shared(TENANT).await.is_none());
    holder.gate.open();
    let shared = within(waiting).await.unwrap();
    println!("a ticket that could not be put at first went to both replicas, after 1 exchange");
    assert_eq!(shared.fingerprint, own.fingerprint);
    assert_eq!(fleet.place.sandbox.exchanges(TENANT), 1);
    until(async || fleet.leases().await == (0, 0)).await;
}
