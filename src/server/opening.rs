use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Clock;
use crate::random::Random;
use crate::store::{Settings, Store, StoreError};
use crate::superoffice::retry::Backoff;

/// Half a second at first, two later: when the database is back, the server is ready within five seconds.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(2) };

/// Opens the store. A database server that is not there is waited for: restarting this process would not bring it back.
/// Whatever somebody has to do something about ends the start.
pub(super) async fn open_store(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    random: &dyn Random,
) -> Result<Store, StoreError> {
    let mut failures = 0;
    loop {
        match Box::pin(Store::open(settings, Arc::clone(clock))).await {
            Err(error @ StoreError::Unavailable { .. }) => {
                failures += 1;
                if failures == 1 {
                    warn!(%error, "the server is not ready: it waits for its database");
                }
                clock.sleep(BACKOFF.delay(failures, random)).await;
            }
            Ok(store) => {
                if failures > 0 {
                    info!(failures, "the database is there");
                }
                return Ok(store);
            }
            Err(error) => return Err(error),
        }
    }
}
