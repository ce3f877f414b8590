use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::drain::{self, Steps};
use super::error::ServeError;
use super::health::Health;
use super::stop::{Phases, Stop};
use super::tasks::Tasks;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::credentials::KeptGrants;
use crate::store::Store;

/// The store has at least this long to close, and as long as is left of a drain. What does not make it is not lost: the
/// database has all that was answered, and leases lapse.
const CLOSE_LIMIT: Duration = Duration::from_millis(400);

/// What a running server consists of.
pub(super) struct Parts {
    pub(super) tasks: Tasks,
    pub(super) health: Health,
    pub(super) phases: Phases,
    /// The connections of callers.
    pub(super) open: TaskTracker,
    pub(super) kept_grants: KeptGrants,
    pub(super) store: Store,
    pub(super) audit: Audit,
    pub(super) steps: Steps,
    pub(super) clock: Arc<dyn Clock>,
}

/// Runs until the server is asked to stop or a part of it ends, then drains; an abort ends either.
pub(super) async fn run(parts: Parts, stop: Stop) -> Result<(), ServeError> {
    let Parts { mut tasks, health, phases, open, kept_grants, store, audit, steps, clock } = parts;
    tasks.spawn("watch over the audit", health.clone().follow(audit.clone(), Arc::clone(&clock)));
    let run_and_drain = async {
        let end = tokio::select! {
            () = stop.asked() => Ok(()),
            name = tasks.first_to_end() => Err(ServeError::TaskEnded(name)),
        };
        if let Err(error) = end {
            error!(%error, "a part of the server has ended");
        }
        let began = clock.elapsed();
        drain::drain(steps, &health, &phases, &open, kept_grants.settled(), &*clock).await;
        (end, steps.longest().saturating_sub(clock.elapsed().saturating_sub(began)))
    };
    let (end, left) = tokio::select! {
        biased;
        () = stop.aborted() => (Err(ServeError::Aborted), Duration::ZERO),
        ended = run_and_drain => ended,
    };
    phases.cut.cancel();
    open.close();
    open.wait().await;
    tokio::select! {
        () = store.close() => {}
        () = clock.sleep(left.max(CLOSE_LIMIT)) => warn!("the store does not close in time and is left as it is"),
    }
    audit.close().await;
    end
}
