use std::time::Duration;

use jiff::Timestamp;

use super::super::{TenantState, UpstreamError};
use super::{TenantStatus, later};

/// In this last part of the time that it is believed an answer is worth asking for anew.
const LAST_PART: u32 = 5;
/// So long after a failure the same tenant's state is not asked for again.
pub(super) const AFTER_A_FAILURE: Duration = Duration::from_secs(5);

/// What was told so long ago counts for nothing.
const REMEMBERED: Duration = Duration::from_hours(24);

/// What is known of a tenant without asking.
#[derive(Debug)]
pub struct KnownTenant {
    /// What was told last. Where asking failed, or nothing was told yet, the state is unknown and the address the one
    /// last known.
    pub status: TenantStatus,
    /// Since when.
    pub since: Timestamp,
    ask_from: Timestamp,
    /// Why the state is not known.
    doubt: Option<Box<UpstreamError>>,
    /// How often it was overridden: an answer to a question from before that is not kept.
    pub(super) overridden: u32,
}

/// How far what is known of a tenant can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// There is no need to ask.
    Fresh,
    /// It still counts; asking again is due.
    Due,
    /// It no longer counts: ask.
    Lapsed,
}

impl KnownTenant {
    /// What is known after this was told.
    pub fn told(status: TenantStatus, now: Timestamp) -> Self {
        let ask_from = last_part(now, status.valid_until);
        Self { status, since: now, ask_from, doubt: None, overridden: 0 }
    }

    pub(super) fn nothing(now: Timestamp) -> Self {
        Self::told(TenantStatus { state: TenantState::Unknown, webapi_url: None, valid_until: now }, now)
    }

    /// The same with all of it forgotten.
    pub(super) fn forgotten(&self, now: Timestamp) -> Self {
        Self { overridden: self.overridden, ..Self::nothing(now) }
    }

    /// Whether it is too old to be believed in anything, the tenant's address included.
    pub(super) fn is_forgotten(&self, now: Timestamp) -> bool {
        later(self.since, REMEMBERED) <= now
    }

    /// Whether anybody ever told it.
    pub(super) fn was_told(&self) -> bool {
        self.status.state != TenantState::Unknown || self.status.valid_until != self.since
    }

    /// A clock that was set back makes everything from its future void.
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        if !(self.since..self.status.valid_until).contains(&now) || self.is_forgotten(now) {
            Freshness::Lapsed
        } else if now < self.ask_from {
            Freshness::Fresh
        } else {
            Freshness::Due
        }
    }

    /// What whoever asks is told without asking SuperOffice, if that will do.
    pub(super) fn at_once(&self, now: Timestamp) -> Option<Result<TenantStatus, UpstreamError>> {
        // What is left of these is told where every request looks.
        let passes =
            matches!(self.doubt.as_deref(), Some(UpstreamError::Throttled { .. } | UpstreamError::CircuitOpen { .. }));
        (self.freshness(now) == Freshness::Fresh && !passes).then(|| self.outcome())
    }

    pub(super) fn outcome(&self) -> Result<TenantStatus, UpstreamError> {
        self.doubt.as_deref().cloned().map_or_else(|| Ok(self.status.clone()), Err)
    }

    /// What is known after the state was asked for: a failure takes away nothing that is still believed.
    pub(super) fn after(&self, outcome: Result<TenantStatus, UpstreamError>, now: Timestamp) -> Self {
        let overridden = self.overridden;
        let pause_ends = later(now, AFTER_A_FAILURE);
        match outcome {
            Ok(mut status) => {
                if status.webapi_url == self.status.webapi_url {
                    // The one that the tenant's ticket has too.
                    status.webapi_url.clone_from(&self.status.webapi_url);
                }
                Self { overridden, ..Self::told(status, now) }
            }
            Err(_) if self.doubt.is_none() && self.freshness(now) != Freshness::Lapsed => {
                Self { status: self.status.clone(), since: self.since, ask_from: pause_ends, doubt: None, overridden }
            }
            Err(error) => {
                let webapi_url = self.status.webapi_url.clone();
                let status = TenantStatus { state: TenantState::Unknown, webapi_url, valid_until: Timestamp::MAX };
                Self { status, since: now, ask_from: pause_ends, doubt: Some(Box::new(error)), overridden }
            }
        }
    }

    pub(super) fn overridden_by(&self, state: TenantState, now: Timestamp, valid_until: Timestamp) -> Self {
        let status = TenantStatus { state, webapi_url: self.status.webapi_url.clone(), valid_until };
        Self { overridden: self.overridden.wrapping_add(1), ..Self::told(status, now) }
    }
}

/// When the last part of the time from `now` to `end` begins.
fn last_part(now: Timestamp, end: Timestamp) -> Timestamp {
    let part = Duration::try_from(end.duration_since(now)).unwrap_or_default() / LAST_PART;
    end.saturating_sub(part).unwrap_or(now)
}
