//! Replicas are replaced one after the other under load, and no caller notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::balancer::{Balancer, End};
use crate::callers::{Callers, tenants};
use crate::fleet::Fleet;
use crate::place::pass;
use crate::{MACHINE, full};

const REPLICAS: usize = 3;
/// What a process needs to end after its longest drain.
const MARGIN: Duration = Duration::from_secs(1);

/// How often all replicas are replaced, and how long each takes to drain.
struct Pace {
    updates: usize,
    delay: Duration,
    timeout: Duration,
    /// From when a replica says that calls should go elsewhere until no new connection comes.
    lag: Duration,
}

impl Pace {
    fn new() -> Self {
        if full() {
            // The configuration's own.
            let (delay, timeout) = (Duration::from_secs(5), Duration::from_secs(15));
            Self { updates: 20, delay, timeout, lag: Duration::from_secs(2) }
        } else {
            // A machine may stall for a second, so what is left of the delay after the lag is not shortened as much.
            let (delay, timeout) = (Duration::from_secs(2), Duration::from_secs(15));
            Self { updates: 1, delay, timeout, lag: Duration::from_millis(400) }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_replaced_under_load_and_no_call_fails() {
    let _alone = MACHINE.write().await;
    let Some(fleet) = Fleet::new().await else { return };
    let pace = Pace::new();
    for (key, duration) in [("drain_delay", pace.delay), ("drain_timeout", pace.timeout)] {
        fleet.place.configure(key, &format!("\"{}ms\"", duration.as_millis()));
    }
    let balancer = Balancer::new().await;
    let mut replicas = fleet.serve(REPLICAS).await;
    fleet.register(&replicas[0], &tenants()).await;
    for replica in &replicas {
        balancer.add(replica);
    }

    let callers = Callers::at(balancer.address);
    // They have connected, and call.
    pass(Duration::from_millis(500)).await;
    let mut ends = Vec::new();
    for _ in 0..pace.updates {
        // As a Deployment does with maxSurge 1: nobody waits for those that are ending.
        let mut ending = JoinSet::new();
        for _ in 0..REPLICAS {
            let next = fleet.start().await;
            balancer.add(&next);
            replicas.push(next);
            let (balancer, old) = (Arc::clone(&balancer), replicas.remove(0));
            ending.spawn(async move {
                let _parked = park(old.address).await;
                balancer.end(old, pace.lag).await
            });
        }
        ends.extend(ending.join_all().await);
    }
    let outcomes = callers.stop().await;

    let (late, refused) = balancer.late_and_refused();
    let [shortest, longest] = [ends.iter().map(|end| end.took).min(), ends.iter().map(|end| end.took).max()];
    println!(
        "{} updates of {REPLICAS} replicas, {PARKED} silent connections parked at each: exits after {:.2?} to {:.2?}; {late} \
         new connections sent to replicas that were ending, {refused} refused",
        pace.updates,
        shortest.unwrap(),
        longest.unwrap(),
    );
    for outcome in &outcomes {
        println!("{outcome}");
    }
    assert!(late > 0, "the balancer is late");
    let limit = pace.delay + pace.timeout + MARGIN;
    assert!(ends.iter().all(|End { code, took }| *code == Some(0) && *took <= limit), "{ends:?}");
    for outcome in &outcomes {
        assert!(outcome.calls > 10 && outcome.failures.is_empty(), "{outcome:?}");
    }
}

const PARKED: usize = 20;

/// Connections that say nothing, and some that say hello and nothing more.
async fn park(address: SocketAddr) -> Vec<TcpStream> {
    let mut parked = Vec::new();
    for number in 0..PARKED {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 4 == 0 {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        }
        parked.push(stream);
    }
    parked
}
