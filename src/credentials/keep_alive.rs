use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::error::UpstreamTrouble;
use super::standings::Standings;
use super::{SystemTicket, TicketError};
use crate::clock::{Clock, Moment};
use crate::metrics;
use crate::superoffice::{self, SuperOffice, UpstreamError};

/// When to try again, if nobody says.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps tickets alive by using them: each use lets SuperOffice count a ticket's life anew, and writes no row.
#[derive(Debug)]
pub(super) struct KeepAlive {
    superoffice: Arc<SuperOffice>,
    standings: Standings,
    clock: Arc<dyn Clock>,
}

/// What the use of a ticket showed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Used {
    /// SuperOffice took it, no earlier than this.
    Taken(Moment),
    /// The ticket is no longer good.
    Refused,
    /// Nobody knows where to use it.
    Nowhere,
}

impl KeepAlive {
    pub(super) fn new(superoffice: Arc<SuperOffice>, standings: Standings, clock: Arc<dyn Clock>) -> Self {
        Self { superoffice, standings, clock }
    }

    /// Uses the ticket at its tenant's API, and once more where the tenant is by now if it has moved. An error says
    /// nothing about the ticket.
    pub(super) async fn use_once(&self, ticket: &SystemTicket) -> Result<Used, TicketError> {
        let outcome = self.use_where_it_is(ticket).await;
        metrics::KEEP_ALIVES.count(&[match &outcome {
            Ok(Used::Taken(_)) => "taken",
            Ok(Used::Refused) => "refused",
            Ok(Used::Nowhere) => "nowhere",
            Err(_) => "failed",
        }]);
        outcome
    }

    async fn use_where_it_is(&self, ticket: &SystemTicket) -> Result<Used, TicketError> {
        let tenant = ticket.context_identifier;
        for _ in 0..2 {
            let status = self.standings.usable(tenant).await?;
            let Some(url) = status.webapi_url.as_deref().or(ticket.webapi_url.as_deref()) else {
                return Ok(Used::Nowhere);
            };
            let sent = self.clock.moment();
            match self.superoffice.keep_alive(url, &ticket.ticket).await.map_err(failed)? {
                superoffice::KeepAlive::Prolonged => return Ok(Used::Taken(sent)),
                superoffice::KeepAlive::Refused => {
                    info!(fingerprint = %ticket.fingerprint, "the tenant's API refused the ticket");
                    return Ok(Used::Refused);
                }
                superoffice::KeepAlive::Misdirected => {
                    info!(url, "the tenant is no longer at this address");
                    self.standings.forget(tenant);
                }
            }
        }
        let cause = "the tenant's API is not where SuperOffice says".to_owned();
        Err(TicketError::Unavailable { cause, retry_after: PAUSE })
    }
}

fn failed(error: UpstreamError) -> TicketError {
    UpstreamTrouble::from(error).into()
}
