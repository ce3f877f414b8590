use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, error, error_span};

use super::{Inner, SystemTickets};
use crate::credentials::error::PERMANENT;
use crate::credentials::watches::{Dropped, MOST_PLACES, Outcome, Watched, Watcher};
use crate::credentials::{TicketAnswer, TicketError};
use crate::identifiers::ContextIdentifier;
use crate::random::Random;
use crate::superoffice::TenantState;

/// A change is told twice: by who made it, and by the store. A ticket under way between the two would be forgotten, and its
/// exchange wasted.
const SETTLING: Duration = Duration::from_millis(200);
/// The longest it takes where all tenants may have changed.
const SETTLING_OF_ALL: Duration = Duration::from_secs(5);
/// The shortest pause before a tenant that was refused is asked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest, but for what SuperOffice asks for. Nobody has to tell that a tenant may be used again.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// Tells of changes of several tenants' tickets, for as long as it is kept. They count as asked for.
#[derive(Debug)]
pub struct TicketWatch {
    inner: Arc<Inner>,
    watcher: Arc<Watcher>,
    places: Vec<(ContextIdentifier, Option<Arc<Watched>>)>,
}

impl SystemTickets {
    /// Watches these tenants, each at its place, from when [`TicketWatch::begin`] is called for it.
    pub fn watch(&self, tenants: impl IntoIterator<Item = ContextIdentifier>) -> TicketWatch {
        let places = tenants.into_iter().map(|tenant| (tenant, None)).take(MOST_PLACES).collect();
        TicketWatch { inner: Arc::clone(&self.0), watcher: self.0.watches.watcher(), places }
    }
}

impl TicketWatch {
    /// Tells of the tenant at this place from now on, and of its ticket as it is.
    pub fn begin(&mut self, place: usize) {
        let Some((tenant, watched @ None)) = self.places.get_mut(place) else { return };
        let keep = |watched: Arc<Watched>| {
            let keeper = keep(SystemTickets(Arc::clone(&self.inner)), *tenant, watched);
            let keeper = keeper.instrument(error_span!(parent: None, "watch", %tenant));
            AbortOnDropHandle::new(tokio::spawn(keeper))
        };
        *watched = Some(self.inner.watches.join(*tenant, &self.watcher, place, keep));
    }

    /// Tells of it no more.
    pub fn end(&mut self, place: usize) {
        if let Some((tenant, watched)) = self.places.get_mut(place)
            && watched.take().is_some()
        {
            self.inner.watches.leave(*tenant, &self.watcher);
        }
    }

    /// Has [`next`](Self::next) answer this place, whether anything has changed there or not.
    pub fn look_again(&self, place: usize) {
        self.watcher.tell(place);
    }

    /// The next place where something is new. Dropping the future loses nothing.
    pub async fn next(&self) -> usize {
        self.watcher.next().await
    }

    /// The latest of the tenant at this place, if there is any: a ticket that has lapsed is none.
    pub fn outcome(&self, place: usize) -> Option<Result<TicketAnswer, TicketError>> {
        let outcome = self.places.get(place)?.1.as_ref()?.latest()?;
        let lives = |answer: &TicketAnswer| answer.ticket.expire_time > self.inner.clock.now();
        Some(outcome).filter(|outcome| outcome.as_ref().map_or(true, lives))
    }
}

impl Drop for TicketWatch {
    fn drop(&mut self) {
        for place in 0..self.places.len() {
            self.end(place);
        }
    }
}

/// Tells those who watch the tenant of its ticket, for as long as anybody does. It sleeps until something is touched; by
/// itself it looks once in the life of a ticket whether its renewal was missed, and when it has lapsed.
async fn keep(tickets: SystemTickets, tenant: ContextIdentifier, watched: Arc<Watched>) {
    let (inner, mut refusals) = (&tickets.0, 0);
    loop {
        // Nothing that a turn has to itself is looked at after a panic, and nothing shared stays locked.
        let turn = AssertUnwindSafe(tickets.turn(tenant, &watched, &mut refusals)).catch_unwind();
        let rest = turn.await.unwrap_or_else(|_panic| {
            error!(%tenant, "what watches the tenant's ticket panicked: it goes on");
            inner.random.between(PERMANENT, PERMANENT.saturating_mul(2))
        });
        tokio::select! {
            biased;
            () = watched.changed() => {}
            () = inner.clock.sleep(rest) => {}
        }
    }
}

impl SystemTickets {
    /// Asks for the tenant's ticket once, and tells what came. Answers when to do so again if nothing changes before.
    /// `refusals` is how often it was refused in a row.
    async fn turn(&self, tenant: ContextIdentifier, watched: &Watched, refusals: &mut u32) -> Duration {
        let inner = &self.0;
        if let Some(dropped) = watched.take_dropped() {
            *refusals = 0;
            inner.clock.sleep(inner.settling_after(dropped)).await;
            return Duration::ZERO;
        }
        let outcome = tokio::select! {
            biased;
            outcome = self.get_in_turn(tenant) => outcome,
            // What is under way may take long and goes on by itself; the answer may be another by now.
            () = watched.changed() => return Duration::ZERO,
        };
        let rest = match &outcome {
            Ok(answer) => {
                *refusals = 0;
                inner.until_next_look(answer)
            }
            Err(error) => {
                if asks_for(error).is_none() {
                    *refusals = refusals.saturating_add(1);
                }
                pause_after(error, *refusals, &*inner.random)
            }
        };
        let now = inner.clock.now();
        watched.tell(outcome, |told, new| is_news(told, new, now));
        // What was told before may lapse sooner, and that is to be told.
        let told = watched.latest().and_then(Result::ok);
        let left = told.map(|told| Duration::try_from(told.ticket.expire_time.duration_since(now)).unwrap_or_default());
        rest.min(left.unwrap_or(Duration::MAX).max(PAUSE))
    }

    /// The tenant's ticket: what is not in memory is got for so many keepers at once only, lest those of all tenants take
    /// the places of callers.
    async fn get_in_turn(&self, tenant: ContextIdentifier) -> Result<TicketAnswer, TicketError> {
        let inner = &self.0;
        let _place = match inner.cached(tenant, inner.settings.wait_before_expiry) {
            Some(_) => None,
            // The semaphore is never closed.
            None => inner.keepers.acquire().await.ok(),
        };
        self.get(tenant, Duration::ZERO).await
    }
}

impl Inner {
    /// Those of all tenants do not ask at once.
    fn settling_after(&self, dropped: Dropped) -> Duration {
        match dropped {
            Dropped::Alone => SETTLING,
            Dropped::WithAll => self.random.between(SETTLING, SETTLING_OF_ALL),
        }
    }

    /// By when a ticket that was not renewed is looked after: in the middle between its renewal and its end, and at its end.
    fn until_next_look(&self, answer: &TicketAnswer) -> Duration {
        let (renewal, end) = (answer.ticket.refresh_time, answer.ticket.expire_time);
        let late = Duration::try_from(end.duration_since(renewal)).unwrap_or_default() / 2;
        let middle = end.saturating_sub(late).unwrap_or(end);
        let now = self.clock.now();
        let next = if now < middle { middle } else { end };
        Duration::try_from(next.duration_since(now)).unwrap_or_default().max(PAUSE)
    }
}

/// Whether those who were told of `told` are to be told of `new`.
fn is_news(told: &Outcome, new: &Outcome, now: Timestamp) -> bool {
    match (told, new) {
        (Ok(told), Ok(new)) => {
            // That SuperOffice does not answer for a moment is nothing to act on.
            let has_state = new.tenant.status.state != TenantState::Unknown;
            !Arc::ptr_eq(&told.ticket, &new.ticket)
                || has_state && told.tenant.status.state != new.tenant.status.state
                || told.webapi_url() != new.webapi_url()
                // How it goes on failing is not.
                || told.refresh_warning.is_some() != new.refresh_warning.is_some()
        }
        (Err(TicketError::TenantNotRunning(told)), Err(TicketError::TenantNotRunning(new))) => told != new,
        // An outage has many faces, and goes from one to another and back.
        (Err(told), Err(new)) => told.kind() != new.kind() && !(is_failure(told) && is_failure(new)),
        // A failure takes no valid ticket away. One that is not to be used any more was taken away before.
        (Ok(told), Err(new)) => !is_failure(new) || told.ticket.expire_time <= now,
        (Err(_), Ok(_)) => true,
    }
}

/// Whether the error says something about getting a ticket, and nothing about the tenant.
fn is_failure(error: &TicketError) -> bool {
    matches!(
        error,
        TicketError::ClockSkew { .. }
            | TicketError::Throttled { .. }
            | TicketError::Unavailable { .. }
            | TicketError::CircuitOpen { .. }
            | TicketError::CacheFull { .. }
            | TicketError::StoreUnavailable { .. }
            | TicketError::HeldElsewhere { .. }
            | TicketError::Overloaded
            | TicketError::Internal(_)
    )
}

/// How long to wait at least, where the error is none that lasts until someone acts.
fn asks_for(error: &TicketError) -> Option<Duration> {
    match error {
        TicketError::ClockSkew { retry_after }
        | TicketError::TenantMaintenance { retry_after }
        | TicketError::Throttled { retry_after }
        | TicketError::Unavailable { retry_after, .. }
        | TicketError::CircuitOpen { retry_after }
        | TicketError::CacheFull { retry_after }
        | TicketError::StoreUnavailable { retry_after, .. }
        | TicketError::HeldElsewhere { retry_after } => Some((*retry_after).max(PAUSE)),
        TicketError::Overloaded => Some(PAUSE),
        _ => None,
    }
}

/// When a tenant that was refused so often in a row is asked for again: not at the same time as others.
fn pause_after(error: &TicketError, refusals: u32, random: &dyn Random) -> Duration {
    let shortest = asks_for(error).unwrap_or_else(|| {
        // Someone has to act before the answer changes, and most who do tell us.
        PERMANENT.saturating_mul(2_u32.saturating_pow(refusals.saturating_sub(1))).min(LONGEST_PAUSE / 2)
    });
    random.between(shortest, shortest.saturating_mul(2).min(LONGEST_PAUSE.max(shortest)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::footprint_tests::system_tickets_by;
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SeededRandom;

    /// Panics once when it is told to.
    #[derive(Debug, Default)]
    struct Fragile(AtomicBool);

    impl Random for Fragile {
        fn fraction(&self) -> f64 {
            assert!(!self.0.swap(false, Ordering::SeqCst), "it panics");
            0.5
        }
    }

    #[tokio::test]
    async fn a_panic_leaves_no_tenant_silent() {
        let directory = tempfile::tempdir().unwrap();
        let (random, clock) = (Arc::new(Fragile::default()), ManualClock::new(Timestamp::UNIX_EPOCH));
        let tickets = system_tickets_by(Arc::clone(&random) as _, directory.path(), clock.clone(), 10).await;
        let mut watch = tickets.watch(["Cust1".parse().unwrap()]);
        watch.begin(0);
        assert_eq!(watch.next().await, 0);
        assert!(matches!(watch.outcome(0), Some(Err(TicketError::NotRegistered))));
        random.0.store(true, Ordering::SeqCst);
        tickets.forget_all();
        assert!(watch.outcome(0).is_none());
        let next = async {
            while watch.next().now_or_never().is_none() {
                clock.advance(PAUSE);
                tokio::task::yield_now().await;
            }
        };
        next.await;
        assert!(!random.0.load(Ordering::SeqCst) && watch.outcome(0).is_some());
    }

    #[test]
    fn a_tenant_that_stays_refused_is_asked_for_ever_more_seldom_and_every_quarter_of_an_hour_at_least() {
        let random = SeededRandom::new(5);
        for (refusals, shortest, longest) in [(0, 60, 120), (1, 60, 120), (2, 120, 240), (3, 240, 480), (9, 450, 900)] {
            for _ in 0..100 {
                let pause = pause_after(&TicketError::NotRegistered, refusals, &random).as_secs_f64();
                assert!((f64::from(shortest)..=f64::from(longest)).contains(&pause), "{refusals}: {pause}");
            }
        }
        let hour = Duration::from_hours(1);
        assert_eq!(pause_after(&TicketError::Throttled { retry_after: hour }, 0, &random), hour);
        assert!(pause_after(&TicketError::Overloaded, 30, &random) <= PAUSE * 2);
    }
}
