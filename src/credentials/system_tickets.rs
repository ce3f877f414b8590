mod at_hand;
#[cfg(test)]
mod footprint_tests;
mod load;
mod lookup;
mod measured;
mod overview;
mod warming;
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::info;

pub use self::at_hand::TicketAtHand;
use self::warming::Warming;
pub use self::watching::TicketWatch;
use super::exchange::Exchange;
use super::failures::Failures;
use super::fleet::Fleet;
use super::flight::Flights;
use super::keep_alive::KeepAlive;
use super::refusals::{Memorable, Refusals};
use super::renewal::Schedule;
use super::standings::Standings;
use super::ticket_cache::{Entry, TicketCache};
use super::watches::Watches;
use super::{InvalidateOutcome, Settings, TicketAnswer, TicketError};
use crate::clock::{Clock, Moment};
use crate::crypto::Fingerprint;
use crate::identifiers::ContextIdentifier;
use crate::random::Random;
use crate::store::SharedTickets;
use crate::superoffice::TenantState;

/// A ticket younger than this is not replaced on a caller's report.
const FORCED_EXCHANGE_INTERVAL: Duration = Duration::from_secs(30);
/// What SuperOffice told of a tenant so shortly before is not asked for anew on a caller's report.
const FORCED_LOOKUP_INTERVAL: Duration = Duration::from_secs(5);
/// How many loads may be under way at once, and how many lookups.
const MOST_FLIGHTS: usize = 10_000;

/// The system user tickets of all tenants. Clones share them.
#[derive(Clone, Debug)]
pub struct SystemTickets(Arc<Inner>);

/// What the cache has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Calls answered with a ticket from memory.
    pub hits: u64,
    /// Calls that waited for a renewal or an exchange, their own or one under way.
    pub misses: u64,
    /// Calls answered with a refusal that cost SuperOffice nothing.
    pub refusals: u64,
    /// Exchanges begun, renewals included.
    pub exchanges: u64,
    /// Tickets kept alive by being used.
    pub keep_alives: u64,
    /// Renewals that failed while the ticket was valid.
    pub failed_renewals: u64,
    /// Tickets displaced from a full cache.
    pub displaced: u64,
    /// Tickets in memory.
    pub cached: u64,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    exchange: Exchange,
    keep_alive: KeepAlive,
    standings: Standings,
    fleet: Fleet,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    cache: TicketCache,
    flights: Flights<ContextIdentifier, Result<TicketAnswer, TicketError>>,
    lookups: Flights<ContextIdentifier, ()>,
    refusals: Refusals<ContextIdentifier, TicketError>,
    failures: Failures,
    schedule: Schedule,
    warming: Warming,
    watches: Watches,
    /// How many of those who keep watched tenants may get a ticket at once.
    keepers: Semaphore,
    counters: Counters,
    /// Calls and renewals that wait for a load.
    waiters: AtomicUsize,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    refusals: AtomicU64,
    exchanges: AtomicU64,
    keep_alives: AtomicU64,
    failed_renewals: AtomicU64,
    displaced: AtomicU64,
}

impl SystemTickets {
    /// An empty cache over `exchange` and what other processes share, if any do. Renewals need [`Self::run_renewals`].
    pub fn new(
        settings: Settings,
        exchange: Exchange,
        shared: Option<Arc<dyn SharedTickets>>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let inner = Arc::new(Inner {
            cache: TicketCache::new(settings.capacity, settings.lifetime, Arc::clone(&random)),
            flights: Flights::new(MOST_FLIGHTS),
            lookups: Flights::new(MOST_FLIGHTS),
            refusals: Refusals::new(settings.capacity, Arc::clone(&random)),
            failures: Failures::new(),
            schedule: Schedule::default(),
            warming: Warming::default(),
            watches: Watches::default(),
            keepers: Semaphore::new(settings.renewals_in_flight),
            counters: Counters::default(),
            settings,
            keep_alive: exchange.keep_alive(),
            standings: exchange.standings(),
            fleet: exchange.fleet(shared),
            exchange,
            clock,
            random,
            waiters: AtomicUsize::new(0),
        });
        measured::watch(&inner);
        Self(inner)
    }

    /// The tenant's ticket, valid for `min_validity` at least: from memory, or by a renewal or an exchange that all
    /// callers share. It comes with the tenant's state and address as SuperOffice told them; a tenant that does not run
    /// is refused, and its ticket waits in memory until it does.
    ///
    /// Dropping the future neither stops nor restarts what it waits for.
    pub async fn get(&self, tenant: ContextIdentifier, min_validity: Duration) -> Result<TicketAnswer, TicketError> {
        let inner = &self.0;
        self.check_min_validity(min_validity).inspect_err(|_| measured::NEGATIVE.note())?;
        let comfortable = min_validity.max(inner.settings.wait_before_expiry);
        if let Some(entry) = inner.cached(tenant, comfortable) {
            return inner.hit(&entry).await;
        }
        // A ticket about to expire still has to do while its renewal pauses or fails.
        let now = inner.clock.moment();
        if let Some(entry) = inner.cache.get(tenant)
            && let Some((left, warning)) = entry.pause(now)
            && entry.lives(now, Duration::ZERO)
        {
            if entry.lives(now, min_validity) {
                return inner.hit(&entry).await;
            }
            count(&inner.counters.refusals);
            measured::NEGATIVE.note();
            return Err(warning.error.clone().with_retry_after(left));
        }
        if let Some(refusal) = inner.refusals.in_force(tenant, now.elapsed) {
            count(&inner.counters.refusals);
            measured::NEGATIVE.note();
            return Err(refusal);
        }
        count(&inner.counters.misses);
        let enough = |entry: &Entry, now| entry.lives(now, comfortable);
        let (mut outcome, part) = inner.fly(tenant, enough).await;
        if let Ok(answer) = &outcome
            && answer.ticket.expire_time.duration_since(inner.clock.now()).unsigned_abs() < comfortable
        {
            // Another process's ticket came, and does not live long enough: the next flight prolongs it.
            (outcome, _) = inner.fly(tenant, enough).await;
        }
        let Err(error) = outcome else {
            part.note();
            return outcome;
        };
        let now = inner.clock.moment();
        let outcome = match inner.cache.get(tenant).filter(|entry| entry.lives(now, min_validity)) {
            Some(rest) => inner.serve(&rest).await,
            None => Err(error),
        };
        if outcome.is_ok() { measured::STALE_HIT } else { measured::ERROR }.note();
        outcome
    }

    /// Fails if no ticket can be promised to live that long.
    pub fn check_min_validity(&self, min_validity: Duration) -> Result<(), TicketError> {
        let longest = self.0.settings.longest_min_validity();
        if min_validity > longest { Err(TicketError::MinValidityTooLarge { longest }) } else { Ok(()) }
    }

    /// Drops the ticket that a tenant's API refused, in every process, if it is current and not brand-new.
    pub async fn invalidate(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> InvalidateOutcome {
        let inner = &self.0;
        let now = inner.clock.moment();
        let current = inner.cache.get(tenant);
        let current =
            current.filter(|entry| entry.ticket.fingerprint == fingerprint && entry.lives(now, Duration::ZERO));
        let issue_time = match &current {
            Some(entry) => Some(entry.ticket.issue_time),
            // The caller may have it from another process.
            None => inner.fleet.issue_time(tenant, fingerprint).await,
        };
        let Some(issue_time) = issue_time else { return InvalidateOutcome::NotCurrent };
        if now.wall.duration_since(issue_time).unsigned_abs() < FORCED_EXCHANGE_INTERVAL {
            return InvalidateOutcome::TooRecent;
        }
        // At first where all would find it.
        let withdrawn = inner.fleet.withdraw(tenant, fingerprint).await;
        if !inner.cache.remove_if(tenant, fingerprint) && !withdrawn {
            return InvalidateOutcome::NotCurrent;
        }
        if let Some(entry) = current {
            inner.schedule.cancel_at(tenant, entry.ticket.refresh_time);
        }
        // The tenant may have moved: the next ticket comes with the address it has then.
        inner.forget_standing(tenant);
        inner.watches.drop_ticket(tenant);
        info!(%tenant, %fingerprint, "a caller reported the ticket as refused; it is dropped");
        InvalidateOutcome::Invalidated
    }

    /// Asks where the tenant is, as its API sent the holder of this ticket away (421). The ticket is as good as before.
    pub fn report_moved(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> InvalidateOutcome {
        let inner = &self.0;
        let now = inner.clock.moment();
        let current = inner.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO));
        if current.is_none_or(|entry| entry.ticket.fingerprint != fingerprint) {
            return InvalidateOutcome::NotCurrent;
        }
        if now.wall.duration_since(inner.standings.at_hand(tenant).since).unsigned_abs() < FORCED_LOOKUP_INTERVAL {
            return InvalidateOutcome::TooRecent;
        }
        info!(%tenant, %fingerprint, "a caller reported the tenant as moved");
        self.relocate(tenant);
        InvalidateOutcome::Relocated
    }

    /// Asks SuperOffice at once how and where the tenant is. Its ticket stays; the next answer has the outcome.
    pub fn relocate(&self, tenant: ContextIdentifier) {
        self.0.forget_standing(tenant);
        drop(self.0.look_up(tenant));
    }

    /// Believes for a while that the tenant is in this state, and forgets what it was refused for. The next answer heeds
    /// it; then SuperOffice is asked.
    pub fn note_tenant_state(&self, tenant: ContextIdentifier, state: TenantState) {
        self.0.standings.note(tenant, state);
        self.0.lookups.supersede(tenant);
        self.0.refusals.forget(tenant);
        self.0.watches.touch(tenant);
    }

    /// Drops all that is kept in memory about the tenant, as it was changed or removed. An exchange under way answers
    /// those who wait for it, and is forgotten too.
    pub fn forget(&self, tenant: ContextIdentifier) {
        let inner = &self.0;
        inner.flights.supersede(tenant);
        inner.cache.remove(tenant);
        inner.refusals.forget(tenant);
        inner.failures.forget(tenant);
        inner.schedule.cancel(tenant);
        inner.forget_standing(tenant);
        inner.watches.drop_ticket(tenant);
        inner.warm_soon(tenant);
    }

    /// Drops the refusal remembered against the tenant, and its state, as an operator says that it is all right.
    pub fn pardon(&self, tenant: ContextIdentifier) {
        self.0.refusals.forget(tenant);
        self.0.forget_standing(tenant);
        self.0.watches.touch(tenant);
    }

    /// Drops all that is kept in memory about every tenant: some changed, and it is not known which.
    pub fn forget_all(&self) {
        let inner = &self.0;
        inner.flights.supersede_all();
        inner.cache.clear();
        inner.refusals.clear();
        inner.failures.clear();
        inner.schedule.clear();
        inner.watches.drop_tickets();
        inner.warm_all_soon();
    }

    /// Renews tickets in the background, for ever. A ticket that nobody asked for since its last renewal lapses.
    pub async fn run_renewals(self) {
        let places = Arc::new(Semaphore::new(self.0.settings.renewals_in_flight));
        loop {
            let tenant = self.0.schedule.next_due(&*self.0.clock).await;
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let now = self.0.clock.moment();
            let current = self.0.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO));
            let Some(entry) = current.filter(|entry| entry.was_asked_for()) else {
                // It lapsed unseen where wall time was set or the machine slept.
                self.0.watches.touch(tenant);
                continue;
            };
            let inner = Arc::clone(&self.0);
            let renewal = async move {
                inner.renew(&entry.ticket).await;
                drop(place);
            };
            tokio::spawn(renewal);
        }
    }

    /// What the cache has done since the start.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.0.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            hits: read(&counters.hits),
            misses: read(&counters.misses),
            refusals: read(&counters.refusals),
            exchanges: read(&counters.exchanges),
            keep_alives: read(&counters.keep_alives),
            failed_renewals: read(&counters.failed_renewals),
            displaced: read(&counters.displaced),
            cached: self.0.cache.len() as u64,
        }
    }
}

impl Inner {
    /// A ticket from memory that lives for `enough`.
    fn cached(&self, tenant: ContextIdentifier, enough: Duration) -> Option<Arc<Entry>> {
        let now = self.clock.moment();
        let entry = self.cache.get(tenant).filter(|entry| entry.lives(now, enough))?;
        self.note_use(&entry, now);
        Some(entry)
    }

    fn note_use(&self, entry: &Entry, now: Moment) {
        if entry.note_use() && now.wall >= entry.ticket.refresh_time {
            // Its renewal came and went while nobody asked for it.
            self.schedule.plan_if_absent(entry.ticket.context_identifier, now.wall);
        }
    }

    /// What a call is answered for which a ticket is in memory.
    async fn hit(self: &Arc<Self>, entry: &Entry) -> Result<TicketAnswer, TicketError> {
        let outcome = self.serve(entry).await;
        let (counter, result) = match &outcome {
            Ok(TicketAnswer { refresh_warning: None, .. }) => (&self.counters.hits, measured::HIT),
            Ok(_) => (&self.counters.hits, measured::STALE_HIT),
            Err(_) => (&self.counters.refusals, measured::NEGATIVE),
        };
        count(counter);
        result.note();
        outcome
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
