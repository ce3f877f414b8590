use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{SystemTickets, count, measured};
use crate::clock::Moment;
use crate::credentials::ticket_cache::Entry;
use crate::credentials::{SystemTicket, TicketAnswer};
use crate::identifiers::{ClientSecret, ContextIdentifier};
use crate::superoffice::{Freshness, KnownTenant};

/// A ticket in memory that can be handed out without waiting for anything.
#[derive(Debug)]
pub struct TicketAtHand {
    entry: Arc<Entry>,
    tenant: Arc<KnownTenant>,
    /// Whether asking for the tenant's state is.
    is_due: bool,
    now: Moment,
}

impl SystemTickets {
    /// What [`get`](Self::get) would answer from memory without waiting. Whatever else it would do, refusing included, is
    /// left to it.
    pub fn at_hand(&self, tenant: ContextIdentifier, min_validity: Duration) -> Option<TicketAtHand> {
        let inner = &self.0;
        if min_validity > inner.settings.longest_min_validity() {
            return None;
        }
        let enough = min_validity.max(inner.settings.wait_before_expiry);
        let now = inner.clock.moment();
        let entry = inner.cache.get(tenant).filter(|entry| entry.lives(now, enough))?;
        let known = entry.standing.known();
        let freshness = known.freshness(now.wall);
        if freshness == Freshness::Lapsed {
            return None;
        }
        inner.standings.check(&known.status).ok()?;
        Some(TicketAtHand { entry, tenant: known, is_due: freshness == Freshness::Due, now })
    }

    /// Notes a call that is answered with a ticket at hand. Until then nothing has come of it.
    pub fn note_hit(&self, ticket: &TicketAtHand) {
        self.0.note_use(&ticket.entry, ticket.now);
        if ticket.is_due {
            drop(self.0.look_up(ticket.entry.ticket.context_identifier));
        }
        count(&self.0.counters.hits);
        if ticket.entry.warning().is_none() { measured::HIT } else { measured::STALE_HIT }.note();
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
