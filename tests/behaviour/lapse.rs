//! Much time that passes, as fast as this machine keeps up with it.

use std::time::Duration;

use ticketd::clock::Clock;
use ticketd::metrics;

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// Lets much time pass, in steps: small ones while something is asked of SuperOffice, lest a time-out of this world's clock
/// cuts what takes a while on this machine.
pub(crate) async fn lapse(world: &World, duration: Duration, step: Duration) {
    let end = world.clock.now() + duration;
    while world.clock.now() < end {
        world.clock.advance(if is_loading() { SECOND } else { step });
        let mut turns = 0;
        while turns < 3 || is_loading() && turns < 30 {
            turn().await;
            turns += 1;
        }
    }
}

/// The same where tickets are got all the time, and mostly wait for this world's clock: as slow as what is asked of
/// SuperOffice, and no slower.
pub(crate) async fn lapse_by_requests(world: &World, duration: Duration, step: Duration) {
    let end = world.clock.now() + duration;
    while world.clock.now() < end {
        world.clock.advance(step);
        let mut turns = 0;
        while turns < 1 || world.sandbox.requests_under_way() > 0 && turns < 30 {
            turn().await;
            turns += 1;
        }
    }
}

/// Whether any ticket is being got.
fn is_loading() -> bool {
    let families = metrics::read();
    let loading = families.iter().find(|family| family.about.name == "ticketd.flights_in_progress").unwrap();
    loading.series.iter().any(|series| matches!(series.value, metrics::Value::Number(number) if number > 0.0))
}

async fn turn() {
    #[expect(clippy::disallowed_methods, reason = "a turn for the sockets, not a wait for time to pass")]
    tokio::time::sleep(Duration::from_millis(1)).await;
}
