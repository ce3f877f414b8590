//! There is no overlap upstream: one public key is registered, until another one is.

use std::time::Duration;

use superoffice_sandbox::Endpoint;
use ticketd::clock::Clock;
use ticketd::crypto::PrivateKey;
use tonic::Code;

use crate::world::{TENANT, World, reason, timestamp};

/// A key that is not registered, unless a test registers it.
fn other_key() -> PrivateKey {
    PrivateKey::read(include_bytes!("../fixtures/keys/other2048.pkcs8.pem"), None).unwrap()
}

/// A key that nobody configures.
fn foreign_public_key() -> &'static str {
    include_str!("../fixtures/keys/selfmade2048.public.pem")
}

#[tokio::test]
async fn the_key_that_was_taken_is_tried_first_from_then_on() {
    // The registered one comes second.
    let world = World::builder().config(|config| config.signing_keys.insert(0, other_key())).start().await;
    world.ticket(TENANT).await.unwrap();
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 2, "one refused, one taken");
    for number in 1..=5 {
        let tenant = format!("Cust{number}");
        world.add_tenant(&tenant).await;
        world.ticket(&tenant).await.unwrap();
    }
    let requests = world.sandbox.requests(Endpoint::Exchange);
    println!("6 exchanges with the second of two keys: {requests} requests");
    assert_eq!(requests, 7);
    assert_eq!(world.sandbox.total_exchanges(), 6);
}

#[tokio::test]
async fn another_key_is_registered_while_we_run() {
    // The coming one comes second.
    let world =
        World::builder().config(|config| config.signing_keys.push(other_key())).renewing_by_exchange().start().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.ticket(TENANT).await.unwrap();
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 1);

    world.sandbox.replace_partner_public_key(&other_key().public_pem()).unwrap();
    assert_eq!(world.ticket(TENANT).await.unwrap().fingerprint, first.fingerprint);
    let due = timestamp(first.refresh_time).duration_since(world.clock.now());
    world.clock.advance(due.unsigned_abs());
    let mut renewed = world.ticket(TENANT).await.unwrap();
    while renewed.fingerprint == first.fingerprint {
        renewed = world.ticket(TENANT).await.unwrap();
        assert_eq!(renewed.refresh_warning, None);
    }
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 3, "one refused, one taken");

    world.add_tenant("Cust2").await;
    world.ticket("Cust2").await.unwrap();
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 4, "the new key is known to be taken");
}

#[tokio::test]
async fn without_the_registered_key_nothing_is_issued_until_it_is_registered() {
    let world =
        World::builder().config(|config| config.signing_keys.push(other_key())).renewing_by_exchange().start().await;
    world.sandbox.replace_partner_public_key(foreign_public_key()).unwrap();
    for _ in 0..10 {
        let refused = world.ticket(TENANT).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "SIGNING_KEY_REJECTED".to_owned()));
    }
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 2, "each key once, and then it is remembered");

    world.sandbox.replace_partner_public_key(&other_key().public_pem()).unwrap();
    world.clock.advance(Duration::from_mins(1));
    world.ticket(TENANT).await.expect("the registered key is configured");
}
