use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tracing::{Instrument, error_span, info, warn};

use super::measured::{self, CallResult, Waiting};
use super::{Inner, count};
use crate::clock::Moment;
use crate::credentials::fleet::Turn;
use crate::credentials::flight::{FlightId, NoOutcome};
use crate::credentials::keep_alive::Used;
use crate::credentials::ticket_cache::Entry;
use crate::credentials::{RefreshWarning, Renewal, SystemTicket, TicketAnswer, TicketError, TicketOrigin};
use crate::identifiers::ContextIdentifier;
use crate::metrics;
use crate::store::Tenant;

/// When the next renewal is tried where a load could not begin, or broke.
const BROKEN_LOAD_PAUSE: Duration = Duration::from_mins(1);

/// A ticket, and how it came.
type Loaded = (Arc<SystemTicket>, TicketOrigin);

impl Inner {
    /// Renews the ticket. A failure is noted with the ticket and planned for, unless the load itself could not begin or
    /// broke.
    pub(super) async fn renew(self: &Arc<Self>, ticket: &Arc<SystemTicket>) {
        let tenant = ticket.context_identifier;
        if self.fly(tenant, |entry, _| !Arc::ptr_eq(&entry.ticket, ticket)).await.0.is_err() {
            let later = self.clock.now().saturating_add(BROKEN_LOAD_PAUSE).unwrap_or(Timestamp::MAX);
            self.schedule.plan_if_absent(tenant, later);
        }
    }

    /// Joins the tenant's flight, and answers whether it was begun here. One that landed a moment ago will do if its ticket
    /// `will_do`.
    pub(super) async fn fly(
        self: &Arc<Self>,
        tenant: ContextIdentifier,
        will_do: impl Fn(&Entry, Moment) -> bool,
    ) -> (Result<TicketAnswer, TicketError>, CallResult) {
        let landed = || {
            let now = self.clock.moment();
            let entry = self.cache.get(tenant).filter(|entry| will_do(entry, now));
            let answer = entry.map(|entry| Ok(entry.answer(entry.standing.known())));
            answer.or_else(|| self.refusals.in_force(tenant, now.elapsed).map(Err))
        };
        let mut part = measured::JOINED;
        let load = |id| {
            part = measured::MISS;
            Arc::clone(self).load(tenant, id).instrument(error_span!("load", %tenant))
        };
        let flight = self.flights.join(tenant, landed, load);
        let _waiting = Waiting::begin(&self.waiters);
        let outcome = flight.await.unwrap_or_else(|none| {
            Err(match none {
                NoOutcome::Crashed => TicketError::Internal("the load ended without an outcome".into()),
                NoOutcome::TooMany => TicketError::Overloaded,
            })
        });
        (outcome, part)
    }

    async fn load(self: Arc<Self>, tenant: ContextIdentifier, id: FlightId) -> Result<TicketAnswer, TicketError> {
        let outcome = self.load_in_time(tenant, id).await;
        let outcome = outcome
            .map_err(|error| self.flights.commit(tenant, id, || self.note_failure(tenant, &error)).unwrap_or(error));
        // Without a ticket there is nothing to tell but what whoever asked is told, and asking again begins another load.
        if self.cache.get(tenant).is_some_and(|entry| entry.lives(self.clock.moment(), Duration::ZERO)) {
            self.watches.touch(tenant);
        }
        outcome
    }

    /// A load that ends, whatever hangs or panics: its outcome is remembered as any other's. But for faults of ours it ends
    /// by itself before its limit.
    async fn load_in_time(&self, tenant: ContextIdentifier, id: FlightId) -> Result<TicketAnswer, TicketError> {
        let load = AssertUnwindSafe(self.in_turn(tenant, id)).catch_unwind();
        let (ticket, origin) = tokio::select! {
            biased;
            outcome = load => outcome.unwrap_or_else(|_| Err(TicketError::Internal("the load panicked".into()))),
            () = self.clock.sleep(self.exchange.longest_load()) => Err(TicketError::Internal("the load did not end".into())),
        }?;
        Ok(TicketAnswer { ticket, origin, tenant: self.standings.at_hand(tenant), refresh_warning: None })
    }

    /// Gets the tenant's ticket from another process, or gets it for all of them.
    async fn in_turn(&self, tenant: ContextIdentifier, id: FlightId) -> Result<Loaded, TicketError> {
        let now = self.clock.moment();
        let current = self.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO));
        let (lease, may_exchange) = match self.fleet.turn(tenant, current.as_ref().map(|entry| &*entry.ticket)).await {
            Ok(Turn::Done(ticket)) => return Ok((self.adopt(Arc::new(ticket), id)?, TicketOrigin::Shared)),
            Ok(Turn::Alone) => (None, Ok(None)),
            Ok(Turn::Leased(lease, registered)) => (Some(lease), Ok(Some(registered))),
            // A keep-alive writes no row: several processes may try. An exchange is another's turn as well as ours, also
            // if the store can be read again by then.
            Err(error @ TicketError::StoreUnavailable { .. }) if current.is_some() => (None, Err(error)),
            Err(error) => return Err(error),
        };
        let loaded = self.prolong_or_exchange(tenant, id, may_exchange).await?;
        if let Some(lease) = lease {
            self.fleet.publish(lease, &loaded.0).await;
        }
        Ok(loaded)
    }

    /// Keeps a ticket that another process got or kept alive.
    fn adopt(&self, ticket: Arc<SystemTicket>, id: FlightId) -> Result<Arc<SystemTicket>, TicketError> {
        self.check_room(ticket.context_identifier)?;
        let now = self.clock.moment();
        let left = Duration::try_from(ticket.expire_time.duration_since(now.wall)).unwrap_or_default();
        self.keep(&ticket, now.elapsed.saturating_add(left), id);
        Ok(ticket)
    }

    /// Gives the tenant's ticket another life, or else gets another one.
    ///
    /// A caller that wants a longer life than the ticket has left comes here too, and a keep-alive costs SuperOffice
    /// less than an exchange. A tenant whose API fails keeps the ticket that it has, but for the last minutes: the
    /// outage of a tenant host must not make a fleet write rows. `may_exchange` has the tenant, if it was just found.
    async fn prolong_or_exchange(
        &self,
        tenant: ContextIdentifier,
        id: FlightId,
        may_exchange: Result<Option<Tenant>, TicketError>,
    ) -> Result<Loaded, TicketError> {
        let now = self.clock.moment();
        let current = self.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO));
        let current = current.filter(|_| self.settings.renewal == Renewal::KeepAlive);
        // A keep-alive may take so long that the tenant is another by then.
        let is_found = current.is_none();
        if let Some(entry) = current {
            match self.keep_alive.use_once(&entry.ticket).await {
                Ok(Used::Taken(sent)) => {
                    if let Some(prolonged) = self.prolong(&entry.ticket, id, sent) {
                        return Ok((prolonged, TicketOrigin::KeepAlive));
                    }
                }
                Ok(Used::Refused | Used::Nowhere) => {}
                Err(error) if self.can_wait(&entry, id) => return Err(error),
                Err(error) => {
                    info!(%error, "the ticket cannot be kept alive, and was dropped meanwhile or expires soon");
                    // Its API may fail because it no longer runs, and then no exchange is wanted.
                    self.standings.forget(tenant);
                }
            }
        }
        let registered = may_exchange?.filter(|_| is_found);
        Ok((self.exchange(tenant, id, registered).await?, TicketOrigin::Exchange))
    }

    /// Whether the ticket still does until its next renewal. One that was dropped meanwhile does for nobody, whatever life
    /// it has left; whoever waits for a flight that was superseded is told what it failed with.
    fn can_wait(&self, entry: &Entry, id: FlightId) -> bool {
        let (tenant, fingerprint) = (entry.ticket.context_identifier, entry.ticket.fingerprint);
        let is_current = || self.cache.get(tenant).is_some_and(|current| current.ticket.fingerprint == fingerprint);
        self.flights.commit(tenant, id, is_current).unwrap_or(true)
            && entry.lives(self.clock.moment(), self.settings.last_resort())
    }

    /// The ticket with another life, counted from when its use was `sent`; nothing if it was dropped meanwhile.
    fn prolong(&self, ticket: &SystemTicket, id: FlightId, sent: Moment) -> Option<Arc<SystemTicket>> {
        let tenant = ticket.context_identifier;
        let (expire_time, refresh_time) = self.settings.times_of(sent.wall, &*self.random);
        let prolonged = Arc::new(SystemTicket { expire_time, refresh_time, ..ticket.clone() });
        let end = sent.elapsed.saturating_add(self.settings.lifetime);
        let is_current = self.flights.commit(tenant, id, || {
            let is_current = self.cache.prolong(Arc::clone(&prolonged), end);
            if is_current {
                self.failures.end(tenant);
                self.schedule.plan(tenant, refresh_time);
            }
            is_current
        });
        // Whoever waits for a flight that was superseded asked before that, and is answered.
        if !is_current.unwrap_or(true) {
            return None;
        }
        count(&self.counters.keep_alives);
        Some(prolonged)
    }

    async fn exchange(
        &self,
        tenant: ContextIdentifier,
        id: FlightId,
        registered: Option<Tenant>,
    ) -> Result<Arc<SystemTicket>, TicketError> {
        let registered = match registered {
            Some(registered) => registered,
            None => self.exchange.registered(tenant).await?,
        };
        self.exchange.check_circuit()?;
        self.check_room(tenant)?;
        count(&self.counters.exchanges);
        // The exchange is sent after this: by monotonic time the ticket ends a little early rather than late.
        let end = self.clock.elapsed().saturating_add(self.settings.lifetime);
        let ticket = Arc::new(self.exchange.run(&registered).await?);
        self.keep(&ticket, end, id);
        Ok(ticket)
    }

    /// A ticket that would be displaced before it is used a second time means an exchange per call.
    fn check_room(&self, tenant: ContextIdentifier) -> Result<(), TicketError> {
        let room = self.cache.room_for(tenant, self.clock.elapsed());
        room.map_err(|retry_after| TicketError::CacheFull { retry_after })
    }

    /// Keeps a ticket, which ends by monotonic time at `end`, in memory.
    fn keep(&self, ticket: &Arc<SystemTicket>, end: Duration, id: FlightId) {
        let tenant = ticket.context_identifier;
        let standing = self.standings.of(tenant);
        let displaced = self.flights.commit(tenant, id, || {
            self.refusals.forget(tenant);
            self.failures.end(tenant);
            self.schedule.plan(tenant, ticket.refresh_time);
            self.cache.insert(Arc::clone(ticket), standing, end, self.clock.elapsed())
        });
        if let Some(displaced) = displaced.flatten() {
            self.note_displaced(&displaced);
        }
    }

    /// Remembers a failed load: with the ticket while that is valid, else as a refusal.
    fn note_failure(&self, tenant: ContextIdentifier, error: &TicketError) -> TicketError {
        let now = self.clock.moment();
        self.failures.note(tenant, error, now.wall);
        let Some(entry) = self.cache.get(tenant).filter(|entry| entry.lives(now, Duration::ZERO)) else {
            return self.refusals.remember(tenant, error.clone(), now.elapsed);
        };
        count(&self.counters.failed_renewals);
        metrics::REFRESH_FAILURES.count(&[error.kind()]);
        let pause = self.settings.renewal_pause(&*self.random);
        let next_attempt = now.wall.saturating_add(pause).unwrap_or(Timestamp::MAX);
        let failed_attempts = entry.warning().map_or(0, |warning| warning.failed_attempts).saturating_add(1);
        let expire_time = entry.ticket.expire_time;
        warn!(%tenant, %error, failed_attempts, %next_attempt, %expire_time, "the renewal failed; the ticket stays valid");
        let warning = RefreshWarning { error: error.clone(), failed_attempts, last_failure: now.wall, next_attempt };
        self.cache.warn(&entry.ticket, warning, now.elapsed.saturating_add(pause));
        self.schedule.plan(tenant, next_attempt);
        error.clone()
    }

    fn note_displaced(&self, displaced: &Entry) {
        metrics::TICKETS_DISPLACED.count(&[]);
        if self.counters.displaced.fetch_add(1, Ordering::Relaxed).is_power_of_two() {
            let capacity = self.settings.capacity;
            warn!(capacity, "the ticket cache is full and displaces valid tickets: raise tickets.capacity");
        }
        self.schedule.cancel_at(displaced.ticket.context_identifier, displaced.ticket.refresh_time);
    }
}
