use std::sync::Arc;

use jiff::Timestamp;

use crate::crypto::{Fingerprint, KeptAuditName};
use crate::identifiers::{ContextIdentifier, Ticket};
use crate::superoffice::KnownTenant;

/// A verified system user ticket with the times of one of its lives: a keep-alive makes another one of the same ticket,
/// an exchange one of another.
#[derive(Clone, Debug)]
pub struct SystemTicket {
    /// The tenant, spelled as it is registered.
    pub context_identifier: ContextIdentifier,
    /// The secret.
    pub ticket: Ticket,
    /// Names the ticket without revealing it.
    pub fingerprint: Fingerprint,
    /// Says for which system user token it was issued, to whom has both.
    pub issued_for: Fingerprint,
    /// When the exchange that gave the ticket was sent.
    pub issue_time: Timestamp,
    /// From here on SuperOffice may refuse the ticket, and it is not handed out.
    pub expire_time: Timestamp,
    /// When it is renewed in the background.
    pub refresh_time: Timestamp,
    /// Where the tenant's REST API was at the exchange. [`TicketAnswer::webapi_url`] is what counts.
    pub webapi_url: Option<Arc<str>>,
    /// Base URL of the tenant's SOAP services, with a trailing slash; checked to be SuperOffice's.
    pub netserver_url: Option<Box<str>>,
    /// The ticket's name in audit events, once it has one.
    pub audit_name: KeptAuditName,
}

/// Why the last renewal of a valid ticket failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshWarning {
    /// What the renewal failed with.
    pub error: super::TicketError,
    /// How many renewals have failed in a row.
    pub failed_attempts: u32,
    /// When the last of them failed.
    pub last_failure: Timestamp,
    /// When the next one is tried.
    pub next_attempt: Timestamp,
}

/// How a ticket came to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketOrigin {
    /// It was in memory.
    Cache,
    /// It came from SuperOffice.
    Exchange,
    /// It was used at its tenant's API first, and lives on.
    KeepAlive,
    /// Another process got it.
    Shared,
}

impl TicketOrigin {
    /// In snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Exchange => "exchange",
            Self::KeepAlive => "keep_alive",
            Self::Shared => "shared",
        }
    }
}

/// What a caller gets: the ticket, what is known of its tenant, and a warning when its renewal fails.
#[derive(Clone, Debug)]
pub struct TicketAnswer {
    /// The ticket.
    pub ticket: Arc<SystemTicket>,
    /// How it came.
    pub origin: TicketOrigin,
    /// The tenant as it was when SuperOffice was last asked.
    pub tenant: Arc<KnownTenant>,
    /// Present when the last renewal failed.
    pub refresh_warning: Option<Arc<RefreshWarning>>,
}

impl TicketAnswer {
    /// Base URL of the tenant's REST API, with a trailing slash; checked to be SuperOffice's.
    pub fn webapi_url(&self) -> Option<&str> {
        self.tenant.status.webapi_url.as_deref().or(self.ticket.webapi_url.as_deref())
    }
}
