//! The holder of a lease is stopped for longer than its lease, and goes on when another has finished.

use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::sync::Semaphore;

use crate::fleet::{Fleet, now, ticket};
use crate::gate::Until;
use crate::holder::Holder;
use crate::place::{Running, within};
use crate::{MACHINE, full};

/// How ticketd says that its write was refused.
const REFUSED: &str = "the lease was lost meanwhile: the ticket is not shared";
/// So many holders start at once.
const STARTS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_goes_on_after_its_lease_shares_nothing() {
    let _waiting = MACHINE.read().await;
    let Some(fleet) = Fleet::new().await else { return };
    // What waits for SuperOffice's answer still wants it after the stop.
    fleet.place.configure("superoffice.request_timeout", "\"1m\"");
    fleet.place.configure("exchange_budget", "\"1m\"");
    let successor = fleet.start().await;
    let stops = if full() { 20 } else { 3 };
    // SuperOffice has made the ticket, and its answer comes after the stop; or the ticket is being put.
    let mut at = vec![Until::After("POST "); stops];
    at.push(Until::Before("INSERT INTO shared_tickets"));
    let refused = stop_all(&fleet, &successor, "Stop", &at).await;
    let refused = refused[..stops].iter().filter(|is_refused| **is_refused).count();
    println!("{refused} of {stops} writes of holders that were stopped for longer than their lease refused");
    assert_eq!(refused, stops);

    if full() {
        let whole = "Whole".to_owned();
        fleet.register(&successor, std::slice::from_ref(&whole)).await;
        let messages = Holder::count_messages(&fleet, &whole).await;
        let at: Vec<_> = (0..messages).map(Until::Count).collect();
        let refused = stop_all(&fleet, &successor, "Message", &at).await;
        let refused = refused.into_iter().filter(|is_refused| *is_refused).count();
        println!("stopped at each of {messages} messages: nothing overwritten; {refused} wrote, and were refused");
    }
}

/// Stops a holder at each of these. Answers which of them tried to put a ticket and were refused.
async fn stop_all(fleet: &Fleet, successor: &Running, name: &str, stops: &[Until]) -> Vec<bool> {
    let tenants: Vec<_> = (0..stops.len()).map(|stop| format!("{name}{stop}")).collect();
    fleet.register(successor, &tenants).await;
    let starts = Semaphore::new(STARTS);
    let stopped = stops.iter().zip(&tenants).map(|(until, tenant)| stop(fleet, successor, &starts, *until, tenant));
    let refused = join_all(stopped).await;
    assert_eq!(fleet.leases().await, (0, 0));
    refused
}

/// Fails unless the tenant's ticket stays the successor's.
async fn stop(fleet: &Fleet, successor: &Running, starts: &Semaphore, until: Until, tenant: &str) -> bool {
    let start = starts.acquire().await.unwrap();
    let holder = Holder::start(fleet).await;
    let (_, caller) = holder.load(tenant, until).await;
    holder.process.signal(Signal::STOP);
    let stopped = now();
    let lease = fleet.lease(tenant).await;
    drop(start);

    // Also who asks while the stopped one has locked the tenant's lease waits and is answered.
    let taken_over = ticket(&mut successor.tickets(), tenant).await.unwrap();
    let took = stopped.elapsed();
    let (fingerprint, fence) = fleet.shared(tenant).await.unwrap();
    assert_eq!(fingerprint, taken_over.fingerprint);
    assert!(lease < Some(fence), "{fence} is not after {lease:?}");

    holder.gate.open();
    holder.process.signal(Signal::CONT);
    let outcome = within(caller).await;
    // What it does for its lease and its ticket is done when it has ended.
    holder.process.signal(Signal::TERM);
    let mut process = holder.process;
    process.exit().await;
    let is_refused = process.log().contains(REFUSED);
    let own = outcome.as_ref().map_or_else(|status| status.code().to_string(), |ticket| ticket.fingerprint.clone());
    println!("{until:?}: stopped as {lease:?}, {fence} took over after {took:.1?}; refused {is_refused}: {own}");
    assert_eq!(fleet.shared(tenant).await.unwrap(), (fingerprint, fence), "another's ticket was overwritten");
    is_refused
}
