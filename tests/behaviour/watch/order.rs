//! In which order a call to watch is judged: who calls, what it asks for, what the policy says, how much there may be.

use ticketd::authorization::Policy;
use ticketd::grpc::proto::WatchSystemTicketsRequest;
use tonic::Request;

use super::{SECOND, lasting};
use crate::several::Watch;
use crate::world::{World, reason, within};

/// So many tenants may the caller name by one call, and ask for in a second.
const NAMES: usize = 100;

/// A world whose caller may watch `Cust0` to `Cust99`, of which there is none.
async fn world() -> World {
    let world = lasting().config(|config| {
        let tenants: Vec<_> = names().into_iter().chain(["Cust12345".to_owned()]).collect();
        let policy = format!(
            "apiVersion: policy/v1\ncallers:\n  - {{unidentified: true, rpcs: [WatchSystemTickets, PutTenant], \
             tenants: [{}], limits: {{rps: {NAMES}, burst: {NAMES}}}}}\n",
            tenants.join(", ")
        );
        config.authorization.policy = Policy::parse(&policy).unwrap();
    });
    let world = world.start().await;
    world.clock.advance(SECOND);
    world
}

fn names() -> Vec<String> {
    (0..NAMES).map(|number| format!("Cust{number}")).collect()
}

/// Why there is no watch.
async fn refused(world: &World, tenants: &[&str]) -> String {
    reason(&Watch::begin(world.tickets(), tenants).await.err().expect("it is refused")).1
}

#[tokio::test]
async fn who_calls_comes_first_then_what_is_asked_for_then_the_policy_then_how_often() {
    let world = world().await;
    let mut request = Request::new(WatchSystemTicketsRequest::default());
    request.metadata_mut().insert("authorization", "Bearer of-nobody".parse().unwrap());
    let unknown = within(world.tickets().watch_system_tickets(request)).await.unwrap_err();
    assert_eq!(reason(&unknown).1, "CALLER_UNKNOWN");
    assert_eq!(refused(&world, &["Cust404", "no identifier"]).await, "CONTEXT_IDENTIFIER_INVALID");
    assert_eq!(refused(&world, &[]).await, "CONTEXT_IDENTIFIERS_INVALID");
    assert_eq!(refused(&world, &["Cust404", "Cust405"]).await, "CALLER_NOT_AUTHORIZED");

    // Each of these was a call, but for the one of nobody.
    let names = names();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(refused(&world, &names[..NAMES - 2]).await, "CALLER_RATE_LIMITED");
    let _watch = Watch::begin(world.tickets(), &names[..NAMES - 3]).await.unwrap();
    // Not even one is left: nothing is read of it.
    assert_eq!(refused(&world, &["no identifier"]).await, "CALLER_RATE_LIMITED");
}

#[tokio::test]
async fn a_watch_too_many_is_refused_after_all_that_is_wrong_with_it_and_one_too_soon_holds_no_place() {
    let world = world().await;
    let names = names();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut watches = Vec::new();
    for client in (0..4).map(|_| world.tickets()) {
        for _ in 0..50 {
            watches.push(Watch::begin(client.clone(), &names).await.unwrap());
            world.clock.advance(SECOND);
        }
    }
    // They have the 20,000 places of a caller.
    assert_eq!(refused(&world, &["no identifier"]).await, "CONTEXT_IDENTIFIER_INVALID");
    assert_eq!(refused(&world, &["Cust404"]).await, "CALLER_NOT_AUTHORIZED");
    assert_eq!(refused(&world, &names).await, "TOO_MANY_WATCHES", "and not that it calls too often, which it does too");

    watches.pop();
    let too_soon = async {
        loop {
            match refused(&world, &names).await.as_str() {
                // The server has yet to learn that one is gone.
                "TOO_MANY_WATCHES" => world.clock.advance(SECOND / 100),
                reason => break reason.to_owned(),
            }
        }
    };
    assert_eq!(within(too_soon).await, "CALLER_RATE_LIMITED");
    world.clock.advance(SECOND);
    Watch::begin(world.tickets(), &names).await.unwrap();
}
