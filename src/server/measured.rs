//! What is told of the process and of the parts that have no place of their own to tell it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::clock::Clock;
use crate::metrics;
use crate::store::StoreError;
use crate::superoffice::SuperOffice;

/// Whole tables are read for it: neither at the start, when much else is, nor often.
const FIRST_COUNT: Duration = Duration::from_mins(1);
const BETWEEN_COUNTS: Duration = Duration::from_hours(1);

/// Tells metrics which version began and when and, whenever somebody reads them, how tenants stand.
pub(super) fn watch(superoffice: &Arc<SuperOffice>, clock: &dyn Clock) {
    metrics::PROCESS_START_TIME.set(clock.now().as_duration().as_secs_f64(), &[]);
    metrics::BUILD_INFO.replace(BTreeMap::from([(env!("CARGO_PKG_VERSION").to_owned(), 1.0)]));
    let superoffice = Arc::downgrade(superoffice);
    metrics::before_reading(move || superoffice.upgrade().inspect(|it| it.tell_tenant_states()).is_some());
}

/// Tells metrics how many secrets each sealing key sealed, for ever: whether a key that is to go is still in use.
pub(super) async fn count_sealed_records<C, F>(count: C, clock: Arc<dyn Clock>)
where
    C: Fn() -> F,
    F: Future<Output = Result<BTreeMap<String, u64>, StoreError>>,
{
    clock.sleep(FIRST_COUNT).await;
    loop {
        match count().await {
            Ok(counts) => metrics::SEALED_RECORDS.replace(
                counts.into_iter().map(|(key, count)| (key, f64::from(u32::try_from(count).unwrap_or(u32::MAX)))).collect(),
            ),
            Err(error) => debug!(%error, "the secrets cannot be counted"),
        }
        clock.sleep(BETWEEN_COUNTS).await;
    }
}
