//! What watching costs.

use std::time::Duration;

use futures_util::future::join_all;
use superoffice_sandbox::{Behaviour, Endpoint};
use ticketd::clock::Clock;
use tokio::time::Instant;

use super::lasting;
use crate::own_process::is_own_process;
use crate::processor::processor_time;
use crate::several::Watch;
use crate::world::{TENANT, timestamp, within};

#[tokio::test]
async fn many_cold_tenants_that_are_watched_are_got_a_few_at_a_time() {
    let world = lasting().start().await;
    let names: Vec<_> = (0..40).map(|number| format!("Cust{number}")).collect();
    for name in &names {
        world.add_tenant(name).await;
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(50)).at(Endpoint::Exchange));
    let mut watch = Watch::begin(world.tickets(), &names).await.unwrap();
    for _ in &names {
        watch.ticket().await;
    }
    let at_once = world.sandbox.peak_concurrency_at(Endpoint::Exchange);
    println!("{} cold tenants that are watched: at most {at_once} exchanges side by side", names.len());
    assert!((2..=16).contains(&at_once), "{at_once}");
}

#[tokio::test]
async fn a_thousand_watchers_cost_nothing_between_renewals_and_are_told_of_one() {
    if !is_own_process("watch::cost::a_thousand_watchers_cost_nothing_between_renewals_and_are_told_of_one") {
        return;
    }
    let (watchers, connections) = (1_000, 10);
    let world = lasting().renewing_by_exchange().start().await;
    let clients: Vec<_> = (0..connections).map(|_| world.tickets()).collect();
    let begin = (0..watchers).map(|watcher| Watch::begin(clients[watcher % connections].clone(), &[TENANT]));
    let mut open: Vec<_> = join_all(begin).await.into_iter().map(Result::unwrap).collect();
    let first = join_all(open.iter_mut().map(Watch::ticket)).await;
    assert!(first.iter().all(|ticket| ticket.fingerprint == first[0].fingerprint));
    assert_eq!(world.sandbox.exchanges(TENANT), 1);

    let (spent, started) = (processor_time(), Instant::now());
    let quiet = if std::env::var("PROOFS").is_ok_and(|value| value == "full") { 20 } else { 2 };
    #[expect(clippy::disallowed_methods, reason = "what is spent meanwhile is what is measured")]
    tokio::time::sleep(Duration::from_secs(quiet)).await;
    let spent = processor_time().saturating_sub(spent);
    println!(
        "{watchers} watchers for {:.1?} without a renewal: {spent:?} of processor time, client and sandbox included",
        started.elapsed()
    );
    assert!(spent < Duration::from_millis(50) * u32::try_from(quiet).unwrap(), "{spent:?}");

    let (spent, started) = (processor_time(), Instant::now());
    let due = timestamp(first[0].refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due);
    let renewed = within(join_all(open.iter_mut().map(Watch::ticket))).await;
    println!(
        "one renewal reached {watchers} watchers in {:.1?}: {:?} of processor time, client and sandbox included",
        started.elapsed(),
        processor_time().saturating_sub(spent)
    );
    assert!(renewed.iter().all(|ticket| ticket.fingerprint == renewed[0].fingerprint));
    assert_ne!(renewed[0].fingerprint, first[0].fingerprint);
    assert_eq!(world.sandbox.exchanges(TENANT), 2, "one for all");
}
