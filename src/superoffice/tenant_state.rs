use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::Value;

use super::UpstreamError;
use super::cooldown::Cooldown;
use super::hosts::Hosts;
use super::http::{Content, Http, Purpose, Request};
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;

/// How long an answer is believed, whatever it says of itself.
const BELIEVED: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));
/// How long one is believed that does not say it.
const BELIEVED_BY_DEFAULT: Duration = Duration::from_mins(1);
/// How long a tenant is believed not to run: nobody tells when it does again, and callers wait for it.
const BELIEVED_NOT_RUNNING: Duration = Duration::from_mins(1);
/// So long after a failure the same tenant's state is not asked for again.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);
/// So many failures in a row, whatever the tenants, and no state is asked for at all for as long.
const FAILURES_IN_A_ROW: u32 = 3;
/// Bounds the memory: about 400 bytes each.
const CAPACITY: u64 = 50_000;

/// What a tenant can be in, by the names and numbers of SuperOffice's state API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TenantState {
    /// SuperOffice does not know, or says something that is not documented.
    Unknown,
    /// It is being set up.
    Provisioning,
    /// It can be used.
    Running,
    /// It is gone.
    Deleted,
    /// Its APIs are switched off; the customer may come back.
    Suspended,
    /// It is being worked on and can be used.
    OnlineMaintenance,
    /// It is being worked on and cannot be used.
    OfflineMaintenance,
    /// It could not be set up.
    ProvisioningFailed,
    /// It is being deleted.
    Deleting,
    /// It could not be deleted.
    DeleteFailed,
    /// It waits for its move.
    MigrationPending,
}

impl TenantState {
    /// Every state with its number in SuperOffice's documentation; 7 and 9 do not exist.
    const NUMBERED: [(Self, u64); 11] = [
        (Self::Unknown, 0),
        (Self::Provisioning, 1),
        (Self::Running, 2),
        (Self::Deleted, 3),
        (Self::Suspended, 4),
        (Self::OnlineMaintenance, 5),
        (Self::OfflineMaintenance, 6),
        (Self::ProvisioningFailed, 8),
        (Self::Deleting, 10),
        (Self::DeleteFailed, 11),
        (Self::MigrationPending, 12),
    ];

    /// The name in SuperOffice's documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Provisioning => "Provisioning",
            Self::Running => "Running",
            Self::Deleted => "Deleted",
            Self::Suspended => "Suspended",
            Self::OnlineMaintenance => "OnlineMaintenance",
            Self::OfflineMaintenance => "OfflineMaintenance",
            Self::ProvisioningFailed => "ProvisioningFailed",
            Self::Deleting => "Deleting",
            Self::DeleteFailed => "DeleteFailed",
            Self::MigrationPending => "MigrationPending",
        }
    }

    /// Whether its APIs can be used (`IsRunning`).
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::OnlineMaintenance)
    }

    /// From a name in any case, a number, or a number in a string.
    fn from_json(value: &Value) -> Self {
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let is_meant = |state: Self, its_number| {
            number == Some(its_number)
                || value.as_str().is_some_and(|name| name.trim().eq_ignore_ascii_case(state.as_str()))
        };
        let found = Self::NUMBERED.into_iter().find(|(state, its_number)| is_meant(*state, *its_number));
        found.map_or(Self::Unknown, |(state, _)| state)
    }
}

impl fmt::Display for TenantState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

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

/// The states of the tenants asked for lately. moka bounds their number; our clock decides what is still believed.
#[derive(Debug)]
pub(super) struct TenantStates {
    hosts: Hosts,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    known: Cache<ContextIdentifier, Known>,
    failures: Mutex<Failures>,
}

#[derive(Clone, Debug)]
struct Known {
    outcome: Result<TenantStatus, UpstreamError>,
    from: Timestamp,
    until: Timestamp,
}

/// Keeps a dead state API from holding up every exchange.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    pause: Option<(Cooldown, UpstreamError)>,
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
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(BELIEVED.1).build();
        Self { hosts, http, clock, timeout, known, failures: Mutex::default() }
    }

    /// See [`super::SuperOffice::tenant_state`].
    pub(super) async fn get(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let now = self.clock.now();
        // A clock that was set back makes everything from its future void.
        if let Some(known) =
            self.known.get(&context_identifier).filter(|known| (known.from..known.until).contains(&now))
        {
            return known.outcome;
        }
        self.pause()?;
        let outcome = self.ask(context_identifier).await;
        self.learn(outcome.as_ref().err());
        let from = self.clock.now();
        let until = match &outcome {
            Ok(status) => status.valid_until,
            Err(_) => from.saturating_add(AFTER_A_FAILURE).unwrap_or(Timestamp::MAX),
        };
        // Being asked to wait is remembered where every request looks, and with what is left of it.
        if !matches!(outcome, Err(UpstreamError::Throttled { .. })) {
            self.known.insert(context_identifier, Known { outcome: outcome.clone(), from, until });
        }
        outcome
    }

    /// See [`super::SuperOffice::forget_tenant_state`].
    pub(super) fn forget(&self, context_identifier: ContextIdentifier) {
        self.known.invalidate(&context_identifier);
    }

    async fn ask(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        let path = format!("/api/state/{context_identifier}");
        let answer = self
            .http
            .send(Request { path: &path, content: Content::Nothing, purpose: Purpose::State, timeout: self.timeout })
            .await?;
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
        let valid_until = if state.is_running() {
            believed
        } else {
            believed.min(now.saturating_add(BELIEVED_NOT_RUNNING).unwrap_or(Timestamp::MAX))
        };
        let webapi_url = response.api.and_then(|url| self.hosts.checked_tenant_url(&url));
        Ok(TenantStatus { state, webapi_url, valid_until })
    }

    fn pause(&self) -> Result<(), UpstreamError> {
        match &mut self.failures().pause {
            Some((pause, error)) => {
                if pause.is_over() {
                    Ok(())
                } else {
                    Err(error.clone())
                }
            }
            None => Ok(()),
        }
    }

    fn learn(&self, error: Option<&UpstreamError>) {
        let mut failures = self.failures();
        match error {
            // What is left of that wait is told by the throttle.
            Some(UpstreamError::Throttled { .. }) => {}
            Some(error) if error.is_transient() => {
                failures.in_a_row = failures.in_a_row.saturating_add(1);
                if failures.in_a_row >= FAILURES_IN_A_ROW {
                    failures.pause = Some((Cooldown::start(&*self.clock, AFTER_A_FAILURE), error.clone()));
                }
            }
            _ => *failures = Failures::default(),
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn believed_until(valid_until: Option<&str>, now: Timestamp) -> Timestamp {
    let told = valid_until.and_then(timestamp).map_or(BELIEVED_BY_DEFAULT, |until| {
        // Negative when it has lapsed on its way, or when a clock is wrong.
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    });
    now.saturating_add(told.clamp(BELIEVED.0, BELIEVED.1)).unwrap_or(Timestamp::MAX)
}

/// .NET writes seven fractional digits, and leaves the offset out when it forgot that a time is UTC.
fn timestamp(text: &str) -> Option<Timestamp> {
    let without_offset = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(without_offset)
}

#[cfg(test)]
mod tests {
    use super::super::test_server::{Peer, TestServer};
    use super::*;

    fn tenant(number: u32) -> ContextIdentifier {
        format!("Cust{number}").parse().unwrap()
    }

    fn answer(members: &str) -> String {
        TestServer::response(200, &format!("{{{members}}}"))
    }

    async fn state_of(peer: &Peer, number: u32) -> Result<TenantStatus, UpstreamError> {
        peer.superoffice.tenant_state(tenant(number)).await
    }

    #[tokio::test]
    async fn the_documented_answer_is_read() {
        let peer =
            Peer::answering(TestServer::response(200, include_str!("../../tests/fixtures/state/state.response.json")))
                .await;
        peer.clock.set_wall_time("2026-02-23T09:22:01.9342965Z".parse().unwrap());
        let status = state_of(&peer, 12345).await.unwrap();
        assert_eq!(status.state, TenantState::Running);
        assert_eq!(status.webapi_url.as_deref(), Some("https://online2.superoffice.com/Cust12345/api/"));
        assert_eq!(status.valid_until, "2026-02-23T09:52:01.9342965Z".parse().unwrap());
        let request = peer.server.requests().pop().unwrap();
        assert!(request.starts_with("GET /api/state/Cust12345 HTTP/1.1\r\n"), "{request}");
    }

    #[test]
    fn states_are_known_by_name_and_by_number() {
        for (state, number) in TenantState::NUMBERED {
            for value in [
                Value::from(state.to_string()),
                Value::from(state.to_string().to_uppercase()),
                Value::from(number),
                Value::from(number.to_string()),
            ] {
                assert_eq!(TenantState::from_json(&value), state, "{value}");
            }
        }
        for value in [
            Value::from(7),
            Value::from(9),
            Value::from(-1),
            Value::from(2.5),
            Value::from("Runningx"),
            Value::from(""),
        ] {
            assert_eq!(TenantState::from_json(&value), TenantState::Unknown, "{value}");
        }
    }

    #[test]
    fn an_answer_is_believed_for_ten_seconds_to_an_hour() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (valid_until, seconds) in [
            (Some("2026-11-22T12:00:10.9999999Z"), 10),
            (Some("2026-11-22T12:30:00.0000000Z"), 1800),
            (Some("2026-11-22T12:30:00.1234567"), 1800),
            (Some("2026-11-22T13:30:00+01:00"), 1800),
            (Some("2026-11-22T12:00:01Z"), 10),
            (Some("2020-01-01T00:00:00Z"), 10),
            (Some("9999-12-30T00:00:00.0000000Z"), 3600),
            // .NET's last moment is later than ours.
            (Some("9999-12-31T23:59:59.9999999Z"), 60),
            (Some("0001-01-01T00:00:00"), 10),
            (Some("soon"), 60),
            (Some(""), 60),
            (None, 60),
        ] {
            let believed = believed_until(valid_until, now).duration_since(now);
            assert_eq!(believed.as_secs(), seconds, "{valid_until:?}");
        }
        assert_eq!(believed_until(None, Timestamp::MAX), Timestamp::MAX);
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_again_when_it_has_lapsed() {
        let peer = Peer::answering(answer(r#""State":"Running","ValidUntil":"2026-11-22T12:10:00.0000000Z""#)).await;
        for _ in 0..100 {
            assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running);
        }
        peer.server.answer(answer(r#""State":4,"Api":"https://evil.example/Cust1/api""#));
        peer.clock.advance(Duration::from_secs(599));
        assert_eq!(state_of(&peer, 1).await.unwrap().state, TenantState::Running);
        assert_eq!(peer.server.requests().len(), 1);
        peer.clock.advance(Duration::from_secs(1));
        let status = state_of(&peer, 1).await.unwrap();
        assert_eq!((status.state, status.webapi_url), (TenantState::Suspended, None));
        peer.clock.set_wall_time("2026-11-22T11:00:00Z".parse().unwrap());
        assert!(state_of(&peer, 1).await.is_ok());
        assert_eq!(peer.server.requests().len(), 3, "a clock set back makes it void");
    }

    #[tokio::test]
    async fn answers_of_no_use_are_typed_errors() {
        let other =
            answer(r#""ContextIdentifier":"Cust2","State":"Running","Api":"https://a.superoffice.com/Cust2/api""#);
        for (response, expected) in [
            (other, UpstreamError::Malformed),
            (answer(""), UpstreamError::Malformed),
            (answer(r#""State":null"#), UpstreamError::Malformed),
            (TestServer::response(200, "<html>"), UpstreamError::Malformed),
            (TestServer::response(404, "{}"), UpstreamError::Status(404)),
            (TestServer::response(302, ""), UpstreamError::Status(302)),
            (TestServer::response(503, ""), UpstreamError::Status(503)),
        ] {
            let peer = Peer::answering(&response).await;
            assert_eq!(state_of(&peer, 1).await, Err(expected), "{response}");
        }
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_seconds_only() {
        let peer = Peer::answering(TestServer::response(404, "")).await;
        for _ in 0..10 {
            assert_eq!(state_of(&peer, 1).await, Err(UpstreamError::Status(404)));
        }
        assert_eq!(peer.server.requests().len(), 1);
        peer.server.answer(answer(r#""State":"Running""#));
        peer.clock.advance(AFTER_A_FAILURE);
        assert!(state_of(&peer, 1).await.is_ok());
    }

    #[tokio::test]
    async fn a_dead_state_api_is_not_asked_for_every_tenant() {
        let peer = Peer::answering(TestServer::response(500, "")).await;
        for number in 0..1_000 {
            assert_eq!(state_of(&peer, number).await, Err(UpstreamError::Status(500)));
        }
        assert_eq!(peer.server.requests().len(), 3);
        peer.clock.advance(AFTER_A_FAILURE);
        for number in 1_000..2_000 {
            assert_eq!(state_of(&peer, number).await, Err(UpstreamError::Status(500)));
        }
        println!("requests for 2,000 tenants' states to a dead API in 5 s: {}", peer.server.requests().len());
        assert_eq!(peer.server.requests().len(), 4);
        peer.server.answer(answer(r#""State":"Running""#));
        peer.clock.advance(AFTER_A_FAILURE);
        for number in 2_000..2_010 {
            assert!(state_of(&peer, number).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_slow_state_api_ends_with_its_own_time_out() {
        let peer = Peer::serving(TestServer::hanging("").await);
        let time_passes = async {
            peer.server.wait_for_requests(1).await;
            peer.clock.advance(Duration::from_secs(2));
        };
        let (outcome, ()) = tokio::join!(state_of(&peer, 1), time_passes);
        assert_eq!(outcome, Err(UpstreamError::TimedOut));
    }
}
