use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::{LastFailure, TicketError};
use crate::identifiers::ContextIdentifier;

/// Of how many tenants the last failure is remembered. Past it the least recently used go.
const CAPACITY: u64 = 10_000;
/// For how long.
const MEMORY: Duration = Duration::from_hours(24);

/// What each tenant's last load failed with, for people to look at. Nothing is decided by it.
pub(super) struct Failures(Cache<ContextIdentifier, Arc<Failure>>);

#[derive(Debug)]
struct Failure {
    error: TicketError,
    time: Timestamp,
    in_a_row: u32,
    is_over: AtomicBool,
}

impl Failures {
    pub(super) fn new() -> Self {
        let policy = EvictionPolicy::lru();
        Self(Cache::builder().max_capacity(CAPACITY).eviction_policy(policy).time_to_live(MEMORY).build())
    }

    /// A load failed. What says nothing of the tenant, not even that it is registered, is left out: else whoever asks for
    /// ten thousand others would make us forget it.
    pub(super) fn note(&self, tenant: ContextIdentifier, error: &TicketError, time: Timestamp) {
        if is_about_the_tenant(error) {
            let in_a_row = self.0.get(&tenant).filter(|last| !last.is_over()).map_or(0, |last| last.in_a_row);
            let (error, in_a_row) = (error.clone(), in_a_row.saturating_add(1));
            self.0.insert(tenant, Arc::new(Failure { error, time, in_a_row, is_over: AtomicBool::new(false) }));
        }
    }

    /// A load succeeded.
    pub(super) fn end(&self, tenant: ContextIdentifier) {
        if let Some(failure) = self.0.get(&tenant) {
            failure.is_over.store(true, Ordering::Relaxed);
        }
    }

    /// The tenant was changed or removed.
    pub(super) fn forget(&self, tenant: ContextIdentifier) {
        self.0.invalidate(&tenant);
    }

    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }

    pub(super) fn last(&self, tenant: ContextIdentifier) -> Option<LastFailure> {
        self.0.get(&tenant).map(|failure| failure.shown())
    }

    /// Those that are not over, the latest first: up to `limit` of them, and the number of all.
    pub(super) fn current(&self, limit: usize) -> (Vec<(ContextIdentifier, LastFailure)>, usize) {
        let mut current: Vec<_> = self.0.iter().filter(|(_, failure)| !failure.is_over()).collect();
        let total = current.len();
        current.sort_unstable_by(|(tenant, one), (other_tenant, other)| {
            other.time.cmp(&one.time).then_with(|| tenant.cmp(other_tenant))
        });
        current.truncate(limit);
        (current.into_iter().map(|(tenant, failure)| (*tenant, failure.shown())).collect(), total)
    }
}

impl Failure {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn shown(&self) -> LastFailure {
        let Self { error, time, in_a_row, .. } = self;
        LastFailure { error: error.clone(), time: *time, in_a_row: *in_a_row, is_over: self.is_over() }
    }
}

fn is_about_the_tenant(error: &TicketError) -> bool {
    !matches!(
        error,
        TicketError::NotRegistered
            | TicketError::StoreUnavailable { .. }
            | TicketError::CacheFull { .. }
            | TicketError::Overloaded
    )
}

impl fmt::Debug for Failures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Failures").field("remembered", &self.0.entry_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tenant(number: u32) -> ContextIdentifier {
        format!("Cust{number}").parse().unwrap()
    }

    #[test]
    fn failures_in_a_row_are_counted_until_a_load_succeeds() {
        let failures = Failures::new();
        failures.note(tenant(1), &TicketError::SigningKeyRejected, second(1));
        failures.note(tenant(1), &TicketError::SigningKeyRejected, second(2));
        let last = failures.last(tenant(1)).unwrap();
        assert_eq!((last.time, last.in_a_row, last.is_over), (second(2), 2, false));
        failures.end(tenant(1));
        assert!(failures.last(tenant(1)).unwrap().is_over, "it is remembered");
        failures.note(tenant(1), &TicketError::SigningKeyRejected, second(3));
        let last = failures.last(tenant(1)).unwrap();
        assert_eq!((last.in_a_row, last.is_over), (1, false));
        failures.forget(tenant(1));
        assert_eq!(failures.last(tenant(1)), None);
    }

    #[test]
    fn the_latest_that_are_not_over_come_first() {
        let failures = Failures::new();
        for (number, time) in [(1, 5), (2, 9), (3, 7), (4, 9)] {
            failures.note(tenant(number), &TicketError::SigningKeyRejected, second(time));
        }
        failures.end(tenant(3));
        let (current, total) = failures.current(2);
        assert_eq!(current.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>(), [tenant(2), tenant(4)]);
        assert_eq!(total, 3);
    }

    #[test]
    fn what_is_not_about_a_tenant_displaces_nothing_that_is() {
        let failures = Failures::new();
        failures.note(tenant(1), &TicketError::SigningKeyRejected, second(1));
        for number in 2..20_000 {
            failures.note(tenant(number), &TicketError::NotRegistered, second(2));
        }
        failures.0.run_pending_tasks();
        assert_eq!(failures.current(9).1, 1);
        for number in 2..20_000 {
            failures.note(tenant(number), &TicketError::SigningKeyRejected, second(2));
        }
        failures.0.run_pending_tasks();
        assert!(failures.0.entry_count() <= CAPACITY);
    }
}
