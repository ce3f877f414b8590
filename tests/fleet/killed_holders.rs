//! The holder of a lease is killed at every step of an exchange, and another replica finishes.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::fleet::{Fleet, now, ticket};
use crate::gate::Until;
use crate::holder::{Holder, Reached, STEPS};
use crate::place::Running;
use crate::{MACHINE, full};

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(15);
/// So many holders start at once.
const STARTS: usize = 3;

/// How a holder ended, and what came of its tenant.
struct Killed {
    step: String,
    had_lease: bool,
    had_shared: bool,
    exchanges: u64,
    took: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_holder_of_a_lease_is_killed_another_finishes_within_the_lease() {
    let _waiting = MACHINE.read().await;
    let Some(fleet) = Fleet::new().await else { return };
    let survivor = fleet.start().await;
    let steps = steps(&fleet, &survivor).await;
    let tenants: Vec<_> = (0..steps.len()).map(|step| format!("Step{step}")).collect();
    fleet.register(&survivor, &tenants).await;

    let starts = Semaphore::new(STARTS);
    let kills = steps.iter().zip(&tenants);
    let kills = kills.map(|((name, until), tenant)| kill(&fleet, &survivor, &starts, name, *until, tenant));
    let killed = join_all(kills).await;
    for Killed { step, had_lease, had_shared, exchanges, took } in &killed {
        println!(
            "killed {step}: lease {had_lease}, ticket shared {had_shared}; another finished after {took:.1?}, \
             exchanges in all: {exchanges}"
        );
        assert!(*took < LEASE + Duration::from_secs(1), "{step}: {took:?}");
        assert!(*exchanges <= 2 && (!had_shared || *exchanges == 1), "{step}: {exchanges}");
    }
    // What is held is what the names say.
    let had_lease: Vec<_> = killed[..STEPS.len()].iter().map(|killed| killed.had_lease).collect();
    assert_eq!(had_lease, [false, true, true, true, true, true, true, true, false]);
    let exchanges: Vec<_> = killed[..STEPS.len()].iter().map(|killed| killed.exchanges).collect();
    assert_eq!(exchanges, [1, 1, 1, 2, 2, 2, 2, 2, 1]);
    let longest = killed.iter().map(|killed| killed.took).max().unwrap();
    println!("{} holders killed, each at another step: another finished within {longest:.1?}", killed.len());
    assert_eq!(fleet.leases().await, (0, 0));
}

/// The steps by name, and in full before each single message.
async fn steps(fleet: &Fleet, survivor: &Running) -> Vec<(String, Until)> {
    let mut steps: Vec<_> = STEPS.iter().map(|(name, until)| ((*name).to_owned(), *until)).collect();
    if full() {
        let whole = "Whole".to_owned();
        fleet.register(survivor, std::slice::from_ref(&whole)).await;
        let messages = Holder::count_messages(fleet, &whole).await;
        steps.extend(
            (0..=messages).map(|message| (format!("after message {message} of {messages}"), Until::Count(message))),
        );
    }
    steps
}

/// Kills a holder that has come so far with the tenant, and asks the survivor for the tenant's ticket.
async fn kill(fleet: &Fleet, survivor: &Running, starts: &Semaphore, name: &str, until: Until, tenant: &str) -> Killed {
    let start = starts.acquire().await.unwrap();
    let holder = Holder::start(fleet).await;
    let (reached, caller) = holder.load(tenant, until).await;
    let (lease, shared) = (fleet.lease(tenant).await, fleet.shared(tenant).await);
    holder.kill().await;
    let killed = now();
    drop(start);
    // Its caller hears of it, or has been answered before.
    drop(caller.await);
    let ticket = ticket(&mut survivor.tickets(), tenant).await.unwrap();
    let took = killed.elapsed();
    let (fingerprint, fence) = fleet.shared(tenant).await.unwrap();
    assert_eq!(fingerprint, ticket.fingerprint, "{name}");
    assert!(lease < Some(fence), "{name}: the ticket is the successor's");
    Killed {
        step: match reached {
            Reached::Held(next) => format!("{name} ({next:?} was next)"),
            Reached::Answered => name.to_owned(),
        },
        had_lease: lease.is_some(),
        had_shared: shared.is_some(),
        exchanges: fleet.place.sandbox.exchanges(tenant),
        took,
    }
}
