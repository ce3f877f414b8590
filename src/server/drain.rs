use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::health::Health;
use super::stop::Phases;
use crate::clock::Clock;
use crate::metrics;

/// How long the steps of a drain take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// From saying that calls should go elsewhere to refusing them.
    pub(super) delay: Duration,
    /// From refusing calls to cutting those that still run.
    pub(super) timeout: Duration,
}

/// Moves callers elsewhere without failing a call: says so by health, goes on accepting while load balancers learn of
/// it, then closes the listener, asks connections to close and waits for the calls under way.
pub(super) async fn drain(
    steps: Steps,
    health: &Health,
    phases: &Phases,
    connections: &TaskTracker,
    clock: &dyn Clock,
) {
    info!(delay = ?steps.delay, timeout = ?steps.timeout, "draining");
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
}
