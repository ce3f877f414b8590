//! A tenant whose exchange hangs, and the calls of others: two servers, of which one is asked for that tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint};

use crate::callers::{Callers, Pace, get_cold, request};
use crate::server::{Place, Server};
use crate::setup::Setup;
use crate::{Extent, check, median, micros};

/// Who waits for the tenant that hangs, and asks again.
const WAITING: usize = 50;

pub(crate) async fn measure(extent: Extent, callers: &Callers) {
    let setup = Setup::new(extent.live + 1).await;
    let (hanging, live) = setup.tenants.split_last().unwrap();
    setup.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange).for_tenant(hanging));
    let live: Arc<[Arc<str>]> = live.into();
    let mut servers = Vec::new();
    for name in ["quiet", "disturbed"] {
        let server = Arc::new(Place::new(&setup, name).start().await);
        get_cold(&server.connect().await, &live, &AtomicUsize::new(0), &AtomicBool::new(false)).await;
        let connections = callers.connect(&server).await;
        servers.push((server, connections));
    }
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..WAITING {
        waiting.spawn(wait_again_and_again(Arc::clone(&servers[1].0), Arc::clone(hanging)));
    }

    let (mut costs, mut p99s) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..extent.rounds {
        for pace in [Pace::Full, Pace::Steady] {
            for (number, (server, connections)) in servers.iter().enumerate() {
                let before = server.process.processor_time();
                let seen = callers.call(connections, &live, pace, extent.window).await;
                let spent = server.process.processor_time().saturating_sub(before);
                match pace {
                    Pace::Full => costs[number].push(micros(spent) / f64::from(seen.number)),
                    Pace::Steady => p99s[number].push(micros(seen.p99)),
                }
            }
        }
    }
    let [cost, disturbed] = costs.map(|mut costs| median(&mut costs));
    let [p99, p99_disturbed] = p99s.map(|mut p99s| median(&mut p99s));
    println!(
        "{} live tenants beside one that hangs, for which {WAITING} callers wait: a hit {cost:.1} us without, {disturbed:.1} us \
         with it ({:.2}); p99 {p99:.0} us without, {p99_disturbed:.0} us with it ({:.2})",
        live.len(),
        disturbed / cost,
        p99_disturbed / p99
    );
    check(extent, disturbed < cost * 1.15, "hits cost more beside a tenant that hangs");
    check(extent, p99_disturbed < p99 * 1.3 + 200.0, "hits wait beside a tenant that hangs");
    waiting.shutdown().await;
}

async fn wait_again_and_again(server: Arc<Server>, tenant: Arc<str>) {
    let mut connection = server.connect().await;
    loop {
        // Given up before the server does, or told when to come again.
        let waited = tokio::time::timeout(Duration::from_secs(5), connection.get_system_ticket(request(&tenant))).await;
        assert!(waited.is_err() || waited.is_ok_and(|answer| answer.is_err()), "its exchange hangs");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
