mod known_tenant;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

#[cfg(test)]
use self::known_tenant::AFTER_A_FAILURE;
pub use self::known_tenant::{Freshness, KnownTenant};
use self::memory::Memory;
pub use self::memory::Standing;
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
/// How many tenants are known unless somebody asks for more room: some 300 bytes each.
const CAPACITY: u64 = 100_000;

/// What the state API says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantStatus {
    /// What it is in.
    pub state: TenantState,
    /// Base URL of its REST API with a trailing slash, if a ticket may be sent there.
    pub webapi_url: Option<Arc<str>>,
    /// Until when this is believed.
    pub valid_until: Timestamp,
}

/// What is known of tenants. Their number is bounded by [`Memory`]; our clock decides what is still believed.
#[derive(Debug)]
pub(super) struct TenantStates {
    hosts: Hosts,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    memory: Memory,
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
        Self { hosts, http, clock, timeout, memory: Memory::new(CAPACITY) }
    }

    /// See [`super::SuperOffice::with_room_for`].
    pub(super) fn make_room_for(&mut self, tenants: u64) {
        self.memory = Memory::new(tenants.max(CAPACITY));
    }

    /// See [`super::SuperOffice::tell_tenant_states`].
    pub(super) fn tell(&self) {
        let mut counts: BTreeMap<_, usize> = TenantState::all().map(|state| (state.kind(), 0)).collect();
        let now = self.clock.now();
        self.memory.for_each(|known| {
            if known.was_told() && !known.is_forgotten(now) {
                *counts.entry(known.status.state.kind()).or_default() += 1;
            }
        });
        for (state, count) in counts {
            metrics::TENANTS.set_count(count, &[state]);
        }
    }

    /// See [`super::SuperOffice::known_tenant`].
    pub(super) fn at_hand(&self, context_identifier: ContextIdentifier) -> Arc<KnownTenant> {
        let now = self.clock.now();
        let known = self.memory.known(context_identifier).filter(|known| !known.is_forgotten(now));
        known.unwrap_or_else(|| Arc::new(KnownTenant::nothing(now)))
    }

    /// See [`super::SuperOffice::standing`].
    pub(super) fn standing(&self, context_identifier: ContextIdentifier) -> Arc<Standing> {
        self.memory.standing(context_identifier, self.clock.now())
    }

    /// See [`super::SuperOffice::tenant_state`].
    pub(super) async fn get(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        // Which keeps it until the answer is there.
        let standing = self.standing(context_identifier);
        let before = standing.known();
        if let Some(outcome) = before.at_once(self.clock.now()) {
            return outcome;
        }
        let outcome = self.ask(context_identifier).await;
        let mut answer = outcome.clone();
        self.memory.change(context_identifier, &*self.clock, |known, now| {
            let next = (known.overridden == before.overridden).then(|| known.after(outcome, now))?;
            answer = next.outcome();
            Some(next)
        });
        answer
    }

    /// See [`super::SuperOffice::forget_tenant_state`].
    pub(super) fn forget(&self, context_identifier: ContextIdentifier) {
        let forgotten = |known: &KnownTenant, now| Some(known.overridden_by(known.status.state, now, now));
        self.memory.change(context_identifier, &*self.clock, forgotten);
    }

    /// See [`super::SuperOffice::note_tenant_state`].
    pub(super) fn note(&self, context_identifier: ContextIdentifier, state: TenantState) {
        self.memory.change(context_identifier, &*self.clock, |known, now| {
            Some(known.overridden_by(state, now, later(now, BELIEVED_BRIEFLY)))
        });
    }

    /// See [`super::SuperOffice::doubt_tenant_state`].
    pub(super) fn doubt(&self, context_identifier: ContextIdentifier) {
        self.memory.change(context_identifier, &*self.clock, |known, now| {
            (known.freshness(now) == Freshness::Lapsed).then(|| known.after(Err(UpstreamError::TimedOut), now))
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
        let webapi_url = response.api.and_then(|url| self.hosts.checked_tenant_url(&url)).map(Arc::from);
        Ok(TenantStatus { state, webapi_url, valid_until })
    }
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
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
