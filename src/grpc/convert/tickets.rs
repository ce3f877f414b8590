//! Tickets and access tokens, as they are answered.

use bytes::Bytes;
use prost::Message;
use tonic::Status;
use zeroize::Zeroizing;

use super::timestamp;
use crate::authorization::Permit;
use crate::credentials::{AccessTokenAnswer, InvalidateOutcome, RefreshWarning, TicketAnswer};
use crate::grpc::{proto, status};
use crate::identifiers::ContextIdentifier;
use crate::superoffice::{SuperOffice, TenantState};

/// A byte that says whether the message is compressed, and four with its length.
const FRAME_HEAD: usize = 5;

/// `request_headers` are for a caller who may have the client secret; empty for all others.
pub(in crate::grpc) fn system_ticket<'a>(
    answer: &TicketAnswer,
    request_headers: impl IntoIterator<Item = (&'a str, Zeroizing<String>)>,
) -> proto::SystemTicket {
    let ticket = &answer.ticket;
    let request_headers = request_headers.into_iter();
    proto::SystemTicket {
        context_identifier: ticket.context_identifier.to_string(),
        ticket: ticket.ticket.expose().to_owned(),
        fingerprint: ticket.fingerprint.to_string(),
        issue_time: Some(timestamp(ticket.issue_time)),
        expire_time: Some(timestamp(ticket.expire_time)),
        refresh_time: Some(timestamp(ticket.refresh_time)),
        webapi_url: answer.webapi_url().unwrap_or_default().to_owned(),
        netserver_url: ticket.netserver_url.as_deref().unwrap_or_default().to_owned(),
        tenant_state: tenant_state(answer.tenant.status.state).into(),
        refresh_warning: answer.refresh_warning.as_deref().map(refresh_warning),
        request_headers: request_headers.map(|(name, value)| (name.to_owned(), value.to_string())).collect(),
    }
}

/// The answer of `GetSystemTicket` in its frame (gRPC over HTTP/2, "Length-Prefixed-Message"). It is wiped when nobody
/// has it any more.
pub(in crate::grpc) fn framed_system_ticket<'a>(
    answer: &TicketAnswer,
    request_headers: impl IntoIterator<Item = (&'a str, Zeroizing<String>)>,
) -> Bytes {
    let response = proto::GetSystemTicketResponse { system_ticket: Some(system_ticket(answer, request_headers)) };
    let length = response.encoded_len();
    let mut framed = Zeroizing::new(Vec::with_capacity(FRAME_HEAD + length));
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    response.encode_raw(&mut *framed);
    Bytes::from_owner(framed)
}

/// What became of one of several tenants.
pub(in crate::grpc) fn system_ticket_outcome(
    tenant: ContextIdentifier,
    permit: Option<&Permit>,
    outcome: Result<&TicketAnswer, &Status>,
    superoffice: &SuperOffice,
) -> proto::SystemTicketOutcome {
    use proto::system_ticket_outcome::Outcome;
    let outcome = match outcome {
        Ok(answer) => {
            let has_headers = permit.is_some_and(|permit| permit.app_token);
            let headers = has_headers.then(|| superoffice.ticket_headers(&answer.ticket.ticket));
            Outcome::SystemTicket(system_ticket(answer, headers.into_iter().flatten()))
        }
        Err(refusal) => Outcome::Status(rpc_status(refusal)),
    };
    proto::SystemTicketOutcome { context_identifier: tenant.to_string(), outcome: Some(outcome) }
}

/// Details of a status are a `google.rpc.Status` already.
fn rpc_status(status: &Status) -> tonic_types::Status {
    tonic_types::Status::decode(status.details())
        .ok()
        .filter(|whole| whole.code == status.code() as i32)
        .unwrap_or_else(|| tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Vec::new(),
        })
}

pub(in crate::grpc) fn invalidate_outcome(
    outcome: InvalidateOutcome,
) -> proto::invalidate_system_ticket_response::Outcome {
    use proto::invalidate_system_ticket_response::Outcome;
    match outcome {
        InvalidateOutcome::Invalidated => Outcome::Invalidated,
        InvalidateOutcome::NotCurrent => Outcome::NotCurrent,
        InvalidateOutcome::TooRecent => Outcome::TooRecent,
        InvalidateOutcome::Relocated => Outcome::Relocated,
    }
}

/// What the audit says of it.
pub(in crate::grpc) fn change_by_invalidation(outcome: InvalidateOutcome) -> Option<&'static str> {
    match outcome {
        InvalidateOutcome::Invalidated => Some("ticket_dropped"),
        InvalidateOutcome::Relocated => Some("tenant_relocated"),
        InvalidateOutcome::NotCurrent | InvalidateOutcome::TooRecent => None,
    }
}

pub(in crate::grpc) fn access_token(answer: &AccessTokenAnswer) -> proto::RefreshAccessTokenResponse {
    proto::RefreshAccessTokenResponse {
        access_token: answer.access_token.expose().to_owned(),
        expire_time: Some(timestamp(answer.expire_time)),
        refresh_token: answer.refresh_token.as_ref().map(|token| token.expose().to_owned()).unwrap_or_default(),
    }
}

fn refresh_warning(warning: &RefreshWarning) -> proto::RefreshWarning {
    proto::RefreshWarning {
        reason: status::ticket_reason(&warning.error).to_owned(),
        failed_attempts: warning.failed_attempts,
        last_failure_time: Some(timestamp(warning.last_failure)),
        next_attempt_time: Some(timestamp(warning.next_attempt)),
    }
}

fn tenant_state(state: TenantState) -> proto::TenantState {
    match state {
        TenantState::Unknown => proto::TenantState::Unspecified,
        TenantState::Provisioning => proto::TenantState::Provisioning,
        TenantState::Running => proto::TenantState::Running,
        TenantState::Deleted => proto::TenantState::Deleted,
        TenantState::Suspended => proto::TenantState::Suspended,
        TenantState::OnlineMaintenance => proto::TenantState::OnlineMaintenance,
        TenantState::OfflineMaintenance => proto::TenantState::OfflineMaintenance,
        TenantState::ProvisioningFailed => proto::TenantState::ProvisioningFailed,
        TenantState::Deleting => proto::TenantState::Deleting,
        TenantState::DeleteFailed => proto::TenantState::DeleteFailed,
        TenantState::MigrationPending => proto::TenantState::MigrationPending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_among_others_is_the_whole_of_a_refusal_alone() {
        let refusal = Status::from(crate::credentials::TicketError::NotRegistered);
        let told = rpc_status(&refusal);
        assert_eq!((told.code, told.message.as_str()), (5, refusal.message()));
        assert_eq!(told.encode_to_vec(), refusal.details());
        let bare = rpc_status(&Status::unavailable("soon"));
        assert_eq!((bare.code, bare.message.as_str(), bare.details.len()), (14, "soon", 0));
    }
}
