use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tracing::{Instrument, error_span, info, warn};

use super::exchange::Exchange;
use super::flight::{FlightId, Flights, NoOutcome};
use super::refusals::{Memorable, Refusals};
use super::renewal::Schedule;
use super::ticket_cache::{Entry, TicketCache};
use super::{InvalidateOutcome, RefreshWarning, Settings, SystemTicket, TicketAnswer, TicketError};
use crate::clock::{Clock, Moment};
use crate::crypto::Fingerprint;
use crate::identifiers::ContextIdentifier;
use crate::random::Random;

/// A ticket younger than this is not replaced on a caller's report.
const FORCED_EXCHANGE_INTERVAL: Duration = Duration::from_secs(30);
/// How many loads, renewals included, may be under way at once.
const MOST_LOADS: usize = 10_000;
/// A load is ended after this. Each of its steps has a limit of its own, and they add up to less but for faults of ours.
const LONGEST_LOAD: Duration = Duration::from_mins(1);
/// Between failed renewals of a ticket that is still valid.
const RENEWAL_PAUSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(1));

/// The system user tickets of all tenants. Clones share them.
#[derive(Clone, Debug)]
pub struct SystemTickets(Arc<Inner>);

/// What the cache has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Calls answered with a ticket from memory.
    pub hits: u64,
    /// Calls that waited for an exchange, their own or one under way.
    pub misses: u64,
    /// Calls answered with a remembered refusal.
    pub refusals: u64,
    /// Exchanges begun, renewals included.
    pub exchanges: u64,
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
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    cache: TicketCache,
    flights: Flights<ContextIdentifier, Result<TicketAnswer, TicketError>>,
    refusals: Refusals<ContextIdentifier, TicketError>,
    schedule: Schedule,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    refusals: AtomicU64,
    exchanges: AtomicU64,
    failed_renewals: AtomicU64,
    displaced: AtomicU64,
}

impl SystemTickets {
    /// An empty cache over `exchange`. Renewals need [`Self::run_renewals`].
    pub fn new(settings: Settings, exchange: Exchange, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self(Arc::new(Inner {
            cache: TicketCache::new(settings.capacity, settings.lifetime, Arc::clone(&random)),
            flights: Flights::new(MOST_LOADS),
            refusals: Refusals::new(settings.capacity, Arc::clone(&random)),
            schedule: Schedule::default(),
            counters: Counters::default(),
            settings,
            exchange,
            clock,
            random,
        }))
    }

    /// The tenant's ticket, valid for `min_validity` at least: from memory, or by an exchange that all callers share.
    ///
    /// Dropping the future neither stops nor restarts the exchange.
    pub async fn get(&self, tenant: ContextIdentifier, min_validity: Duration) -> Result<TicketAnswer, TicketError> {
        let inner = &self.0;
        let longest = inner.settings.longest_min_validity();
        if min_validity > longest {
            return Err(TicketError::MinValidityTooLarge { longest });
        }
        let comfortable = min_validity.max(inner.settings.wait_before_expiry);
        if let Some(answer) = inner.cached(tenant, comfortable) {
            count(&inner.counters.hits);
            return Ok(answer);
        }
        // A ticket about to expire still has to do while its renewal pauses or fails.
        let now = inner.clock.moment();
        if let Some(entry) = inner.cache.get(tenant)
            && let Some((left, warning)) = entry.pause(now)
            && entry.lives(now, Duration::ZERO)
        {
            count(&inner.counters.hits);
            let refusal = || warning.error.clone().with_retry_after(left);
            return entry.lives(now, min_validity).then(|| entry.answer()).ok_or_else(refusal);
        }
        if let Some(refusal) = inner.refusals.in_force(tenant, now.elapsed) {
            count(&inner.counters.refusals);
            return Err(refusal);
        }
        count(&inner.counters.misses);
        let outcome = inner.fly(tenant, |entry, now| entry.lives(now, comfortable)).await;
        outcome.or_else(|error| {
            let now = inner.clock.moment();
            let rest = inner.cache.get(tenant).filter(|entry| entry.lives(now, min_validity));
            rest.map(|entry| entry.answer()).ok_or(error)
        })
    }

    /// Drops the ticket that a tenant's API refused, if it is current and not brand-new.
    pub fn invalidate(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> InvalidateOutcome {
        let inner = &self.0;
        let now = inner.clock.moment();
        let current = inner.cache.get(tenant);
        let Some(entry) =
            current.filter(|entry| entry.ticket.fingerprint == fingerprint && entry.lives(now, Duration::ZERO))
        else {
            return InvalidateOutcome::NotCurrent;
        };
        if now.wall.duration_since(entry.ticket.issue_time).unsigned_abs() < FORCED_EXCHANGE_INTERVAL {
            return InvalidateOutcome::TooRecent;
        }
        if !inner.cache.remove_if(tenant, fingerprint) {
            return InvalidateOutcome::NotCurrent;
        }
        inner.schedule.cancel_at(tenant, entry.ticket.refresh_time);
        // The tenant may have moved: the next ticket comes with the address it has then.
        inner.exchange.forget(tenant);
        info!(%tenant, %fingerprint, "a caller reported the ticket as refused; it is dropped");
        InvalidateOutcome::Invalidated
    }

    /// Drops all that is kept in memory about the tenant, as it was changed or removed. An exchange under way answers
    /// those who wait for it, and is forgotten too.
    pub fn forget(&self, tenant: ContextIdentifier) {
        let inner = &self.0;
        inner.flights.supersede(tenant);
        inner.cache.remove(tenant);
        inner.refusals.forget(tenant);
        inner.schedule.cancel(tenant);
        inner.exchange.forget(tenant);
    }

    /// Drops the refusal remembered against the tenant, as an operator says that it is all right.
    pub fn pardon(&self, tenant: ContextIdentifier) {
        self.0.refusals.forget(tenant);
        self.0.exchange.forget(tenant);
    }

    /// Drops all that is kept in memory about every tenant: some changed, and it is not known which.
    pub fn forget_all(&self) {
        let inner = &self.0;
        inner.flights.supersede_all();
        inner.cache.clear();
        inner.refusals.clear();
        inner.schedule.clear();
    }

    /// Renews tickets in the background, for ever. A ticket that nobody asked for since it was issued lapses.
    pub async fn run_renewals(self) {
        let places = Arc::new(Semaphore::new(self.0.settings.renewals_in_flight));
        loop {
            let tenant = self.0.schedule.next_due(&*self.0.clock).await;
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let now = self.0.clock.moment();
            let current = self.0.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO));
            let Some(entry) = current.filter(|entry| entry.was_asked_for()) else { continue };
            let inner = Arc::clone(&self.0);
            let renewal = async move {
                inner.renew(tenant, entry.ticket.fingerprint).await;
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
            failed_renewals: read(&counters.failed_renewals),
            displaced: read(&counters.displaced),
            cached: self.0.cache.len() as u64,
        }
    }
}

impl Inner {
    /// The answer from memory, if its ticket lives for `enough`.
    fn cached(&self, tenant: ContextIdentifier, enough: Duration) -> Option<TicketAnswer> {
        let now = self.clock.moment();
        let entry = self.cache.get(tenant).filter(|entry| entry.lives(now, enough))?;
        if entry.note_use() && now.wall >= entry.ticket.refresh_time {
            // Its renewal came and went while nobody asked for it.
            self.schedule.plan_if_absent(tenant, now.wall);
        }
        Some(entry.answer())
    }

    /// Replaces the ticket with this fingerprint. A failure is noted with the ticket and planned for, unless the load
    /// itself could not begin or broke.
    async fn renew(self: &Arc<Self>, tenant: ContextIdentifier, renewed: Fingerprint) {
        if self.fly(tenant, |entry, _| entry.ticket.fingerprint != renewed).await.is_err() {
            let later = self.clock.now().saturating_add(RENEWAL_PAUSE.1).unwrap_or(Timestamp::MAX);
            self.schedule.plan_if_absent(tenant, later);
        }
    }

    /// Joins the tenant's flight. One that landed a moment ago will do if its ticket `will_do`.
    async fn fly(
        self: &Arc<Self>,
        tenant: ContextIdentifier,
        will_do: impl Fn(&Entry, Moment) -> bool,
    ) -> Result<TicketAnswer, TicketError> {
        let landed = || {
            let now = self.clock.moment();
            let entry = self.cache.get(tenant).filter(|entry| will_do(entry, now));
            entry.map(|entry| Ok(entry.answer())).or_else(|| self.refusals.in_force(tenant, now.elapsed).map(Err))
        };
        let load = |id| Arc::clone(self).load(tenant, id).instrument(error_span!("exchange", %tenant));
        self.flights.join(tenant, landed, load).await.unwrap_or_else(|none| {
            Err(match none {
                NoOutcome::Crashed => TicketError::Internal("the exchange ended without an outcome".into()),
                NoOutcome::TooMany => TicketError::Overloaded,
            })
        })
    }

    async fn load(self: Arc<Self>, tenant: ContextIdentifier, id: FlightId) -> Result<TicketAnswer, TicketError> {
        // The exchange is sent after this: by monotonic time the ticket ends a little early rather than late.
        let end = self.clock.elapsed().saturating_add(self.settings.lifetime);
        match self.exchange_in_time(tenant).await {
            Ok(ticket) => {
                let answer = TicketAnswer { ticket: Arc::new(ticket), refresh_warning: None };
                let displaced = self.flights.commit(tenant, id, || {
                    self.refusals.forget(tenant);
                    self.schedule.plan(tenant, answer.ticket.refresh_time);
                    self.cache.insert(Arc::clone(&answer.ticket), end, self.clock.elapsed())
                });
                if let Some(displaced) = displaced.flatten() {
                    self.note_displaced(&displaced);
                }
                Ok(answer)
            }
            Err(error) => Err(self.flights.commit(tenant, id, || self.note_failure(tenant, &error)).unwrap_or(error)),
        }
    }

    /// An exchange that ends, whatever hangs or panics: its outcome is remembered as any other's.
    async fn exchange_in_time(&self, tenant: ContextIdentifier) -> Result<SystemTicket, TicketError> {
        let exchange = AssertUnwindSafe(self.exchange(tenant)).catch_unwind();
        tokio::select! {
            biased;
            outcome = exchange => outcome.unwrap_or_else(|_| Err(TicketError::Internal("the exchange panicked".into()))),
            () = self.clock.sleep(LONGEST_LOAD) => Err(TicketError::Internal("the exchange did not end".into())),
        }
    }

    async fn exchange(&self, tenant: ContextIdentifier) -> Result<SystemTicket, TicketError> {
        let registered = self.exchange.registered(tenant).await?;
        // A ticket that would be displaced before it is used a second time means an exchange per call.
        self.cache
            .room_for(tenant, self.clock.elapsed())
            .map_err(|retry_after| TicketError::CacheFull { retry_after })?;
        count(&self.counters.exchanges);
        self.exchange.run(&registered).await
    }

    /// Remembers a failed exchange: with the ticket while that is valid, else as a refusal.
    fn note_failure(&self, tenant: ContextIdentifier, error: &TicketError) -> TicketError {
        let now = self.clock.moment();
        let Some(entry) = self.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO)) else {
            return self.refusals.remember(tenant, error.clone(), now.elapsed);
        };
        count(&self.counters.failed_renewals);
        let pause = self.random.between(RENEWAL_PAUSE.0, RENEWAL_PAUSE.1);
        let next_attempt = now.wall.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let failed_attempts = entry.warning.as_ref().map_or(0, |warning| warning.failed_attempts).saturating_add(1);
        let expire_time = entry.ticket.expire_time;
        warn!(%tenant, %error, failed_attempts, %next_attempt, %expire_time, "the renewal failed; the ticket stays valid");
        let warning = RefreshWarning { error: error.clone(), failed_attempts, last_failure: now.wall, next_attempt };
        self.cache.warn(&entry.ticket, warning, now.elapsed.saturating_add(pause));
        self.schedule.plan(tenant, next_attempt);
        error.clone()
    }

    fn note_displaced(&self, displaced: &Entry) {
        if self.counters.displaced.fetch_add(1, Ordering::Relaxed).is_power_of_two() {
            let capacity = self.settings.capacity;
            warn!(capacity, "the ticket cache is full and displaces valid tickets: raise tickets.capacity");
        }
        self.schedule.cancel_at(displaced.ticket.context_identifier, displaced.ticket.refresh_time);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
