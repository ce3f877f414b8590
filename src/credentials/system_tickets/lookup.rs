use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, error_span, warn};

use super::Inner;
use crate::credentials::ticket_cache::Entry;
use crate::credentials::{TicketAnswer, TicketError};
use crate::identifiers::ContextIdentifier;
use crate::superoffice::Freshness;

/// A call waits no longer than this for a tenant's state that has lapsed: a valid ticket is not withheld for it.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

impl Inner {
    /// The answer with this ticket, unless its tenant does not run. While what SuperOffice told of the tenant counts,
    /// this neither waits nor asks.
    pub(super) async fn serve(self: &Arc<Self>, entry: &Entry) -> Result<TicketAnswer, TicketError> {
        let tenant = entry.ticket.context_identifier;
        let mut known = entry.standing.known();
        let freshness = known.freshness(self.clock.now());
        if freshness != Freshness::Fresh {
            let lookup = self.look_up(tenant);
            if freshness == Freshness::Lapsed {
                tokio::select! {
                    biased;
                    () = lookup => {}
                    () = self.clock.sleep(LONGEST_WAIT) => {}
                }
                // Whoever comes next waits no more: one call has waited in vain for all.
                self.standings.doubt(tenant);
                known = entry.standing.known();
            }
        }
        self.standings.check(&known.status)?;
        Ok(entry.answer(known))
    }

    /// Joins the lookup of the tenant's state, which goes on whether or not anybody waits for it.
    pub(super) fn look_up(self: &Arc<Self>, tenant: ContextIdentifier) -> impl Future<Output = ()> {
        let landed =
            move || (self.standings.at_hand(tenant).freshness(self.clock.now()) == Freshness::Fresh).then_some(());
        let inner = Arc::clone(self);
        let lookup = async move {
            let before = inner.standings.at_hand(tenant);
            match inner.standings.ask(tenant).await {
                Ok(now) if before.status.state != now.state || before.status.webapi_url != now.webapi_url => {
                    inner.watches.touch(tenant);
                }
                Ok(_) => {}
                Err(error) => warn!(%error, "the tenant's state is unknown"),
            }
        };
        let flight = self.lookups.join(tenant, landed, move |_| lookup.instrument(error_span!("lookup", %tenant)));
        // What becomes of it shows in what is known.
        async move {
            let (Ok(()) | Err(_)) = flight.await;
        }
    }

    /// Lets the next answer wait for a lookup that begins from here on.
    pub(super) fn forget_standing(&self, tenant: ContextIdentifier) {
        self.standings.forget(tenant);
        self.lookups.supersede(tenant);
    }
}
