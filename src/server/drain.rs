use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::health::Health;
use super::stop::Phases;
use crate::clock::Clock;
use crate::metrics;

/// What callers no longer wait for has at least this long after calls are refused: it may have a refresh token to store.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// How long the steps of a drain take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// From saying that calls should go elsewhere to refusing them.
    pub(super) delay: Duration,
    /// From refusing calls to cutting those that still run.
    pub(super) timeout: Duration,
}

impl Steps {
    /// How long all of them take at most.
    pub(super) fn longest(self) -> Duration {
        self.delay.saturating_add(self.timeout.max(SETTLE_LIMIT))
    }
}

/// Moves callers elsewhere without failing a call: says so by health, goes on accepting while load balancers learn of
/// it, then closes the listener, asks connections to close and waits for the calls under way. What still runs then is
/// cut. What callers no longer wait for has settled when `settled` ends.
pub(super) async fn drain(
    steps: Steps,
    health: &Health,
    phases: &Phases,
    connections: &TaskTracker,
    settled: impl Future<Output = ()>,
    clock: &dyn Clock,
) {
    info!(delay = ?steps.delay, timeout = ?steps.timeout, "draining");
    let began = clock.elapsed();
    health.draining().await;
    clock.sleep(steps.delay).await;
    phases.closing.cancel();
    metrics::DRAIN_STATE.set(2.0, &[]);
    health.end_callers_watches().await;
    connections.close();
    tokio::select! {
        () = connections.wait() => info!("drained"),
        () = clock.sleep(steps.timeout) => warn!(connections = connections.len(), "cutting what still runs"),
    }
    phases.cut.cancel();
    let left = steps.longest().saturating_sub(clock.elapsed().saturating_sub(began));
    tokio::select! {
        biased;
        () = settled => {}
        () = clock.sleep(left) => warn!("what was under way at SuperOffice is given up"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::task::yield_now;

    use super::*;
    use crate::clock::ManualClock;
    use crate::server::stop::Stop;

    async fn sleeper(clock: &ManualClock) {
        while clock.sleepers() == 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_whole_drain_takes_no_longer_than_its_steps_or_what_settles_has() {
        for (delay, timeout, settling) in [(5, 15, 0), (5, 1, 4), (0, 5, 0), (0, 2, 3)] {
            let steps = Steps { delay: Duration::from_secs(delay), timeout: Duration::from_secs(timeout) };
            let (clock, phases, connections) =
                (ManualClock::new(Timestamp::UNIX_EPOCH), Stop::default().phases(), TaskTracker::new());
            let stuck = connections.token();
            let draining = tokio::spawn({
                let (clock, phases, connections) = (clock.clone(), phases.clone(), connections.clone());
                let health = Health::new().await;
                async move { drain(steps, &health, &phases, &connections, std::future::pending(), &clock).await }
            });
            let taken = [("delay", delay, false), ("timeout", timeout, false), ("settling", settling, true)];
            // Nobody sleeps for no time.
            for (name, step, is_cut) in taken.into_iter().filter(|(_, step, _)| *step > 0) {
                sleeper(&clock).await;
                assert_eq!(phases.cut.is_cancelled(), is_cut, "{name}");
                clock.advance(Duration::from_secs(step));
            }
            draining.await.unwrap();
            assert_eq!(steps.longest(), Duration::from_secs(delay + timeout + settling));
            drop(stuck);
        }
    }
}
