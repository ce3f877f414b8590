//! What is shown of a ticket: everything but itself.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::grpc::proto::SystemTicket;

pub(super) fn in_json(ticket: &SystemTicket) -> Value {
    let warning = ticket.refresh_warning.as_ref().map(|warning| {
        json!({
            "reason": warning.reason,
            "failed_attempts": warning.failed_attempts,
            "last_failure_time": warning.last_failure_time.and_then(time),
            "next_attempt_time": warning.next_attempt_time.and_then(time),
        })
    });
    json!({
        "context_identifier": ticket.context_identifier,
        "tenant_state": state(ticket),
        "fingerprint": ticket.fingerprint,
        "issue_time": ticket.issue_time.and_then(time),
        "refresh_time": ticket.refresh_time.and_then(time),
        "expire_time": ticket.expire_time.and_then(time),
        "webapi_url": ticket.webapi_url,
        "netserver_url": ticket.netserver_url,
        "refresh_warning": warning,
    })
}

/// Why its renewal fails, if it does.
pub(super) fn warning(ticket: &SystemTicket) -> Option<String> {
    let warning = ticket.refresh_warning.as_ref()?;
    Some(format!("{} after {} failed renewals", warning.reason, warning.failed_attempts))
}

pub(super) fn state(ticket: &SystemTicket) -> String {
    ticket.tenant_state().as_str_name().trim_start_matches("TENANT_STATE_").to_ascii_lowercase()
}

pub(super) fn time(time: prost_types::Timestamp) -> Option<String> {
    Timestamp::new(time.seconds, time.nanos).ok().map(|time| time.to_string())
}
