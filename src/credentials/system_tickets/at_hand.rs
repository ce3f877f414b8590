use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{SystemTickets, count, measured};
use crate::credentials::ticket_cache::Entry;
use crate::credentials::{SystemTicket, TicketAnswer};
use crate::identifiers::{ClientSecret, ContextIdentifier};
use crate::superoffice::{Freshness, TenantStatus};

/// A ticket in memory that can be handed out without waiting for anything.
#[derive(Debug)]
pub struct TicketAtHand {
    entry: Arc<Entry>,
    tenant: Arc<TenantStatus>,
}

impl SystemTickets {
    /// What [`get`](Self::get) would answer from memory without waiting. Whatever else it would do, refusing included, is
    /// left to it.
    pub fn at_hand(&self, tenant: ContextIdentifier, min_validity: Duration) -> Option<TicketAtHand> {
        let inner = &self.0;
        if min_validity > inner.settings.longest_min_validity() {
            return None;
        }
        let entry = inner.cached(tenant, min_validity.max(inner.settings.wait_before_expiry))?;
        let known = inner.standings.at_hand(tenant);
        match known.freshness {
            Freshness::Fresh => {}
            Freshness::Due => drop(inner.look_up(tenant)),
            Freshness::Lapsed => return None,
        }
        inner.standings.check(&known.status).ok()?;
        Some(TicketAtHand { entry, tenant: known.status })
    }

    /// Counts a call that is answered with a ticket at hand.
    pub fn note_hit(&self, ticket: &TicketAtHand) {
        count(&self.0.counters.hits);
        if ticket.entry.warning.is_none() { measured::HIT } else { measured::STALE_HIT }.note();
    }
}

impl TicketAtHand {
    /// The ticket.
    pub fn ticket(&self) -> &SystemTicket {
        &self.entry.ticket
    }

    /// The answer, encoded: with this client secret in it or, for those who may not have that, without. `encode` is asked
    /// once for each that it depends on.
    pub fn encoded(&self, secret: Option<&Arc<ClientSecret>>, encode: impl FnOnce(&TicketAnswer) -> Bytes) -> Bytes {
        self.entry.forms.get(&self.tenant, secret, || encode(&self.entry.answer(Arc::clone(&self.tenant))))
    }
}
