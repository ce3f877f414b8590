mod names;
mod streamed;

use std::borrow::Cow;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue};
use jiff::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::names::trace_id;
pub(super) use self::names::{REQUEST_ID, name_of_call};
use super::audit::Common;
use super::span::record_caller;
use super::{code_name, record_tenant};
use crate::audit::{Decision, Event, Issued, Kind, Lines};
use crate::credentials::TicketAnswer;
use crate::crypto::KeptAuditName;
use crate::identifiers::{AccessToken, Caller, ContextIdentifier, Peer};
use crate::trace_context::TRACEPARENT;

/// What the audit will say of a call: in the extensions of its request, where layers and services note what they know.
/// Clones are of the same record.
///
/// A call is about one tenant, or none, unless [`parts`](Self::parts) says otherwise: then there is an event for each part.
#[derive(Clone, Debug)]
pub struct CallRecord(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    head: Head,
    noted: Mutex<Noted>,
}

/// What is known of a call when it comes.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) common: Arc<Common>,
    pub(super) trace_id: Option<HeaderValue>,
    pub(super) rpc: &'static str,
    pub(super) peer: Option<Peer>,
    /// By monotonic time.
    pub(super) begun: Duration,
}

/// What is noted of it since.
#[derive(Debug, Default)]
pub(super) struct Noted {
    caller: Option<Caller>,
    rule_id: Option<Arc<str>>,
    has_reached_a_service: bool,
    /// Each message of the answer has an event of its own.
    is_stream: bool,
    /// What the call was named, once it has ended without the answer of its service, or has begun to answer with a stream:
    /// what that notes from then on is in no event of the call's.
    request_id: Option<HeaderValue>,
    whole: Part,
    parts: Vec<Part>,
}

/// What one event is about.
#[derive(Debug, Default)]
struct Part {
    tenant: Option<ContextIdentifier>,
    /// Where it differs from the call's.
    rule_id: Option<Arc<str>>,
    user: Option<String>,
    issued: Option<Issued>,
    change: Option<&'static str>,
    /// Where it differs from the call's.
    refusal: Option<Status>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'a> {
    Answered,
    Refused(&'a Status),
    /// Before there was an answer.
    GivenUp,
    /// By a panic.
    Broken,
    /// Earlier than what it had begun.
    Outlived,
}

impl CallRecord {
    /// The record of a call that has reached its service, which by this has an event of its own, whatever becomes of it.
    /// Where nothing is audited it goes nowhere.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        let record = Self::within(request.extensions());
        record.reached();
        record
    }

    /// The record of a call on its way to a service.
    pub fn within(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self(None))
    }

    /// Of a call that has just come.
    pub(super) fn new(head: Head) -> Self {
        Self(Some(Arc::new(Inner { head, noted: Mutex::default() })))
    }

    /// Notes who calls.
    pub fn caller(&self, caller: &Caller) {
        self.note(|noted| noted.caller = Some(caller.clone()));
    }

    /// Notes which of the policy's rules allows the call.
    pub fn rule(&self, rule_id: &Arc<str>) {
        self.note(|noted| noted.rule_id = Some(Arc::clone(rule_id)));
    }

    /// Notes that the call has an event of its own, whatever becomes of it.
    pub(super) fn reached(&self) {
        self.note(|noted| noted.has_reached_a_service = true);
    }

    /// Notes which tenant the call is about, here and in its span.
    pub fn tenant(&self, tenant: ContextIdentifier) {
        record_tenant(tenant);
        self.note(|noted| noted.whole.tenant = Some(tenant));
    }

    /// Notes which of the tenant's users the call is about, once it is known to be one: what a caller sends in a user's
    /// place may be a secret.
    pub fn user(&self, user: &str) {
        self.note(|noted| noted.whole.user = Some(user.to_owned()));
    }

    /// Notes what the call has changed, in snake case. When the call has ended already, because its caller gave it up or its
    /// deadline passed, the change has an event of its own.
    pub fn change(&self, change: impl Into<Option<&'static str>>) {
        let Some(inner) = &self.0 else { return };
        let mut noted = inner.noted();
        noted.whole.change = change.into();
        if let Some(request_id) = noted.request_id.as_ref().filter(|_| noted.whole.change.is_some()) {
            let audit = &inner.head.common.audit;
            with_event(&inner.head, &noted, request_id, &noted.whole, End::Outlived, None, |event| audit.note(&event));
        }
    }

    /// Notes the ticket that the answer hands out.
    pub fn ticket(&self, answer: &TicketAnswer) {
        let issued = self.issued_ticket(answer);
        self.note(|noted| noted.whole.issued = issued);
    }

    /// Notes the access token that the answer hands out.
    pub fn access_token(&self, token: &AccessToken, expire_time: Timestamp, source: &'static str) {
        let issued = self.issued(token.expose(), &KeptAuditName::default(), expire_time, source);
        self.note(|noted| noted.whole.issued = issued);
    }

    /// Notes which tenants the call is about, each of which has an event of its own however the call ends.
    pub fn parts(&self, tenants: &[ContextIdentifier]) {
        let part = |tenant: &_| Part { tenant: Some(*tenant), ..Part::default() };
        self.note(|noted| noted.parts = tenants.iter().map(part).collect());
    }

    /// Notes of the tenant at this place among several: the ticket that the answer hands out of it, or why there is none,
    /// and which of the policy's rules allows to ask for it.
    pub fn part(
        &self,
        place: usize,
        tenant: ContextIdentifier,
        rule_id: Option<&Arc<str>>,
        outcome: Result<&TicketAnswer, &Status>,
    ) {
        let part = self.part_of(tenant, rule_id, outcome);
        self.note(|noted| {
            if let Some(noted) = noted.parts.get_mut(place) {
                *noted = part;
            }
        });
    }

    /// Whether a service has taken the call.
    pub(super) fn has_reached_a_service(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.noted().has_reached_a_service)
    }

    /// What its call has in common with all others, if anything is audited.
    pub(super) fn common(&self) -> Option<&Common> {
        self.0.as_ref().map(|inner| &*inner.head.common)
    }

    /// Puts the events of the call into `lines`: it was named so, and took until `elapsed`.
    pub(super) fn add_to(&self, lines: &mut Lines, request_id: &HeaderValue, end: End<'_>, elapsed: Duration) {
        let Some(inner) = &self.0 else { return };
        let mut noted = inner.noted();
        noted.tell(request_id, end);
        noted.add_to(&inner.head, lines, request_id, end, elapsed);
    }

    /// Has the events of the call written, which nothing waits for.
    pub(super) fn write_off(&self, request_id: &HeaderValue, end: End<'_>, elapsed: Duration) {
        let Some(inner) = &self.0 else { return };
        let (audit, mut noted) = (&inner.head.common.audit, inner.noted());
        noted.tell(request_id, end);
        for part in noted.subjects() {
            with_event(&inner.head, &noted, request_id, part, end, Some(elapsed), |event| {
                if noted.has_reached_a_service {
                    audit.note(&event);
                } else {
                    audit.note_at_the_door(&event);
                }
            });
        }
    }

    fn part_of(
        &self,
        tenant: ContextIdentifier,
        rule_id: Option<&Arc<str>>,
        outcome: Result<&TicketAnswer, &Status>,
    ) -> Part {
        let (issued, refusal) = match outcome {
            Ok(answer) => (self.issued_ticket(answer), None),
            Err(status) => (None, Some(status.clone())),
        };
        Part { tenant: Some(tenant), rule_id: rule_id.cloned(), issued, refusal, ..Part::default() }
    }

    fn issued_ticket(&self, TicketAnswer { ticket, origin, .. }: &TicketAnswer) -> Option<Issued> {
        self.issued(ticket.ticket.expose(), &ticket.audit_name, ticket.expire_time, origin.as_str())
    }

    fn issued(
        &self,
        credential: &str,
        kept: &KeptAuditName,
        expire_time: Timestamp,
        source: &'static str,
    ) -> Option<Issued> {
        self.common()?.audit.issued(credential, kept, expire_time, source)
    }

    fn note(&self, note: impl FnOnce(&mut Noted)) {
        if let Some(inner) = &self.0 {
            note(&mut inner.noted());
        }
    }
}

impl Head {
    /// Of a call with these headers, which came at `begun` by monotonic time.
    pub(super) fn new(
        common: &Arc<Common>,
        headers: &HeaderMap,
        rpc: &'static str,
        peer: Option<Peer>,
        begun: Duration,
    ) -> Self {
        Self { common: Arc::clone(common), trace_id: headers.get(TRACEPARENT).cloned(), rpc, peer, begun }
    }
}

impl Noted {
    /// All that is to be noted of a call that is answered from memory.
    pub(super) fn of_a_hit(
        caller: Caller,
        rule_id: Arc<str>,
        tenant: ContextIdentifier,
        issued: Option<Issued>,
    ) -> Self {
        let whole = Part { tenant: Some(tenant), issued, ..Part::default() };
        Self { caller: Some(caller), rule_id: Some(rule_id), has_reached_a_service: true, whole, ..Self::default() }
    }

    /// Notes in the current span what is noted here.
    pub(super) fn tell_span(&self) {
        if let Some(caller) = &self.caller {
            record_caller(&caller.id);
        }
        if let Some(tenant) = self.whole.tenant {
            record_tenant(tenant);
        }
    }

    /// Puts the events of the call into `lines`: it was named so, and took until `elapsed`.
    pub(super) fn add_to(
        &self,
        head: &Head,
        lines: &mut Lines,
        request_id: &HeaderValue,
        end: End<'_>,
        elapsed: Duration,
    ) {
        let audit = &head.common.audit;
        for part in self.subjects() {
            let end = match (end, &part.refusal) {
                (End::Answered, Some(refusal)) => End::Refused(refusal),
                _ => end,
            };
            with_event(head, self, request_id, part, end, Some(elapsed), |event| audit.add(&event, lines));
        }
    }

    /// What the call has an event about each.
    fn subjects(&self) -> &[Part] {
        if self.parts.is_empty() { slice::from_ref(&self.whole) } else { &self.parts }
    }

    /// Notes that the call's events are made.
    fn tell(&mut self, request_id: &HeaderValue, end: End<'_>) {
        if self.is_stream || !matches!(end, End::Answered) {
            self.request_id = Some(request_id.clone());
        }
    }
}

impl Inner {
    /// No code panics while it holds the lock.
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_event<R>(
    head: &Head,
    noted: &Noted,
    request_id: &HeaderValue,
    part: &Part,
    end: End<'_>,
    elapsed: Option<Duration>,
    use_it: impl FnOnce(Event<'_>) -> R,
) -> R {
    let (decision, code, reason) = match end {
        End::Answered | End::Outlived => (Decision::Allowed, Code::Ok, None),
        End::Refused(status) => {
            (Decision::Refused, status.code(), status.get_details_error_info().map(|info| Cow::Owned(info.reason)))
        }
        End::GivenUp => (Decision::Cancelled, Code::Cancelled, None),
        End::Broken => (Decision::Refused, Code::Internal, Some(Cow::Borrowed("INTERNAL"))),
    };
    use_it(Event {
        kind: if matches!(end, End::Outlived) { Kind::Change } else { Kind::Call },
        request_id: request_id.to_str().ok(),
        trace_id: head.trace_id.as_ref().and_then(trace_id),
        caller: noted.caller.as_ref(),
        peer: head.peer,
        rpc: head.rpc,
        tenant: part.tenant,
        user: part.user.as_deref(),
        decision,
        rule_id: part.rule_id.as_deref().or(noted.rule_id.as_deref()),
        issued: part.issued.filter(|_| matches!(end, End::Answered)),
        change: part.change,
        outcome: code_name(code),
        reason: reason.as_deref(),
        latency: elapsed.map(|elapsed| elapsed.saturating_sub(head.begun)),
    })
}
