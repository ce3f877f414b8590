mod entry;
mod instant;
mod residents;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

pub(super) use self::entry::Entry;
use self::residents::Residents;
use super::{RefreshWarning, SystemTicket};
use crate::clock::Moment;
use crate::crypto::Fingerprint;
use crate::identifiers::ContextIdentifier;
use crate::random::Random;
use crate::superoffice::Standing;

/// The tickets in memory, one a tenant. Entries never change; a renewal, or its failure, puts another in.
///
/// moka is the map and the backstop that frees what expired by the machine's monotonic clock. Whether a ticket is fresh
/// is judged by [`Entry`] with our own clock. A full cache displaces a ticket at random: whatever order the tenants are
/// asked for in, one tenant too many costs about one exchange a round, where displacing the least recently used costs
/// one a call when the tenants take turns.
pub(super) struct TicketCache {
    tickets: Cache<ContextIdentifier, Arc<Entry>>,
    residents: Arc<Residents>,
}

impl TicketCache {
    /// `lifetime` is a ticket's life, `capacity` how many tickets are kept.
    pub(super) fn new(capacity: u64, lifetime: Duration, random: Arc<dyn Random>) -> Self {
        let residents = Arc::new(Residents::new(usize::try_from(capacity).unwrap_or(usize::MAX), random));
        let leaving = Arc::clone(&residents);
        let tickets = Cache::builder()
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(lifetime)
            .eviction_listener(move |tenant, _, cause| {
                if cause != RemovalCause::Replaced {
                    leaving.strike(*tenant);
                }
            })
            .build();
        Self { tickets, residents }
    }

    pub(super) fn get(&self, tenant: ContextIdentifier) -> Option<Arc<Entry>> {
        self.tickets.get(&tenant)
    }

    /// Whether a ticket of the tenant finds a place. If not, in how long it makes sense to look again.
    pub(super) fn room_for(&self, tenant: ContextIdentifier, elapsed: Duration) -> Result<(), Duration> {
        match self.residents.victim_for(tenant, elapsed) {
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
        let victim = self.residents.victim_for(tenant, elapsed);
        let displaced = victim.and_then(|(victim, _)| self.tickets.remove(&victim));
        self.tickets.insert(tenant, Arc::new(Entry::new(ticket, standing, end)));
        // Afterwards: where an expired entry is replaced, the listener strikes the tenant off.
        self.residents.admit(tenant, elapsed);
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
                Op::Put(Arc::new(entry.value().warned(warning, retry)))
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
        self.residents.clear();
    }

    /// What each ticket has left of its life that somebody asked for since its last renewal. The others lapse.
    pub(super) fn remaining_in_use(&self, now: Moment) -> Vec<Duration> {
        let in_use = self.tickets.iter().filter(|(_, entry)| entry.was_asked_for() && entry.lives(now, Duration::ZERO));
        in_use.map(|(_, entry)| entry.remaining(now)).collect()
    }

    /// How many tickets are in memory.
    pub(super) fn len(&self) -> usize {
        self.residents.len()
    }
}

impl fmt::Debug for TicketCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TicketCache").field("tickets", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
