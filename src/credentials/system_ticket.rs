use std::sync::Arc;

use jiff::Timestamp;

use crate::crypto::Fingerprint;
use crate::identifiers::{ContextIdentifier, Ticket};
use crate::superoffice::TenantState;

/// A verified system user ticket. It never changes; a renewal makes another one.
#[derive(Clone, Debug)]
pub struct SystemTicket {
    /// The tenant, spelled as it is registered.
    pub context_identifier: ContextIdentifier,
    /// The secret.
    pub ticket: Ticket,
    /// Names the ticket without revealing it.
    pub fingerprint: Fingerprint,
    /// When the exchange was sent.
    pub issue_time: Timestamp,
    /// From here on SuperOffice may refuse the ticket, and it is not handed out.
    pub expire_time: Timestamp,
    /// When it is renewed in the background.
    pub refresh_time: Timestamp,
    /// Base URL of the tenant's REST API, with a trailing slash; checked to be SuperOffice's.
    pub webapi_url: Option<String>,
    /// Base URL of the tenant's SOAP services, with a trailing slash; checked to be SuperOffice's.
    pub netserver_url: Option<String>,
    /// The tenant's state when it was last asked.
    pub tenant_state: TenantState,
}

/// Why the last renewal of a valid ticket failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshWarning {
    /// What the renewal failed with.
    pub error: super::TicketError,
    /// How many renewals have failed since the ticket was issued.
    pub failed_attempts: u32,
    /// When the last of them failed.
    pub last_failure: Timestamp,
    /// When the next one is tried.
    pub next_attempt: Timestamp,
}

/// What a caller gets: the ticket, and a warning when its renewal fails.
#[derive(Clone, Debug)]
pub struct TicketAnswer {
    /// The ticket.
    pub ticket: Arc<SystemTicket>,
    /// Present when the last renewal failed.
    pub refresh_warning: Option<Arc<RefreshWarning>>,
}
