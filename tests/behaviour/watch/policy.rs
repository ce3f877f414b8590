//! Whom the policy lets watch, at the beginning and as long as the stream lasts.

use std::fs;
use std::time::Duration;

use tonic::Code;

use super::{SECOND, lapse, lasting};
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
        config.authorization.policy = ticketd::authorization::Policy::parse(BOTH).unwrap();
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
