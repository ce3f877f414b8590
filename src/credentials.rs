//! System user tickets and access tokens: the use cases behind the API.
//!
//! A call reads the cache; a miss joins the tenant's one flight, which runs apart from every caller; renewals fly the
//! same way, before anybody has to wait. Whether a tenant runs, and where, is known beside its ticket:
//!
//! ```text
//! SystemTickets::get ─┬─ TicketCache ── Flights ── Fleet ─┬─ KeepAlive ─┬─ Standings ── superoffice, store
//!                     │       └─ Schedule ──┘             └─ Exchange ──┤
//!                     └─ lookups ───────────────────────────────────────┘
//! TicketWatch ── Watches: a keeper for each tenant that is watched ── SystemTickets::get
//!
//! AccessTokens ── Flights ── KeptGrants, superoffice ─┐
//! SignIns ─── store, superoffice ─────────────────────┴─ Registrar ── store, SystemTickets
//! TenantNotices ── store, superoffice, SystemTickets
//! Overviews ────── store, superoffice, SystemTickets: what people look at
//! ```

mod access_tokens;
mod error;
mod exchange;
mod failures;
mod fleet;
mod flight;
mod keep_alive;
mod kept_forms;
mod kept_grants;
mod overview;
mod refusals;
mod registrar;
mod renewal;
mod settings;
mod sign_in;
mod sign_in_error;
mod sign_ins;
mod standings;
mod system_ticket;
mod system_tickets;
mod tenant_notices;
mod ticket_cache;
mod watches;

pub use access_tokens::{AccessTokenAnswer, AccessTokens};
pub use error::{AccessTokenError, InvalidateOutcome, TicketError};
pub use exchange::{CurrentSigningKeys, Exchange};
pub use kept_grants::KeptGrants;
pub use overview::{
    Condition, FailingTenant, LastFailure, Overviews, Selection, TenantOverview, TenantsPage, TicketOverview,
};
pub use registrar::Registrar;
pub use settings::{Renewal, Settings};
pub use sign_in::{BegunSignIn, SignInAnswer, SignInOwner, SignInRequest, SignedIn, TenantChange, is_login_hint};
pub use sign_in_error::SignInError;
pub use sign_ins::SignIns;
pub use system_ticket::{RefreshWarning, SystemTicket, TicketAnswer, TicketOrigin};
pub use system_tickets::{Statistics, SystemTickets, TicketAtHand, TicketWatch};
pub use tenant_notices::{NoticeError, NoticeOutcome, TenantEvent, TenantNotice, TenantNotices};
