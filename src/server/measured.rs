//! What is told of the process and of the parts that have no place of their own to tell it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::metrics;
use crate::superoffice::SuperOffice;

/// Tells metrics which version began and when and, whenever somebody reads them, how tenants stand.
pub(super) fn watch(superoffice: &Arc<SuperOffice>, clock: &dyn Clock) {
    metrics::PROCESS_START_TIME.set(clock.now().as_duration().as_secs_f64(), &[]);
    metrics::BUILD_INFO.replace(BTreeMap::from([(env!("CARGO_PKG_VERSION").to_owned(), 1.0)]));
    let superoffice = Arc::downgrade(superoffice);
    metrics::before_reading(move || superoffice.upgrade().inspect(|it| it.tell_tenant_states()).is_some());
}
