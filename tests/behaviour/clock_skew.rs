use std::time::Duration;

use jiff::SignedDuration;
use superoffice_sandbox::{Behaviour, Endpoint, Refusal};
use ticketd::clock::Clock;
use tonic::Code;

use crate::world::{TENANT, World, reason, retry_delay, timestamp};

#[tokio::test]
async fn a_clock_that_is_far_off_costs_one_more_try_on_superoffices_time() {
    for minutes in [-60, -16, 16, 60] {
        let world = World::start().await;
        world.sandbox.clock().set_offset(SignedDuration::from_mins(minutes));
        let ticket = world.ticket(TENANT).await.unwrap_or_else(|status| panic!("{minutes} min: {status}"));
        assert_eq!(timestamp(ticket.expire_time), world.clock.now() + Duration::from_hours(6), "life is ours to count");
        assert_eq!(world.sandbox.requests(Endpoint::Exchange), 2, "{minutes} min");
        assert_eq!(world.sandbox.exchanges(TENANT), 1, "{minutes} min");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_within_the_leeway_does_not_matter() {
    for seconds in [-60, -30, 30, 59] {
        let world = World::start().await;
        world.sandbox.clock().set_offset(SignedDuration::from_secs(seconds));
        world.ticket(TENANT).await.unwrap_or_else(|status| panic!("{seconds} s: {status}"));
        assert_eq!(world.sandbox.requests(Endpoint::Exchange), 1, "{seconds} s");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_in_between_costs_nothing() {
    for minutes in [-14, -10, 10, 14] {
        let world = World::start().await;
        world.sandbox.clock().set_offset(SignedDuration::from_mins(minutes));
        world.ticket(TENANT).await.unwrap_or_else(|status| panic!("{minutes} min: {status}"));
        assert_eq!(world.sandbox.requests(Endpoint::Exchange), 1, "{minutes} min");
    }
}

#[tokio::test]
async fn a_time_that_is_refused_by_its_own_clock_too_is_told_and_remembered() {
    let world = World::start().await;
    world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(6)).at(Endpoint::Exchange));
    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, "CLOCK_SKEW".to_owned()));
    assert_eq!(retry_delay(&refused), Some(Duration::from_mins(1)), "as long as it is remembered");
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 2);
    world.ticket(TENANT).await.unwrap_err();
    assert_eq!(world.sandbox.requests(Endpoint::Exchange), 2);
}
