use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::kept_forms::KeptForms;
use super::{RefreshWarning, SystemTicket, TicketAnswer, TicketOrigin};
use crate::clock::Moment;
use crate::crypto::Fingerprint;
use crate::identifiers::ContextIdentifier;
use crate::random::Random;
use crate::superoffice::{KnownTenant, Standing};

/// A ticket stays for so long before another may displace it: however many tenants are in use beyond the capacity, no
/// tenant is exchanged more often than this, give or take the exchanges under way when the cache fills.
const LEAST_STAY: Duration = Duration::from_secs(30);
/// How often a ticket to displace is drawn until one has stayed long enough.
const DRAWS: usize = 8;

/// The tickets in memory, one a tenant. Entries never change; a renewal, or its failure, puts another in.
///
/// moka is the map and the backstop that frees what expired by the machine's monotonic clock. Whether a ticket is fresh
/// is judged by [`Entry`] with our own clock. A full cache displaces a ticket at random: whatever order the tenants are
/// asked for in, one tenant too many costs about one exchange a round, where displacing the least recently used costs
/// one a call when the tenants take turns.
pub(super) struct TicketCache {
    tickets: Cache<ContextIdentifier, Arc<Entry>>,
    residents: Arc<Mutex<Residents>>,
    capacity: usize,
    random: Arc<dyn Random>,
}

/// Whose tickets are in memory, and since when by monotonic time.
type Residents = IndexMap<ContextIdentifier, Instant>;

/// A moment of monotonic time in one word, as there are two for each ticket: nanoseconds, which last for 584 years.
#[derive(Clone, Copy, Debug)]
struct Instant(u64);

/// A ticket with what is known of its renewal.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ticket: Arc<SystemTicket>,
    /// How its tenant stands.
    pub(super) standing: Arc<Standing>,
    /// Present when its last renewal failed.
    trouble: Option<Box<Trouble>>,
    pub(super) forms: KeptForms,
    /// When the ticket ends by monotonic time: a wall clock that is set back makes no ticket live longer.
    end: Instant,
    asked_for: AtomicBool,
}

/// A renewal that failed.
#[derive(Debug)]
struct Trouble {
    warning: Arc<RefreshWarning>,
    /// Before this, by monotonic time, the next renewal is not tried.
    retry: Duration,
}

impl TicketCache {
    /// `lifetime` is a ticket's life, `capacity` how many tickets are kept.
    pub(super) fn new(capacity: u64, lifetime: Duration, random: Arc<dyn Random>) -> Self {
        let residents = Arc::new(Mutex::new(Residents::new()));
        let leaving = Arc::clone(&residents);
        let tickets = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(lifetime)
            .eviction_listener(move |tenant, _, cause| {
                if cause != RemovalCause::Replaced {
                    lock(&leaving).swap_remove(&*tenant);
                }
            })
            .build();
        Self { tickets, residents, capacity: usize::try_from(capacity).unwrap_or(usize::MAX), random }
    }

    pub(super) fn get(&self, tenant: ContextIdentifier) -> Option<Arc<Entry>> {
        self.tickets.get(&tenant)
    }

    /// Whether a ticket of the tenant finds a place. If not, in how long it makes sense to look again.
    pub(super) fn room_for(&self, tenant: ContextIdentifier, elapsed: Duration) -> Result<(), Duration> {
        match self.victim_for(tenant, &lock(&self.residents), elapsed) {
            Some((_, left)) if !left.is_zero() => Err(left),
            _ => Ok(()),
        }
    }

    /// Puts a ticket in that ends by monotonic time at `end`, too. Answers what it displaced from a full cache.
    pub(super) fn insert(
        &self,
        ticket: Arc<SystemTicket>,
        standing: Arc<Standing>,
        end: Duration,
        elapsed: Duration,
    ) -> Option<Arc<Entry>> {
        let tenant = ticket.context_identifier;
        let victim = self.victim_for(tenant, &lock(&self.residents), elapsed);
        // The resident list is unlocked here, as moka calls the eviction listener on this thread.
        let displaced = victim.and_then(|(victim, _)| self.tickets.remove(&victim));
        self.tickets.insert(tenant, Arc::new(Entry::new(ticket, standing, end)));
        // Afterwards: where an expired entry is replaced, the listener strikes the tenant off.
        lock(&self.residents).insert(tenant, elapsed.into());
        displaced
    }

    /// Gives `ticket` another life, which ends at `end` by monotonic time, if it still is the tenant's. One that was
    /// dropped meanwhile stays so.
    pub(super) fn prolong(&self, ticket: Arc<SystemTicket>, end: Duration) -> bool {
        let outcome = self.tickets.entry(ticket.context_identifier).and_compute_with(|current| match current {
            Some(entry) if entry.value().ticket.fingerprint == ticket.fingerprint => {
                Op::Put(Arc::new(Entry::new(ticket, Arc::clone(&entry.value().standing), end)))
            }
            _ => Op::Nop,
        });
        matches!(outcome, CompResult::ReplacedWith(_))
    }

    /// Notes that the renewal of `ticket` failed and is tried again at `retry` by monotonic time, unless another ticket
    /// took its place meanwhile.
    pub(super) fn warn(&self, ticket: &SystemTicket, warning: RefreshWarning, retry: Duration) {
        self.tickets.entry(ticket.context_identifier).and_compute_with(|current| match current {
            Some(entry) if entry.value().ticket.fingerprint == ticket.fingerprint => {
                let entry = entry.into_value();
                Op::Put(Arc::new(Entry {
                    ticket: Arc::clone(&entry.ticket),
                    standing: Arc::clone(&entry.standing),
                    trouble: Some(Box::new(Trouble { warning: Arc::new(warning), retry })),
                    forms: KeptForms::default(),
                    end: entry.end,
                    asked_for: AtomicBool::new(entry.was_asked_for()),
                }))
            }
            _ => Op::Nop,
        });
    }

    /// Drops the tenant's ticket if it still is the one with this fingerprint.
    pub(super) fn remove_if(&self, tenant: ContextIdentifier, fingerprint: Fingerprint) -> bool {
        let outcome = self.tickets.entry(tenant).and_compute_with(|current| match current {
            Some(entry) if entry.value().ticket.fingerprint == fingerprint => Op::Remove,
            _ => Op::Nop,
        });
        matches!(outcome, CompResult::Removed(_))
    }

    pub(super) fn remove(&self, tenant: ContextIdentifier) {
        self.tickets.invalidate(&tenant);
    }

    pub(super) fn clear(&self) {
        self.tickets.invalidate_all();
        lock(&self.residents).clear();
    }

    /// What each ticket has left of its life that somebody asked for since its last renewal. The others lapse.
    pub(super) fn remaining_in_use(&self, now: Moment) -> Vec<Duration> {
        let in_use = self.tickets.iter().filter(|(_, entry)| entry.was_asked_for() && entry.lives(now, Duration::ZERO));
        in_use.map(|(_, entry)| entry.remaining(now)).collect()
    }

    /// How many tickets are in memory.
    pub(super) fn len(&self) -> usize {
        lock(&self.residents).len()
    }

    /// Whose ticket is displaced by one of the tenant, if any has to be, and how long that one should still stay.
    fn victim_for(
        &self,
        tenant: ContextIdentifier,
        residents: &Residents,
        elapsed: Duration,
    ) -> Option<(ContextIdentifier, Duration)> {
        if residents.len() < self.capacity || residents.contains_key(&tenant) {
            return None;
        }
        let mut best: Option<(ContextIdentifier, Duration)> = None;
        for _ in 0..DRAWS {
            let (victim, since) = self.draw(residents)?;
            let left = LEAST_STAY.saturating_sub(elapsed.saturating_sub(since));
            if best.is_none_or(|(_, least)| left < least) {
                best = Some((victim, left));
            }
            if left.is_zero() {
                break;
            }
        }
        best
    }

    fn draw(&self, residents: &Residents) -> Option<(ContextIdentifier, Duration)> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index below the length, drawn by a fraction below one: a rounded draw is as good"
        )]
        let index = (residents.len() as f64 * self.random.fraction()) as usize;
        residents.get_index(index).or_else(|| residents.first()).map(|(tenant, since)| (*tenant, since.elapsed()))
    }
}

impl fmt::Debug for TicketCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TicketCache").field("tickets", &self.len()).finish_non_exhaustive()
    }
}

impl Entry {
    fn new(ticket: Arc<SystemTicket>, standing: Arc<Standing>, end: Duration) -> Self {
        let (forms, asked_for) = (KeptForms::default(), AtomicBool::new(false));
        Self { ticket, standing, trouble: None, forms, end: end.into(), asked_for }
    }

    /// Whether SuperOffice must still take the ticket for `remaining` from `now` on, by either clock.
    pub(super) fn lives(&self, now: Moment, remaining: Duration) -> bool {
        let left = self.remaining(now);
        !left.is_zero() && left >= remaining
    }

    /// What is left of its life, by the clock that is ahead.
    fn remaining(&self, now: Moment) -> Duration {
        let left = Duration::try_from(self.ticket.expire_time.duration_since(now.wall)).unwrap_or_default();
        left.min(self.end.elapsed().saturating_sub(now.elapsed))
    }

    /// Present when its last renewal failed.
    pub(super) fn warning(&self) -> Option<&Arc<RefreshWarning>> {
        self.trouble.as_ref().map(|trouble| &trouble.warning)
    }

    /// How long a failed renewal asks to wait before the next, and what it failed with.
    pub(super) fn pause(&self, now: Moment) -> Option<(Duration, &RefreshWarning)> {
        let Trouble { warning, retry } = self.trouble.as_deref()?;
        let left = retry.saturating_sub(now.elapsed);
        (!left.is_zero()).then_some((left, &**warning))
    }

    /// Notes a use of the ticket. Answers whether it is the first since the ticket was issued or kept alive.
    pub(super) fn note_use(&self) -> bool {
        // Reading first keeps the cache line shared between the cores that serve the same tenant.
        !self.asked_for.load(Ordering::Relaxed) && !self.asked_for.swap(true, Ordering::Relaxed)
    }

    /// Whether anybody asked for the ticket since it was issued or kept alive.
    pub(super) fn was_asked_for(&self) -> bool {
        self.asked_for.load(Ordering::Relaxed)
    }

    pub(super) fn answer(&self, tenant: Arc<KnownTenant>) -> TicketAnswer {
        TicketAnswer {
            ticket: Arc::clone(&self.ticket),
            origin: TicketOrigin::Cache,
            tenant,
            refresh_warning: self.warning().cloned(),
        }
    }
}

impl From<Duration> for Instant {
    fn from(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Instant {
    /// As the clock tells it.
    fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// No code panics while it holds the lock.
fn lock(residents: &Mutex<Residents>) -> MutexGuard<'_, Residents> {
    residents.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::credentials::TicketError;
    use crate::crypto::KeptAuditName;
    use crate::identifiers::Ticket;
    use crate::random::SeededRandom;

    fn cache(capacity: u64) -> TicketCache {
        TicketCache::new(capacity, Duration::from_hours(6), Arc::new(SeededRandom::new(3)))
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn fingerprint(number: u128) -> Fingerprint {
        format!("{number:032x}").parse().unwrap()
    }

    fn ticket(tenant: u32, number: u128) -> Arc<SystemTicket> {
        Arc::new(SystemTicket {
            context_identifier: format!("Cust{tenant}").parse().unwrap(),
            ticket: Ticket::new(format!("7T:{number}")),
            fingerprint: fingerprint(number),
            issued_for: fingerprint(0),
            issue_time: second(0),
            expire_time: second(100),
            refresh_time: second(50),
            webapi_url: None,
            netserver_url: None,
            audit_name: KeptAuditName::default(),
        })
    }

    fn standing() -> Arc<Standing> {
        Arc::new(Standing::new("Cust1".parse().unwrap(), second(0)))
    }

    fn warning() -> RefreshWarning {
        RefreshWarning {
            error: TicketError::ClockSkew { retry_after: Duration::ZERO },
            failed_attempts: 1,
            last_failure: second(51),
            next_attempt: second(60),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(wall: i64, elapsed: u64) -> Moment {
        Moment { wall: second(wall), elapsed: seconds(elapsed) }
    }

    #[test]
    fn freshness_is_judged_to_the_second_by_the_clock_that_is_ahead() {
        let cache = cache(1);
        cache.insert(ticket(1, 1), standing(), seconds(1_100), seconds(1_000));
        cache.warn(&ticket(1, 1), warning(), seconds(1_060));
        let entry = cache.get(ticket(1, 1).context_identifier).unwrap();
        assert!(entry.lives(at(0, 1_000), seconds(100)));
        assert!(!entry.lives(at(1, 1_000), seconds(100)) && !entry.lives(at(0, 1_001), seconds(100)));
        assert!(entry.lives(at(99, 1_099), Duration::ZERO));
        assert!(!entry.lives(at(100, 1_000), Duration::ZERO), "the machine slept");
        assert!(!entry.lives(at(-3_600, 1_100), Duration::ZERO), "the wall clock was set back");
        assert_eq!(entry.pause(at(-3_600, 1_059)).map(|(left, _)| left), Some(seconds(1)));
        assert!(entry.pause(at(-3_600, 1_060)).is_none());
    }

    #[test]
    fn one_tenant_too_many_displaces_about_one_ticket_a_round() {
        let (capacity, rounds) = (100, 50);
        let cache = cache(capacity);
        let mut loads = 0;
        for round in 0..rounds {
            // Half a minute a round: every ticket has stayed long enough.
            let now = seconds(30 * round);
            for tenant in 0..=u32::try_from(capacity).unwrap() {
                let ticket = ticket(tenant, u128::from(tenant));
                if cache.get(ticket.context_identifier).is_none() {
                    cache.insert(ticket, standing(), seconds(1_000_000), now);
                    loads += 1;
                }
            }
        }
        assert_eq!(cache.len() as u64, capacity);
        assert!(loads < capacity + 5 * rounds, "{loads} loads in {rounds} rounds");
    }

    #[test]
    fn a_full_cache_has_no_room_until_a_ticket_has_stayed_for_half_a_minute() {
        let cache = cache(2);
        let newcomer = ticket(3, 3).context_identifier;
        for tenant in 1..=2 {
            assert_eq!(cache.room_for(newcomer, seconds(0)), Ok(()));
            cache.insert(ticket(tenant, 1), standing(), seconds(100), seconds(0));
        }
        assert_eq!(cache.room_for(newcomer, seconds(10)), Err(seconds(20)));
        assert_eq!(cache.room_for(ticket(1, 1).context_identifier, seconds(10)), Ok(()));
        assert_eq!(cache.room_for(newcomer, seconds(29)), Err(seconds(1)));
        assert_eq!(cache.room_for(newcomer, seconds(30)), Ok(()));
    }

    #[test]
    fn a_warning_goes_to_the_ticket_it_is_about_and_keeps_its_use() {
        let cache = cache(10);
        let first = ticket(1, 1);
        cache.insert(Arc::clone(&first), standing(), seconds(100), seconds(0));
        assert!(cache.get(first.context_identifier).unwrap().note_use());
        cache.warn(&first, warning(), seconds(60));
        let entry = cache.get(first.context_identifier).unwrap();
        assert!(entry.warning().is_some() && entry.was_asked_for() && !entry.note_use());
        cache.insert(ticket(1, 2), standing(), seconds(100), seconds(0));
        cache.warn(&first, warning(), seconds(60));
        assert!(cache.get(first.context_identifier).unwrap().warning().is_none());
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_keep_alive_gives_its_ticket_another_life_and_no_dropped_one() {
        let cache = cache(10);
        let first = ticket(1, 1);
        let prolonged = || Arc::new(SystemTicket { expire_time: second(200), ..(*first).clone() });
        assert!(!cache.prolong(prolonged(), seconds(200)), "it is not there");
        cache.insert(Arc::clone(&first), standing(), seconds(100), seconds(0));
        cache.get(first.context_identifier).unwrap().note_use();
        cache.warn(&first, warning(), seconds(60));
        assert!(cache.prolong(prolonged(), seconds(200)));
        let entry = cache.get(first.context_identifier).unwrap();
        assert!(entry.lives(at(199, 199), Duration::ZERO) && entry.warning().is_none() && !entry.was_asked_for());
        assert!(!entry.lives(at(199, 200), Duration::ZERO) && !entry.lives(at(200, 199), Duration::ZERO));
        cache.insert(ticket(1, 2), standing(), seconds(100), seconds(0));
        assert!(!cache.prolong(prolonged(), seconds(200)), "another one is there");
        assert_eq!(cache.get(first.context_identifier).unwrap().ticket.fingerprint, fingerprint(2));
        assert!(cache.remove_if(first.context_identifier, fingerprint(2)));
        assert!(!cache.prolong(prolonged(), seconds(200)) && cache.get(first.context_identifier).is_none());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn removal_compares_the_fingerprint() {
        let cache = cache(10);
        let tenant = ticket(1, 1).context_identifier;
        cache.insert(ticket(1, 1), standing(), seconds(100), seconds(0));
        assert!(!cache.remove_if(tenant, fingerprint(2)));
        assert!(cache.get(tenant).is_some());
        assert!(cache.remove_if(tenant, fingerprint(1)));
        assert!(!cache.remove_if(tenant, fingerprint(1)));
        assert_eq!(cache.len(), 0);
    }
    #[test]
    fn the_list_of_residents_follows_the_tickets_after_a_clear() {
        let cache = cache(10);
        (0..10).for_each(|tenant| drop(cache.insert(ticket(tenant, 1), standing(), seconds(100), seconds(0))));
        cache.clear();
        (0..10).for_each(|tenant| drop(cache.insert(ticket(tenant, 1), standing(), seconds(100), seconds(0))));
        assert_eq!(cache.len(), 10);
    }
}
