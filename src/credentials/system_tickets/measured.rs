//! What is told of the tickets, and how calls are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Inner;
use crate::metrics::{self, WITHIN};

/// How a call was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallResult(&'static str);

/// From memory.
pub(super) const HIT: CallResult = CallResult("hit");
/// From memory, after a renewal that failed.
pub(super) const STALE_HIT: CallResult = CallResult("stale_hit");
/// By a load that it began.
pub(super) const MISS: CallResult = CallResult("miss");
/// By a load that was under way.
pub(super) const JOINED: CallResult = CallResult("joined");
/// With what is known without asking SuperOffice.
pub(super) const NEGATIVE: CallResult = CallResult("negative");
/// With what its load failed with.
pub(super) const ERROR: CallResult = CallResult("error");

impl CallResult {
    /// Counts the call.
    pub(super) fn note(self) {
        metrics::TICKET_REQUESTS.count(&[self.0]);
    }
}

/// Somebody who waits for a load.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn begin(waiters: &'a AtomicUsize) -> Self {
        waiters.fetch_add(1, Ordering::Relaxed);
        Self(waiters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells metrics of the tickets whenever somebody reads them, for as long as there are any.
pub(super) fn watch(tickets: &Arc<Inner>) {
    let tickets = Arc::downgrade(tickets);
    metrics::before_reading(move || tickets.upgrade().inspect(|tickets| tell(tickets)).is_some());
}

fn tell(tickets: &Inner) {
    metrics::TICKETS_CACHED.set_count(tickets.cache.len(), &[]);
    metrics::TICKET_CAPACITY.set_count(usize::try_from(tickets.settings.capacity).unwrap_or(usize::MAX), &[]);
    metrics::FLIGHTS_IN_PROGRESS.set_count(tickets.flights.len(), &[]);
    metrics::FLIGHT_WAITERS.set_count(tickets.waiters.load(Ordering::Relaxed), &[]);
    metrics::NEGATIVE_CACHE_ENTRIES.set_count(usize::try_from(tickets.refusals.len()).unwrap_or(usize::MAX), &[]);
    let remaining = tickets.cache.remaining_in_use(tickets.clock.moment());
    for (seconds, name) in WITHIN {
        let count = remaining.iter().filter(|left| left.as_secs() < seconds).count();
        metrics::TICKETS_EXPIRING.set_count(count, &[name]);
    }
    match remaining.iter().min() {
        Some(least) => metrics::TICKET_REMAINING_MIN.set(least.as_secs_f64(), &[]),
        None => metrics::TICKET_REMAINING_MIN.clear(&[]),
    }
}
