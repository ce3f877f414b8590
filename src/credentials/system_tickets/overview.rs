use std::sync::Arc;
use std::time::Duration;

use super::SystemTickets;
use crate::credentials::{LastFailure, TicketOverview};
use crate::identifiers::ContextIdentifier;
use crate::superoffice::{Freshness, KnownTenant};

impl SystemTickets {
    /// The tenant's ticket that is in memory, if one is.
    pub fn overview(&self, tenant: ContextIdentifier) -> Option<TicketOverview> {
        let inner = &self.0;
        let entry = inner.cache.get(tenant).filter(|entry| entry.lives(inner.clock.moment(), Duration::ZERO))?;
        let ticket = &entry.ticket;
        // One that is under way is off the plan.
        let renewal = inner.schedule.due(tenant).unwrap_or(ticket.refresh_time);
        Some(TicketOverview {
            fingerprint: ticket.fingerprint,
            issue_time: ticket.issue_time,
            proven_time: ticket.expire_time.saturating_sub(inner.settings.lifetime).unwrap_or(ticket.issue_time),
            expire_time: ticket.expire_time,
            next_renewal: entry.was_asked_for().then_some(renewal),
        })
    }

    /// What the tenant's last load failed with, if one did in the last day.
    pub fn last_failure(&self, tenant: ContextIdentifier) -> Option<LastFailure> {
        self.0.failures.last(tenant)
    }

    /// The tenants whose last load failed, the latest first: up to `limit` of them, and the number of all.
    pub fn failing(&self, limit: usize) -> (Vec<(ContextIdentifier, LastFailure)>, usize) {
        self.0.failures.current(limit)
    }

    /// How the tenant stands at SuperOffice, as far as that was asked, and how far that counts by now.
    pub fn standing(&self, tenant: ContextIdentifier) -> (Arc<KnownTenant>, Freshness) {
        let known = self.0.standings.at_hand(tenant);
        let freshness = known.freshness(self.0.clock.now());
        (known, freshness)
    }
}
