//! A crowd at every replica asks for one cold tenant.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use superoffice_sandbox::{Behaviour, Endpoint};

use crate::MACHINE;
use crate::fleet::{Fleet, now, ticket};
use crate::place::Running;

const REPLICAS: usize = 4;
const CALLERS: usize = 2_500;
/// Of a replica's callers.
const CONNECTIONS: usize = 25;
const TENANT: &str = "Cold";

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_callers_of_four_processes_share_one_exchange_of_a_cold_tenant() {
    let _alone = MACHINE.write().await;
    let Some(fleet) = Fleet::new().await else { return };
    let replicas = fleet.serve(REPLICAS).await;
    fleet.register(&replicas[0], &[TENANT.to_owned()]).await;
    fleet.place.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(500)).at(Endpoint::Exchange));
    let clients: Vec<_> =
        replicas.iter().flat_map(|replica| std::iter::repeat_with(|| replica.tickets()).take(CONNECTIONS)).collect();
    // Connected beforehand: in the crowd a connection may take longer to be made than the server waits for it.
    let connected =
        clients.iter().map(|client| async move { ticket(&mut client.clone(), "Nobody").await.unwrap_err() });
    join_all(connected).await;
    let start = now();
    let calls = clients.iter().flat_map(|client| {
        std::iter::repeat_with(|| {
            let mut client = client.clone();
            tokio::spawn(async move { ticket(&mut client, TENANT).await })
        })
        .take(CALLERS / CONNECTIONS)
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let fingerprints: BTreeSet<_> = answers.iter().flatten().map(|ticket| &ticket.fingerprint).collect();
    let exchanges = fleet.place.sandbox.exchanges(TENANT);
    println!(
        "{} of {} callers of {REPLICAS} processes answered by {exchanges} exchange in {:.1?}",
        answers.iter().flatten().count(),
        answers.len(),
        start.elapsed()
    );
    assert_eq!(answers.len(), REPLICAS * CALLERS);
    let failure = answers.iter().find_map(|answer| answer.as_ref().err());
    assert!(failure.is_none(), "{failure:?}");
    let warnings: Vec<_> = replicas.iter().map(warnings).collect();
    assert_eq!((exchanges, fingerprints.len()), (1, 1), "{warnings:#?}");
}

/// What a replica complained about.
fn warnings(replica: &Running) -> Vec<String> {
    let log = replica.log();
    log.lines().filter(|line| !line.contains("\"level\":\"INFO\"")).map(str::to_owned).collect()
}
