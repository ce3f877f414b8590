use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::instant::Instant;
use crate::clock::Moment;
use crate::credentials::kept_forms::KeptForms;
use crate::credentials::{RefreshWarning, SystemTicket, TicketAnswer, TicketOrigin};
use crate::superoffice::{KnownTenant, Standing};

/// A ticket with what is known of its renewal.
#[derive(Debug)]
pub(in crate::credentials) struct Entry {
    pub(in crate::credentials) ticket: Arc<SystemTicket>,
    /// How its tenant stands.
    pub(in crate::credentials) standing: Arc<Standing>,
    /// Present when its last renewal failed.
    trouble: Option<Box<Trouble>>,
    pub(in crate::credentials) forms: KeptForms,
    /// When the ticket ends by monotonic time: a wall clock that is set back makes no ticket live longer.
    end: Instant,
    asked_for: AtomicBool,
}

/// A renewal that failed.
#[derive(Debug)]
struct Trouble {
    warning: Arc<RefreshWarning>,
    /// Before this, by monotonic time, the next renewal is not tried.
    retry: Duration,
}

impl Entry {
    pub(super) fn new(ticket: Arc<SystemTicket>, standing: Arc<Standing>, end: Duration) -> Self {
        let (forms, asked_for) = (KeptForms::default(), AtomicBool::new(false));
        Self { ticket, standing, trouble: None, forms, end: end.into(), asked_for }
    }

    /// The same ticket, whose renewal failed and is not tried again before `retry` by monotonic time.
    pub(super) fn warned(&self, warning: RefreshWarning, retry: Duration) -> Self {
        Self {
            ticket: Arc::clone(&self.ticket),
            standing: Arc::clone(&self.standing),
            trouble: Some(Box::new(Trouble { warning: Arc::new(warning), retry })),
            forms: KeptForms::default(),
            end: self.end,
            asked_for: AtomicBool::new(self.was_asked_for()),
        }
    }

    /// Whether SuperOffice must still take the ticket for `remaining` from `now` on, by either clock.
    pub(in crate::credentials) fn lives(&self, now: Moment, remaining: Duration) -> bool {
        let left = self.remaining(now);
        !left.is_zero() && left >= remaining
    }

    /// What is left of its life, by the clock that is ahead.
    pub(super) fn remaining(&self, now: Moment) -> Duration {
        let left = Duration::try_from(self.ticket.expire_time.duration_since(now.wall)).unwrap_or_default();
        left.min(self.end.elapsed().saturating_sub(now.elapsed))
    }

    /// Present when its last renewal failed.
    pub(in crate::credentials) fn warning(&self) -> Option<&Arc<RefreshWarning>> {
        self.trouble.as_ref().map(|trouble| &trouble.warning)
    }

    /// How long a failed renewal asks to wait before the next, and what it failed with.
    pub(in crate::credentials) fn pause(&self, now: Moment) -> Option<(Duration, &RefreshWarning)> {
        let Trouble { warning, retry } = self.trouble.as_deref()?;
        let left = retry.saturating_sub(now.elapsed);
        (!left.is_zero()).then_some((left, &**warning))
    }

    /// Notes a use of the ticket. Answers whether it is the first since the ticket was issued or kept alive.
    pub(in crate::credentials) fn note_use(&self) -> bool {
        // Reading first keeps the cache line shared between the cores that serve the same tenant.
        !self.asked_for.load(Ordering::Relaxed) && !self.asked_for.swap(true, Ordering::Relaxed)
    }

    /// Whether anybody asked for the ticket since it was issued or kept alive.
    pub(in crate::credentials) fn was_asked_for(&self) -> bool {
        self.asked_for.load(Ordering::Relaxed)
    }

    pub(in crate::credentials) fn answer(&self, tenant: Arc<KnownTenant>) -> TicketAnswer {
        TicketAnswer {
            ticket: Arc::clone(&self.ticket),
            origin: TicketOrigin::Cache,
            tenant,
            refresh_warning: self.warning().cloned(),
        }
    }
}
