//! System user tickets and access tokens: the use cases behind the API.
//!
//! A call reads the cache; a miss joins the tenant's one flight, which runs apart from every caller; renewals fly the
//! same way, before anybody has to wait:
//!
//! ```text
//! SystemTickets::get ── TicketCache ── Flights ── Exchange ── superoffice, store
//!                            └─ Schedule ── run_renewals ──┘
//! ```

mod access_tokens;
mod error;
mod exchange;
mod flight;
mod refusals;
mod renewal;
mod settings;
mod system_ticket;
mod system_tickets;
mod ticket_cache;

pub use access_tokens::{AccessTokenAnswer, AccessTokens};
pub use error::{AccessTokenError, InvalidateOutcome, TicketError};
pub use exchange::Exchange;
pub use settings::Settings;
pub use system_ticket::{RefreshWarning, SystemTicket, TicketAnswer};
pub use system_tickets::{Statistics, SystemTickets};
