//! What surrounds every call, outermost first: a span that ends with the call's status, the audit, load shedding, the
//! deadline, who calls, and how often.
//!
//! A refusal of an inner layer passes through the span like any other answer. What hyper refuses by itself, headers that
//! are too long, reaches no layer.

mod audit;
mod call_record;
mod caller;
mod deadline;
mod held;
mod hit;
mod load_shed;
mod rate_limit;
mod span;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use self::audit::Audited;
pub use self::call_record::CallRecord;
use self::caller::Identify;
pub use self::caller::{CallerError, Callers};
use self::deadline::Deadline;
pub use self::deadline::{Arrival, time_for};
pub use self::held::{Closing, held_by_body, is_stream};
pub use self::hit::{AnswerBody, Asked, Hit, Hits, ReadyBody};
use self::load_shed::LoadShed;
pub use self::load_shed::{Place, Places};
use self::rate_limit::RateLimit;
use self::span::CallSpan;
pub use self::span::{PartLog, code_name, record_tenant};
use super::{Calls, status};
use crate::audit::Audit;
use crate::authorization::{Pace, PolicyInForce};
use crate::clock::Clock;
use crate::log_pace::LogPace;

/// What the calls of a listener are held to, in the layers and past them. Clones share all of it.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// How many calls may be answered at once.
    pub places: Places,
    /// The longest a call may take, whatever deadline its caller sets.
    pub request_timeout: Duration,
    /// Where calls are written down.
    pub audit: Audit,
    /// Who may call. Without it everybody may, and is not looked at.
    pub callers: Option<Callers>,
    /// How often failures are logged.
    pub log_pace: Arc<LogPace>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Puts the layers around `calls`, which know their caller then.
pub fn around(calls: Calls, conditions: &Conditions) -> Calls {
    let Conditions { places, request_timeout, audit, callers, log_pace, clock } = conditions.clone();
    let told = calls.map_response(in_our_words);
    let known = Identify::new(told, callers);
    let timed = Deadline::new(known, request_timeout, Arc::clone(&clock));
    let bounded = LoadShed::new(timed, places);
    let audited = Audited::new(bounded, audit, Arc::clone(&clock));
    BoxCloneSyncService::new(CallSpan::new(audited, clock, log_pace))
}

/// Holds the callers of `calls` to the policy's limits. It goes inside of [`around`], which knows them.
pub fn paced(calls: Calls, policy: PolicyInForce, pace: Pace) -> Calls {
    BoxCloneSyncService::new(RateLimit::new(calls, policy, pace))
}

/// Whether a call of the method at `path` is about several tenants, each of which counts and is told of.
fn is_about_several(path: &str) -> bool {
    const METHODS: [&str; 2] = [
        "/superoffice.ticket.v1.TicketService/BatchGetSystemTickets",
        "/superoffice.ticket.v1.TicketService/WatchSystemTickets",
    ];
    METHODS.contains(&path)
}

/// Replaces the status of a refusal that is not ours. What else it says in headers, such as the encodings that are
/// accepted, stays.
fn in_our_words(mut response: Response<Body>) -> Response<Body> {
    let foreign = Status::from_header_map(response.headers());
    let Some(ours) = foreign.as_ref().and_then(status::in_our_words) else {
        return response.map(|body| {
            Body::new(body.map_frame(|mut frame| {
                frame.trailers_mut().map(without_foreign_words);
                frame
            }))
        });
    };
    let (parts, _) = ours.into_http::<Body>().into_parts();
    response.headers_mut().extend(parts.headers);
    response.extensions_mut().extend(parts.extensions);
    response
}

/// A stream is refused at its end. Reflection does it in words that repeat the symbol or file asked for, which may be
/// anything: they are neither sent nor logged.
fn without_foreign_words(trailers: &mut HeaderMap) {
    let status = Status::from_header_map(trailers);
    if status.is_some_and(|status| status.get_details_error_info().is_none()) {
        trailers.remove(Status::GRPC_MESSAGE);
    }
}
