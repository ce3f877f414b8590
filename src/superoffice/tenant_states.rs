use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::Value;

use super::hosts::Hosts;
use super::http::{Answer, Content, Http, Purpose, Request};
use super::{TenantState, UpstreamError};
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;
use crate::metrics;

/// How long an answer is believed, whatever it says of itself.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));
/// How long one is believed that does not say it.
const BELIEVED_BY_DEFAULT: Duration = Duration::from_mins(1);
/// How long a tenant is believed not to run: nobody has to tell when it does again, and callers wait for it. The same
/// goes for what somebody else than the state API told.
const BELIEVED_BRIEFLY: Duration = Duration::from_mins(1);
/// In this last part of the time that it is believed an answer is worth asking for anew.
const LAST_PART: u32 = 5;
/// So long after a failure the same tenant's state is not asked for again.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);
/// The memory of where a tenant was is freed after this long.
const BACKSTOP: Duration = Duration::from_hours(24);
/// How many tenants are known unless somebody asks for more room: about 500 bytes each.
const CAPACITY: u64 = 100_000;

/// What the state API says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantStatus {
    /// What it is in.
    pub state: TenantState,
    /// Base URL of its REST API with a trailing slash, if a ticket may be sent there.
    pub webapi_url: Option<String>,
    /// Until when this is believed.
    pub valid_until: Timestamp,
}

/// What is known of a tenant without asking.
#[derive(Clone, Debug)]
pub struct KnownTenant {
    /// What was told last. Where asking failed, or nothing was told yet, the state is unknown and the address the one
    /// last known.
    pub status: Arc<TenantStatus>,
    /// Since when.
    pub since: Timestamp,
    /// How far that goes.
    pub freshness: Freshness,
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

/// The tenants asked for lately. moka bounds their number; our clock decides what is still believed.
#[derive(Debug)]
pub(super) struct TenantStates {
    hosts: Hosts,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    known: Cache<ContextIdentifier, Arc<Known>>,
}

#[derive(Debug)]
struct Known {
    status: Arc<TenantStatus>,
    /// Why the state is not known.
    doubt: Option<UpstreamError>,
    from: Timestamp,
    ask_from: Timestamp,
    /// How often it was overridden: an answer to a question from before that is not kept.
    overridden: u32,
}

/// Names in either case, since only one form of the documented answer has been seen.
#[derive(Deserialize)]
struct StateResponse {
    #[serde(default, rename = "ContextIdentifier", alias = "contextIdentifier")]
    context_identifier: Option<String>,
    #[serde(default, rename = "State", alias = "state")]
    state: Value,
    #[serde(default, rename = "ValidUntil", alias = "validUntil")]
    valid_until: Option<String>,
    #[serde(default, rename = "Api", alias = "api")]
    api: Option<String>,
}

impl TenantStates {
    pub(super) fn new(hosts: Hosts, http: Arc<Http>, clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        Self { hosts, http, clock, timeout, known: memory(CAPACITY) }
    }

    /// See [`super::SuperOffice::with_room_for`].
    pub(super) fn make_room_for(&mut self, tenants: u64) {
        self.known = memory(tenants.max(CAPACITY));
    }

    /// See [`super::SuperOffice::tell_tenant_states`].
    pub(super) fn tell(&self) {
        let mut counts: BTreeMap<_, usize> = TenantState::all().map(|state| (state.kind(), 0)).collect();
        for (_, known) in &self.known {
            *counts.entry(known.status.state.kind()).or_default() += 1;
        }
        for (state, count) in counts {
            metrics::TENANTS.set_count(count, &[state]);
        }
    }

    /// See [`super::SuperOffice::known_tenant`].
    pub(super) fn at_hand(&self, context_identifier: ContextIdentifier) -> KnownTenant {
        let now = self.clock.now();
        let known = self.known.get(&context_identifier).unwrap_or_else(|| Arc::new(Known::nothing(now)));
        KnownTenant { status: Arc::clone(&known.status), since: known.from, freshness: known.freshness(now) }
    }

    /// See [`super::SuperOffice::tenant_state`].
    pub(super) async fn get(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let before = self.known.get(&context_identifier);
        let now = self.clock.now();
        if let Some(known) = before.as_ref().filter(|known| known.freshness(now) == Freshness::Fresh)
            // What is left of these is told where every request looks.
            && !matches!(known.doubt, Some(UpstreamError::Throttled { .. } | UpstreamError::CircuitOpen { .. }))
        {
            return known.outcome();
        }
        let outcome = self.ask(context_identifier).await;
        let now = self.clock.now();
        let overridden = before.map_or(0, |known| known.overridden);
        let mut answer = outcome.clone();
        self.change(context_identifier, |known| {
            let next = (known.overridden == overridden).then(|| known.after(outcome, now))?;
            answer = next.outcome();
            Some(next)
        });
        answer
    }

    /// See [`super::SuperOffice::forget_tenant_state`].
    pub(super) fn forget(&self, context_identifier: ContextIdentifier) {
        let now = self.clock.now();
        self.change(context_identifier, |known| Some(known.overridden_by(known.status.state, now, now)));
    }

    /// See [`super::SuperOffice::note_tenant_state`].
    pub(super) fn note(&self, context_identifier: ContextIdentifier, state: TenantState) {
        let now = self.clock.now();
        let until = later(now, BELIEVED_BRIEFLY);
        self.change(context_identifier, |known| Some(known.overridden_by(state, now, until)));
    }

    /// See [`super::SuperOffice::doubt_tenant_state`].
    pub(super) fn doubt(&self, context_identifier: ContextIdentifier) {
        let now = self.clock.now();
        self.change(context_identifier, |known| {
            (known.freshness(now) == Freshness::Lapsed).then(|| known.after(Err(UpstreamError::TimedOut), now))
        });
    }

    /// Puts what `change` makes of what is known in its place, at once for everybody.
    fn change(&self, context_identifier: ContextIdentifier, change: impl FnOnce(&Known) -> Option<Known>) {
        let now = self.clock.now();
        self.known.entry(context_identifier).and_compute_with(|current| {
            let current = current.map_or_else(|| Arc::new(Known::nothing(now)), moka::Entry::into_value);
            change(&current).map_or(Op::Nop, |next| Op::Put(Arc::new(next)))
        });
    }

    async fn ask(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let path = format!("/api/state/{context_identifier}");
        let request = Request {
            path: &path,
            content: Content::Nothing,
            purpose: Purpose::State,
            tenant: Some(context_identifier),
            timeout: self.timeout,
        };
        self.http.ask(request, |answer| self.read(context_identifier, &answer)).await
    }

    fn read(&self, context_identifier: ContextIdentifier, answer: &Answer) -> Result<TenantStatus, UpstreamError> {
        if !answer.status.is_success() {
            return Err(UpstreamError::Status(answer.status.as_u16()));
        }
        let response: StateResponse = serde_json::from_slice(&answer.body).map_err(|_| UpstreamError::Malformed)?;
        // An answer about another tenant would send this one's ticket there.
        let is_about = |name: &String| name.parse() == Ok(context_identifier);
        if response.state.is_null() || !response.context_identifier.as_ref().is_none_or(is_about) {
            return Err(UpstreamError::Malformed);
        }
        let state = TenantState::from_json(&response.state);
        let now = self.clock.now();
        let believed = believed_until(response.valid_until.as_deref(), now);
        let valid_until = if state.is_running() { believed } else { believed.min(later(now, BELIEVED_BRIEFLY)) };
        let webapi_url = response.api.and_then(|url| self.hosts.checked_tenant_url(&url));
        Ok(TenantStatus { state, webapi_url, valid_until })
    }
}

impl Known {
    fn nothing(now: Timestamp) -> Self {
        let status = TenantStatus { state: TenantState::Unknown, webapi_url: None, valid_until: now };
        Self { status: Arc::new(status), doubt: None, from: now, ask_from: now, overridden: 0 }
    }

    /// A clock that was set back makes everything from its future void.
    fn freshness(&self, now: Timestamp) -> Freshness {
        if !(self.from..self.status.valid_until).contains(&now) {
            Freshness::Lapsed
        } else if now < self.ask_from {
            Freshness::Fresh
        } else {
            Freshness::Due
        }
    }

    fn outcome(&self) -> Result<TenantStatus, UpstreamError> {
        self.doubt.clone().map_or_else(|| Ok((*self.status).clone()), Err)
    }

    /// What is known after the state was asked for: a failure takes away nothing that is still believed.
    fn after(&self, outcome: Result<TenantStatus, UpstreamError>, now: Timestamp) -> Self {
        let overridden = self.overridden;
        let pause_ends = later(now, AFTER_A_FAILURE);
        match outcome {
            Ok(status) => {
                let ask_from = last_part(now, status.valid_until);
                Self { status: Arc::new(status), doubt: None, from: now, ask_from, overridden }
            }
            Err(_) if self.doubt.is_none() && self.freshness(now) != Freshness::Lapsed => Self {
                status: Arc::clone(&self.status),
                doubt: None,
                from: self.from,
                ask_from: pause_ends,
                overridden,
            },
            Err(error) => {
                let webapi_url = self.status.webapi_url.clone();
                let status = TenantStatus { state: TenantState::Unknown, webapi_url, valid_until: Timestamp::MAX };
                Self { status: Arc::new(status), doubt: Some(error), from: now, ask_from: pause_ends, overridden }
            }
        }
    }

    fn overridden_by(&self, state: TenantState, now: Timestamp, valid_until: Timestamp) -> Self {
        let status = TenantStatus { state, webapi_url: self.status.webapi_url.clone(), valid_until };
        let ask_from = last_part(now, valid_until);
        let overridden = self.overridden.wrapping_add(1);
        Self { status: Arc::new(status), doubt: None, from: now, ask_from, overridden }
    }
}

fn memory(capacity: u64) -> Cache<ContextIdentifier, Arc<Known>> {
    // The default policy may refuse newcomers.
    Cache::builder().max_capacity(capacity).eviction_policy(EvictionPolicy::lru()).time_to_live(BACKSTOP).build()
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// When the last part of the time from `now` to `end` begins.
fn last_part(now: Timestamp, end: Timestamp) -> Timestamp {
    let part = Duration::try_from(end.duration_since(now)).unwrap_or_default() / LAST_PART;
    end.saturating_sub(part).unwrap_or(now)
}

fn believed_until(valid_until: Option<&str>, now: Timestamp) -> Timestamp {
    let told = valid_until.and_then(timestamp).map_or(BELIEVED_BY_DEFAULT, |until| {
        // Negative when it has lapsed on its way, or when a clock is wrong.
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    });
    later(now, told.clamp(BELIEVED.0, BELIEVED.1))
}

/// .NET writes seven fractional digits, and leaves the offset out when it forgot that a time is UTC.
fn timestamp(text: &str) -> Option<Timestamp> {
    let without_offset = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(without_offset)
}

#[cfg(test)]
mod tests;
