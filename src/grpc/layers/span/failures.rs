use std::error::Error;
use std::sync::Arc;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::{Level, Span};

use super::code_name;
use crate::identifiers::ContextIdentifier;
use crate::log_pace::LogPace;

pub(super) const FAILED: &str = "call failed";
const REFUSED: &str = "call refused";

/// In the extensions of a request about several tenants: where it is told why there is nothing of one of them, as it is of a
/// call that ends so.
#[derive(Clone, Debug)]
pub struct PartLog {
    pub(super) span: Span,
    pub(super) pace: Arc<LogPace>,
}

impl PartLog {
    /// Logs why the tenant is refused.
    pub fn refused(&self, tenant: ContextIdentifier, status: &Status) {
        let reason = status.get_details_error_info().map(|info| info.reason);
        let reason = reason.as_deref().unwrap_or(code_name(status.code()));
        self.span.in_scope(|| log(&self.pace, severity(status.code()), reason, status, Some(tenant)));
    }
}

/// Logs, of each reason one a second, the others at DEBUG. `tenant` is which it is about, where the span does not say.
pub(super) fn log(
    pace: &LogPace,
    (level, event): (Level, &str),
    reason: &str,
    status: &Status,
    tenant: Option<ContextIdentifier>,
) {
    let (code, cause) = (code_name(status.code()), causes(status));
    let tenant = tenant.map(tracing::field::display);
    let Some(unlogged) = pace.admit(reason) else {
        tracing::debug!(code, reason, cause, tenant, "{event}");
        return;
    };
    match level {
        Level::ERROR => tracing::error!(code, reason, cause, tenant, unlogged, "{event}"),
        Level::WARN => tracing::warn!(code, reason, cause, tenant, unlogged, "{event}"),
        _ => tracing::info!(code, reason, cause, tenant, unlogged, "{event}"),
    }
}

/// How loudly a call's end is told, and in which words.
pub(super) fn severity(code: Code) -> (Level, &'static str) {
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => (Level::ERROR, FAILED),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unimplemented => (Level::WARN, FAILED),
        Code::ResourceExhausted => (Level::WARN, REFUSED),
        _ => (Level::INFO, REFUSED),
    }
}

/// The error behind a status and what caused that, or the status's message when it came without.
fn causes(status: &Status) -> String {
    let mut cause = status.source();
    let mut text = cause.map_or_else(|| status.message().to_owned(), ToString::to_string);
    while let Some(deeper) = cause.and_then(Error::source) {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = Some(deeper);
    }
    text
}
