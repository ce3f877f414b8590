use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use tonic_types::StatusExt;

use super::*;
use crate::authorization::Method;
use crate::crypto::JwtRejection;
use crate::identifiers::{CallerId, ContextIdentifierError};
use crate::store::{TenantFileProblem, TokenProblem};
use crate::superoffice::TenantState;

const CANARY: &str = "canary-3f9a61c2";

fn every_status() -> Vec<Status> {
    [from_every_service(), of_a_tenant(), from_ticket_service(), from_authorization_service(), from_tenant_service()]
        .concat()
}

fn from_every_service() -> Vec<Status> {
    vec![
        overloaded(),
        CallerError::Nobody.into(),
        CallerError::from(BearerError::Rejected(JwtRejection::Expired)).into(),
        CallerError::from(BearerError::Unavailable { cause: CANARY.into(), retry_after: Duration::from_secs(7) })
            .into(),
        audit_unavailable(),
        rate_limited(Duration::from_secs(7)),
        deadline_exceeded(),
        PermitError::Denied { caller: CallerId::Unidentified, method: Method::ListTenants, tenant: None }.into(),
        PermitError::NoCaller.into(),
        panicked(),
        in_our_words(&Status::internal("")).unwrap(),
        in_our_words(&Status::out_of_range("")).unwrap(),
        in_our_words(&Status::unimplemented("")).unwrap(),
        TicketError::Internal(CANARY.to_owned()).into(),
    ]
}

fn of_a_tenant() -> Vec<Status> {
    vec![InvalidRequest::ContextIdentifier(ContextIdentifierError::Malformed).into()]
}

fn from_authorization_service() -> Vec<Status> {
    let (canary, retry_after) = (CANARY.to_owned(), Duration::from_secs(7));
    vec![
        SignInError::Unknown.into(),
        SignInError::OtherOwner.into(),
        SignInError::NotEntitled.into(),
        SignInError::WrongTenant.into(),
        SignInError::WrongUser.into(),
        SignInError::NoSystemUserToken.into(),
        SignInError::CodeRefused.into(),
        SignInError::CodeInvalid.into(),
        SignInError::Authorization(AuthorizeErrorCode::Revoked).into(),
        SignInError::Authorization(AuthorizeErrorCode::Expired).into(),
        SignInError::Authorization(AuthorizeErrorCode::Denied).into(),
        SignInError::Authorization(AuthorizeErrorCode::NeedsReapproval).into(),
        SignInError::ClientRefused(canary.clone()).into(),
        SignInError::TokenInvalid(CANARY).into(),
        SignInError::TenantMismatch(CANARY).into(),
        SignInError::RedirectUriNotAllowed.into(),
        SignInError::LoginHintInvalid.into(),
        SignInError::TooManyPending.into(),
        SignInError::TenantReadOnly.into(),
        SignInError::TenantUnusable(canary.clone()).into(),
        SignInError::Throttled { retry_after }.into(),
        SignInError::Unavailable { cause: canary.clone(), retry_after }.into(),
        SignInError::CircuitOpen { retry_after }.into(),
        SignInError::StoreUnavailable { cause: canary.clone(), retry_after }.into(),
        SignInError::Overloaded.into(),
        SignInError::Internal(canary).into(),
    ]
}

fn from_ticket_service() -> Vec<Status> {
    let (canary, retry_after) = (CANARY.to_owned(), Duration::from_secs(7));
    vec![
        TicketError::NotRegistered.into(),
        TicketError::MinValidityTooLarge { longest: Duration::from_mins(290) }.into(),
        TicketError::Authorization(AuthorizeErrorCode::Revoked).into(),
        TicketError::Authorization(AuthorizeErrorCode::Expired).into(),
        TicketError::Authorization(AuthorizeErrorCode::Denied).into(),
        TicketError::Authorization(AuthorizeErrorCode::NeedsReapproval).into(),
        TicketError::Authorization(AuthorizeErrorCode::InvalidRedirectUrl).into(),
        TicketError::Refused { message: canary.clone() }.into(),
        TicketError::SigningKeyRejected.into(),
        TicketError::ClockSkew { retry_after }.into(),
        TicketError::TenantNotRunning(TenantState::Suspended).into(),
        TicketError::TenantMaintenance { retry_after }.into(),
        TicketError::Throttled { retry_after }.into(),
        TicketError::Unavailable { cause: canary.clone(), retry_after }.into(),
        TicketError::CircuitOpen { retry_after }.into(),
        TicketError::HeldElsewhere { retry_after }.into(),
        TicketError::TokenInvalid(JwtRejection::UnknownKey).into(),
        TicketError::TenantMismatch(JwtRejection::ContextIdentifierMismatch).into(),
        TicketError::CacheFull { retry_after }.into(),
        TicketError::StoreUnavailable { cause: canary.clone(), retry_after }.into(),
        TicketError::TenantUnusable(canary.clone()).into(),
        TicketError::Overloaded.into(),
        TicketError::Internal(canary.clone()).into(),
        AccessTokenError::RefreshTokenRefused.into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::Revoked).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::Expired).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::Denied).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::NeedsReapproval).into(),
        AccessTokenError::GrantNotKept.into(),
        AccessTokenError::GrantRevoked.into(),
        AccessTokenError::TenantNotRegistered.into(),
        AccessTokenError::StoreUnavailable { cause: canary.clone(), retry_after }.into(),
        AccessTokenError::GrantUnusable(canary.clone()).into(),
        AccessTokenError::ClientRefused(canary.clone()).into(),
        AccessTokenError::Throttled { retry_after }.into(),
        AccessTokenError::Unavailable { cause: canary.clone(), retry_after }.into(),
        AccessTokenError::CircuitOpen { retry_after }.into(),
        AccessTokenError::TenantMismatch.into(),
        AccessTokenError::Overloaded.into(),
        AccessTokenError::Internal(canary).into(),
        too_many_watches(),
        watch_ended(),
        InvalidRequest::ContextIdentifiers.into(),
        InvalidRequest::ContextIdentifierAt(1, ContextIdentifierError::Empty).into(),
        InvalidRequest::MinValidity.into(),
        InvalidRequest::Fingerprint.into(),
        InvalidRequest::RefreshToken.into(),
        InvalidRequest::User.into(),
    ]
}

fn from_tenant_service() -> Vec<Status> {
    let context_identifier = "Cust1".parse().unwrap();
    vec![
        StoreError::ReadOnly { context_identifier, directory: CANARY.into() }.into(),
        StoreError::NotRegistered { context_identifier }.into(),
        StoreError::InvalidToken { reason: TokenProblem::Dot }.into(),
        StoreError::TimedOut { path: CANARY.into() }.into(),
        StoreError::TenantFile { path: CANARY.into(), problem: TenantFileProblem::NotUtf8 }.into(),
        StoreError::Url(CANARY).into(),
        StoreError::BadGrant { context_identifier, problem: CANARY }.into(),
        AccessTokenError::GrantNotKept.into(),
        AccessTokenError::ClientRefused(CANARY.to_owned()).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::Revoked).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::Expired).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::Denied).into(),
        AccessTokenError::Authorization(AuthorizeErrorCode::NeedsReapproval).into(),
        AccessTokenError::CircuitOpen { retry_after: Duration::from_secs(7) }.into(),
        AccessTokenError::Unavailable { cause: CANARY.to_owned(), retry_after: Duration::from_secs(7) }.into(),
        AccessTokenError::Throttled { retry_after: Duration::from_secs(7) }.into(),
        InvalidRequest::User.into(),
        InvalidRequest::SystemUserToken(TokenProblem::Dot).into(),
        InvalidRequest::PageToken.into(),
        InvalidRequest::PageSize.into(),
    ]
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().expect("every error has an ErrorInfo");
    assert_eq!(info.domain, DOMAIN);
    info.reason
}

#[test]
fn what_is_answered_and_what_the_proto_promises_are_the_same() {
    let of_tickets = include_str!("../../../proto/superoffice/ticket/v1/ticket_service.proto");
    let of_authorization = include_str!("../../../proto/superoffice/ticket/v1/authorization_service.proto");
    let of_tenants = include_str!("../../../proto/superoffice/ticket/v1/tenant_service.proto");
    assert_eq!(answered(from_ticket_service()), documented(of_tickets), "ticket_service.proto");
    assert_eq!(answered(from_authorization_service()), documented(of_authorization), "authorization_service.proto");
    assert_eq!(answered(from_tenant_service()), documented(of_tenants), "tenant_service.proto");
}

/// The codes and reasons of these statuses and of those that every service answers.
fn answered(statuses: Vec<Status>) -> BTreeSet<(String, String)> {
    let statuses = statuses.into_iter().chain(from_every_service()).chain(of_a_tenant());
    statuses.map(|status| (crate::grpc::layers::code_name(status.code()).to_owned(), reason(&status))).collect()
}

fn documented(proto: &str) -> BTreeSet<(String, String)> {
    let row = |line: &str| {
        let mut words = line.trim().strip_prefix("//   ")?.split_whitespace();
        let (code, reason) = (words.next()?, words.next()?);
        reason.chars().all(|c| c.is_ascii_uppercase() || c == '_').then(|| (code.to_owned(), reason.to_owned()))
    };
    proto.lines().filter_map(row).collect()
}

#[test]
fn no_internal_cause_reaches_the_caller_and_every_cause_reaches_the_log() {
    for status in every_status() {
        let sent = status.clone().into_http::<()>();
        let headers = format!("{:?} {:?}", sent.headers(), status.get_error_details());
        assert!(!headers.contains("canary") && !headers.contains("3f9a"), "{headers}");
    }
    let status = Status::from(TicketError::Internal(CANARY.to_owned()));
    assert!(status.source().is_some_and(|cause| cause.to_string().contains(CANARY)));
}

#[test]
fn what_can_pass_says_when_to_ask_again_and_nothing_else_does() {
    for status in every_status() {
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let passing = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
        assert_eq!(retry.is_some_and(|delay| !delay.is_zero()), passing, "{}", reason(&status));
        let violations = status.get_details_precondition_failure().is_some_and(|it| !it.violations.is_empty());
        assert_eq!(violations, status.code() == Code::FailedPrecondition, "{}", reason(&status));
        let fields = status.get_details_bad_request().is_some_and(|it| !it.field_violations.is_empty());
        let of_a_field = status.code() == Code::InvalidArgument && reason(&status) != "REQUEST_MALFORMED";
        assert_eq!(fields, of_a_field, "{}", reason(&status));
    }
    let throttled = Status::from(TicketError::Throttled { retry_after: Duration::from_secs(30) });
    let delay = throttled.get_details_retry_info().and_then(|info| info.retry_delay);
    assert_eq!(delay, Some(Duration::from_secs(30)));
}
