use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::{Failure, Refused};
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

/// What an answer is about that changed something: in its extensions.
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

/// Writes down what was changed before the answer leaves, and who was refused. Nothing is begun that could not be
/// written down.
pub(super) async fn audited(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let Audited { audit, clock } = audited;
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let Some(route) = route.filter(|route| CHANGING.contains(&route.as_str())) else { return next.run(request).await };
    let peer = request.extensions().get::<Peer>().copied();
    let begun = clock.elapsed();
    let response = if audit.check().is_ok() { next.run(request).await } else { Failure::unaudited().into_response() };
    let status = response.status();
    let changed = response.extensions().get::<Changed>();
    let refused = response.extensions().get::<Refused>();
    let event = Event {
        kind: Kind::Page,
        request_id: None,
        trace_id: None,
        caller: None,
        peer,
        rpc: &route,
        tenant: changed.map(|changed| changed.tenant),
        user: changed.and_then(|changed| changed.user.as_deref()),
        decision: if refused.is_some() { Decision::Refused } else { Decision::Allowed },
        rule_id: None,
        issued: None,
        change: changed.and_then(|changed| changed.change),
        outcome: status.as_str(),
        reason: refused.map(|refused| refused.reason),
        latency: Some(clock.elapsed().saturating_sub(begun)),
    };
    if refused.is_some() {
        // Anybody may ask, as often as they like.
        audit.note_at_the_door(&event);
        return response;
    }
    let unaudited = Failure::unaudited();
    let outcome = unaudited.told.status;
    let instead =
        Event { decision: Decision::Refused, outcome: outcome.as_str(), reason: Some(unaudited.told.reason), ..event };
    match audit.write(&event, &instead).await {
        Ok(()) => response,
        Err(_) => unaudited.into_response(),
    }
}
