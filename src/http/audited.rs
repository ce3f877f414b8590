use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::{Failure, Refused, Told};
use crate::audit::{Audit, Decision, Event, Kind};
use crate::clock::Clock;
use crate::credentials::{SignedIn, TenantEvent, TenantNotice};
use crate::identifiers::{ContextIdentifier, Peer};

/// What changes something. Other pages change nothing that lasts, and are not written down.
const CHANGING: [&str; 2] = ["/onboarding/callback", "/webhooks/tenant-status"];

/// What writing down takes.
#[derive(Clone, Debug)]
pub(super) struct Audited {
    pub(super) audit: Audit,
    pub(super) clock: Arc<dyn Clock>,
}

/// What the audit will say of a request that may change something: in its extensions, where what it changes is noted.
/// Clones are of the same record.
#[derive(Clone, Debug)]
pub(super) struct PageRecord(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    audit: Audit,
    route: String,
    peer: Option<Peer>,
    /// By monotonic time.
    begun: Duration,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Whether its event is made: what is noted from then on is not in it.
    is_told: bool,
    changed: Option<Changed>,
}

/// What was changed, and about whom.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    tenant: ContextIdentifier,
    user: Option<String>,
    change: Option<&'static str>,
}

impl Changed {
    pub(super) fn by_sign_in(signed_in: &SignedIn) -> Self {
        let user = Some(signed_in.user.clone());
        Self { tenant: signed_in.context_identifier, user, change: signed_in.change() }
    }

    pub(super) fn by_notice(notice: &TenantNotice) -> Self {
        let change = match notice.event {
            TenantEvent::Upgrade => "tenant_upgraded",
            TenantEvent::BackupRestored => "tenant_restored",
            TenantEvent::Suspend => "tenant_suspended",
            TenantEvent::Resume => "tenant_resumed",
            TenantEvent::Delete => "tenant_deleted_upstream",
            TenantEvent::Move => "tenant_moved",
        };
        Self { tenant: notice.context_identifier, user: None, change: Some(change) }
    }
}

impl PageRecord {
    /// Notes what the request has changed. When it has ended already, because its sender hung up or its time was up, the
    /// change has an event of its own.
    pub(super) fn changed(&self, changed: Changed) {
        let mut noted = self.noted();
        if noted.is_told && changed.change.is_some() {
            let event = self.event(Some(&changed), Decision::Allowed, "OK", None, None);
            self.0.audit.note(&Event { kind: Kind::Change, ..event });
        }
        noted.changed = Some(changed);
    }

    /// What the request's event tells of, as it is made now.
    fn told(&self) -> Option<Changed> {
        let mut noted = self.noted();
        noted.is_told = true;
        noted.changed.clone()
    }

    /// Has the request's event written, and nothing waits for it.
    fn write_off(&self, decision: Decision, outcome: &str, reason: Option<&str>, elapsed: Duration) {
        let changed = self.told();
        let event = self.event(changed.as_ref(), decision, outcome, reason, Some(elapsed));
        if changed.is_some() {
            self.0.audit.note(&event);
        } else {
            // Anybody may ask, as often as they like.
            self.0.audit.note_at_the_door(&event);
        }
    }

    fn event<'a>(
        &'a self,
        changed: Option<&'a Changed>,
        decision: Decision,
        outcome: &'a str,
        reason: Option<&'a str>,
        elapsed: Option<Duration>,
    ) -> Event<'a> {
        Event {
            kind: Kind::Page,
            request_id: None,
            trace_id: None,
            caller: None,
            peer: self.0.peer,
            rpc: &self.0.route,
            tenant: changed.map(|changed| changed.tenant),
            user: changed.and_then(|changed| changed.user.as_deref()),
            decision,
            rule_id: None,
            issued: None,
            change: changed.and_then(|changed| changed.change),
            outcome,
            reason,
            latency: elapsed.map(|elapsed| elapsed.saturating_sub(self.0.begun)),
        }
    }

    /// No code panics while it holds the lock.
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes down what was changed before the answer leaves, and who was refused. Nothing is begun that could not be
/// written down.
pub(super) async fn audited(State(audited): State<Audited>, mut request: Request, next: Next) -> Response {
    let Audited { audit, clock } = audited;
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let Some(route) = route.filter(|route| CHANGING.contains(&route.as_str())) else { return next.run(request).await };
    let peer = request.extensions().get::<Peer>().copied();
    let begun = clock.elapsed();
    let record = PageRecord(Arc::new(Inner { audit: audit.clone(), route, peer, begun, noted: Mutex::default() }));
    request.extensions_mut().insert(record.clone());
    let mut open = Open { record: Some(record), clock };
    let response = if audit.check().is_ok() { next.run(request).await } else { Failure::unaudited().into_response() };
    open.close(&audit, response).await
}

/// A request without an event. Dropped, it was given up or has panicked.
struct Open {
    record: Option<PageRecord>,
    clock: Arc<dyn Clock>,
}

impl Open {
    /// The answer once its event is written, or what is answered in its place.
    async fn close(&mut self, audit: &Audit, response: Response) -> Response {
        let Some(record) = self.record.take() else { return response };
        let elapsed = self.clock.elapsed();
        let status = response.status();
        if let Some(Refused { reason, .. }) = response.extensions().get() {
            record.write_off(Decision::Refused, status.as_str(), Some(reason), elapsed);
            return response;
        }
        let unaudited = Failure::unaudited();
        let Told { status: instead, reason, .. } = unaudited.told;
        let changed = record.told();
        let changed = changed.as_ref();
        let event = record.event(changed, Decision::Allowed, status.as_str(), None, Some(elapsed));
        let otherwise = record.event(changed, Decision::Refused, instead.as_str(), Some(reason), Some(elapsed));
        match audit.write(&event, &otherwise).await {
            Ok(()) => response,
            Err(_) => unaudited.into_response(),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let (decision, outcome, reason) = if std::thread::panicking() {
                (Decision::Refused, "500", Some("INTERNAL"))
            } else {
                (Decision::Cancelled, "CANCELLED", None)
            };
            record.write_off(decision, outcome, reason, self.clock.elapsed());
        }
    }
}
