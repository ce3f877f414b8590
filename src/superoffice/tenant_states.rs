use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use papaya::{HashMap, Operation};
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
/// Where a tenant was is forgotten after this long.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// How many tenants are known unless somebody asks for more room: about 220 bytes each.
const CAPACITY: u64 = 100_000;
/// When there is no room left, one in so many is forgotten.
const DISPLACED: usize = 16;

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

/// The tenants asked for lately, a bounded number. Each hit reads here, so reading takes no lock and notes nothing.
#[derive(Debug)]
pub(super) struct TenantStates {
    hosts: Hosts,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    known: HashMap<ContextIdentifier, Known>,
    capacity: usize,
}

#[derive(Clone, Debug)]
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
        let mut states = Self { hosts, http, clock, timeout, known: HashMap::new(), capacity: 0 };
        states.make_room_for(CAPACITY);
        states
    }

    /// See [`super::SuperOffice::with_room_for`].
    pub(super) fn make_room_for(&mut self, tenants: u64) {
        self.capacity = usize::try_from(tenants.max(CAPACITY)).unwrap_or(usize::MAX);
    }

    /// See [`super::SuperOffice::tell_tenant_states`].
    pub(super) fn tell(&self) {
        let mut counts: BTreeMap<_, usize> = TenantState::all().map(|state| (state.kind(), 0)).collect();
        self.forget_old();
        for known in self.known.pin().values() {
            *counts.entry(known.status.state.kind()).or_default() += 1;
        }
        for (state, count) in counts {
            metrics::TENANTS.set_count(count, &[state]);
        }
    }

    /// See [`super::SuperOffice::known_tenant`].
    pub(super) fn at_hand(&self, context_identifier: ContextIdentifier) -> KnownTenant {
        let now = self.clock.now();
        match self.known.pin().get(&context_identifier) {
            Some(known) => known.told(now),
            None => Known::nothing(now).told(now),
        }
    }

    /// See [`super::SuperOffice::tenant_state`].
    pub(super) async fn get(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let before = self.known.pin().get(&context_identifier).cloned();
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
            answer.clone_from(&outcome);
            let next = (known.overridden == overridden).then(|| known.after(outcome.clone(), now))?;
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
    fn change(&self, context_identifier: ContextIdentifier, mut change: impl FnMut(&Known) -> Option<Known>) {
        let now = self.clock.now();
        let known = self.known.pin();
        if known.len() >= self.capacity && !known.contains_key(&context_identifier) {
            self.displace();
        }
        // Begins again when another change comes between.
        known.compute(context_identifier, |current| {
            let next = match current {
                Some((_, current)) => change(current),
                None => change(&Known::nothing(now)),
            };
            next.map_or(Operation::Abort(()), Operation::Insert)
        });
    }

    /// Makes room for some newcomers. Whoever is forgotten is asked about again.
    fn displace(&self) {
        let mut number = 0_usize;
        self.known.pin().retain(|_, _| {
            number = number.wrapping_add(1);
            !number.is_multiple_of(DISPLACED)
        });
    }

    fn forget_old(&self) {
        let now = self.clock.now();
        self.known.pin().retain(|_, known| now.duration_since(known.from) < REMEMBERED);
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

    fn told(&self, now: Timestamp) -> KnownTenant {
        KnownTenant { status: Arc::clone(&self.status), since: self.from, freshness: self.freshness(now) }
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
