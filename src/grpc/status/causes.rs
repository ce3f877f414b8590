//! Refusals for which several errors are causes.

use std::time::Duration;

use tonic::Code;

use super::refusal::{Detail, Refusal, refuse};

/// When to ask again after something passing that did not say how long it lasts.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// When a place may be free among the sign-ins that wait: they go after ten minutes.
const SIGN_IN_PAUSE: Duration = Duration::from_mins(1);

/// The same for every tenant, whether it is registered or not.
pub(super) fn not_authorized() -> Refusal {
    let message = "the policy does not let this caller call this method for this tenant";
    refuse(Code::PermissionDenied, "CALLER_NOT_AUTHORIZED", message, Detail::Nothing)
}

pub(super) fn client_refused() -> Refusal {
    refuse(
        Code::FailedPrecondition,
        "CLIENT_REFUSED",
        "SuperOffice does not take the application's client id and secret",
        Detail::Precondition("configure the client id and the client secret that are registered"),
    )
}

pub(super) fn read_only() -> Refusal {
    refuse(
        Code::FailedPrecondition,
        "TENANT_READ_ONLY",
        "the tenant comes from the mounted directory",
        Detail::Precondition("change or remove the tenant's file"),
    )
}

pub(super) fn throttled(retry_after: Duration) -> Refusal {
    refuse(Code::ResourceExhausted, "UPSTREAM_THROTTLED", "SuperOffice asked to wait", Detail::Retry(retry_after))
}

pub(super) fn upstream_unavailable(retry_after: Duration) -> Refusal {
    let message = "SuperOffice cannot be used at the moment";
    refuse(Code::Unavailable, "UPSTREAM_UNAVAILABLE", message, Detail::Retry(retry_after))
}

pub(super) fn circuit_open(retry_after: Duration) -> Refusal {
    let message = "SuperOffice keeps failing, so it is asked once in a while only";
    refuse(Code::Unavailable, "UPSTREAM_CIRCUIT_OPEN", message, Detail::Retry(retry_after))
}

pub(super) fn tenant_mismatch(message: &'static str) -> Refusal {
    refuse(Code::Internal, "UPSTREAM_TENANT_MISMATCH", message, Detail::Nothing)
}

pub(super) fn store_unavailable(retry_after: Duration) -> Refusal {
    let message = "the tenants cannot be read or written at the moment";
    refuse(Code::Unavailable, "STORE_UNAVAILABLE", message, Detail::Retry(retry_after))
}

pub(super) fn too_many() -> Refusal {
    refuse(Code::ResourceExhausted, "OVERLOADED", "this replica answers as many calls as it may", Detail::Retry(SOON))
}

pub(super) fn too_many_sign_ins() -> Refusal {
    let message = "too many sign-ins wait for their users";
    refuse(Code::ResourceExhausted, "TOO_MANY_SIGN_INS", message, Detail::Retry(SIGN_IN_PAUSE))
}

pub(super) fn tenant_unusable() -> Refusal {
    refuse(
        Code::FailedPrecondition,
        "TENANT_UNUSABLE",
        "what is kept of the tenant, its file or its record, cannot be used",
        Detail::Precondition("see ticketd's log for what is wrong with it"),
    )
}

pub(super) fn internal() -> Refusal {
    refuse(Code::Internal, "INTERNAL", "a fault of ticketd: its log has the details", Detail::Nothing)
}
