//! Between the wire's messages and the domain's types. Nothing a caller sends panics here.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use thiserror::Error;
use tonic::Status;
use zeroize::Zeroizing;

use super::proto;
use super::status;
use crate::authorization::Permit;
use crate::credentials::{
    AccessTokenAnswer, BegunSignIn, InvalidateOutcome, RefreshWarning, SignInAnswer, SignInOwner, SignInRequest,
    SignedIn, TenantChange, TicketAnswer,
};
use crate::crypto::Fingerprint;
use crate::identifiers::{
    AuthorizationCode, CallerId, ContextIdentifier, ContextIdentifierError, RefreshToken, SignInState, SystemUserToken,
};
use crate::store::{Grant, Tenant, TenantSource, TokenProblem, check_system_user_token, user_key};
use crate::superoffice::{SuperOffice, TenantState};

/// The longest refresh token taken, in bytes. Real ones have 64 characters.
const MAX_REFRESH_TOKEN: usize = 1_024;
/// As long as an e-mail address can be.
const MAX_USER: usize = 254;

/// What is wrong with a request. What the caller sent is left out: it may be a secret or anything else.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum InvalidRequest {
    #[error(transparent)]
    ContextIdentifier(#[from] ContextIdentifierError),
    #[error("the tenant at place {0}, counted from 0, cannot be: {1}")]
    ContextIdentifierAt(usize, ContextIdentifierError),
    #[error("name 1 to {MOST_TENANTS} tenants")]
    ContextIdentifiers,
    #[error("min_validity is a duration from 0 to 10,000 years")]
    MinValidity,
    #[error("the fingerprint is not one that GetSystemTicket returns")]
    Fingerprint,
    #[error("the refresh token is too long, or there is neither it nor a user")]
    RefreshToken,
    #[error("a user's name has 1 to 254 bytes, and is not given beside a refresh token")]
    User,
    #[error("the system user token is not valid: {0}")]
    SystemUserToken(#[from] TokenProblem),
    #[error("the page token did not come from this method")]
    PageToken,
    #[error("the page size is negative")]
    PageSize,
}

/// How many tenants a call may name.
const MOST_TENANTS: usize = 100;
const DEFAULT_PAGE_SIZE: u32 = 100;
const LARGEST_PAGE_SIZE: u32 = 1_000;

/// A byte that says whether the message is compressed, and four with its length.
const FRAME_HEAD: usize = 5;

/// The longest `google.protobuf.Duration`, in seconds.
const LONGEST_DURATION: u64 = 315_576_000_000;

pub(super) fn context_identifier(text: &str) -> Result<ContextIdentifier, InvalidRequest> {
    Ok(text.parse()?)
}

/// Each of them once, in the order in which they come first.
pub(super) fn context_identifiers(texts: &[String]) -> Result<Vec<ContextIdentifier>, InvalidRequest> {
    if !(1..=MOST_TENANTS).contains(&texts.len()) {
        return Err(InvalidRequest::ContextIdentifiers);
    }
    let mut seen = HashSet::with_capacity(texts.len());
    let mut tenants = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let tenant = text.parse().map_err(|error| InvalidRequest::ContextIdentifierAt(place, error))?;
        if seen.insert(tenant) {
            tenants.push(tenant);
        }
    }
    Ok(tenants)
}

pub(super) fn min_validity(duration: Option<prost_types::Duration>) -> Result<Duration, InvalidRequest> {
    let Some(prost_types::Duration { seconds, nanos }) = duration else { return Ok(Duration::ZERO) };
    let seconds = u64::try_from(seconds).map_err(|_| InvalidRequest::MinValidity)?;
    let nanos = u32::try_from(nanos).map_err(|_| InvalidRequest::MinValidity)?;
    if seconds > LONGEST_DURATION || nanos > 999_999_999 {
        return Err(InvalidRequest::MinValidity);
    }
    Ok(Duration::new(seconds, nanos))
}

pub(super) fn fingerprint(text: &str) -> Result<Fingerprint, InvalidRequest> {
    text.parse().map_err(|_| InvalidRequest::Fingerprint)
}

/// By what an access token is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum GrantOf {
    Caller(RefreshToken),
    User(String),
}

pub(super) fn grant_of(refresh_token_text: String, user_text: String) -> Result<GrantOf, InvalidRequest> {
    match (refresh_token_text.is_empty(), user_text.is_empty()) {
        (true, false) => user(user_text).map(GrantOf::User),
        (_, true) => refresh_token(refresh_token_text).map(GrantOf::Caller),
        (false, false) => Err(InvalidRequest::User),
    }
}

pub(super) fn user(text: String) -> Result<String, InvalidRequest> {
    let is_name = (1..=MAX_USER).contains(&text.len()) && !text.chars().any(char::is_control);
    if is_name { Ok(text) } else { Err(InvalidRequest::User) }
}

fn refresh_token(text: String) -> Result<RefreshToken, InvalidRequest> {
    if text.is_empty() || text.len() > MAX_REFRESH_TOKEN {
        return Err(InvalidRequest::RefreshToken);
    }
    Ok(RefreshToken::new(text))
}

pub(super) fn system_user_token(text: String) -> Result<SystemUserToken, InvalidRequest> {
    let token = SystemUserToken::new(text);
    check_system_user_token(&token)?;
    Ok(token)
}

pub(super) fn page_size(size: i32) -> Result<u32, InvalidRequest> {
    match u32::try_from(size).map_err(|_| InvalidRequest::PageSize)? {
        0 => Ok(DEFAULT_PAGE_SIZE),
        size => Ok(size.min(LARGEST_PAGE_SIZE)),
    }
}

/// The tenant after which the page begins. Encoded, so that nobody takes it for more than an answer of ours.
pub(super) fn page_token(token: &str) -> Result<Option<ContextIdentifier>, InvalidRequest> {
    let text = page_token_text(token)?;
    text.map(|text| text.parse()).transpose().map_err(|_| InvalidRequest::PageToken)
}

/// The key of the user after whom the page begins.
pub(super) fn grants_page_token(token: &str) -> Result<Option<String>, InvalidRequest> {
    let text = page_token_text(token)?;
    // Lower case may be longer.
    if text.as_ref().is_some_and(|text| text.len() > 4 * MAX_USER) { Err(InvalidRequest::PageToken) } else { Ok(text) }
}

fn page_token_text(token: &str) -> Result<Option<String>, InvalidRequest> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidRequest::PageToken)?;
    let text = String::from_utf8(bytes).map_err(|_| InvalidRequest::PageToken)?;
    // No name has them, and PostgreSQL takes no NUL.
    if text.chars().any(char::is_control) { Err(InvalidRequest::PageToken) } else { Ok(Some(text)) }
}

/// A page of at most `size` of the grants, which are one more when another page follows.
pub(super) fn grants_page(mut grants: Vec<Grant>, size: u32) -> proto::ListGrantsResponse {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = grants.len() > size;
    grants.truncate(size);
    let last = grants.last().filter(|_| more);
    let next_page_token = last.map(|last| URL_SAFE_NO_PAD.encode(user_key(&last.user))).unwrap_or_default();
    proto::ListGrantsResponse { grants: grants.into_iter().map(grant).collect(), next_page_token }
}

fn grant(grant: Grant) -> proto::Grant {
    proto::Grant {
        user: grant.user,
        associate_id: grant.associate_id.unwrap_or_default(),
        create_time: Some(timestamp(grant.create_time)),
        update_time: Some(timestamp(grant.update_time)),
    }
}

pub(super) fn optional_context_identifier(text: &str) -> Result<Option<ContextIdentifier>, InvalidRequest> {
    if text.is_empty() { Ok(None) } else { context_identifier(text).map(Some) }
}

pub(super) fn sign_in_request(
    request: proto::CreateAuthorizationUrlRequest,
    tenant: Option<ContextIdentifier>,
    caller: CallerId,
) -> SignInRequest {
    let proto::CreateAuthorizationUrlRequest { redirect_uri, context_identifier: _, login_hint } = request;
    let login_hint = Some(login_hint).filter(|hint| !hint.is_empty());
    SignInRequest { redirect_uri, tenant, login_hint, owner: SignInOwner::Caller(caller) }
}

pub(super) fn begun_sign_in(begun: BegunSignIn) -> proto::CreateAuthorizationUrlResponse {
    proto::CreateAuthorizationUrlResponse {
        authorization_url: begun.authorization_url,
        state: begun.state.expose().to_owned(),
        expire_time: Some(timestamp(begun.expire_time)),
    }
}

pub(super) fn sign_in_answer(request: proto::ExchangeAuthorizationCodeRequest, caller: CallerId) -> SignInAnswer {
    let proto::ExchangeAuthorizationCodeRequest { state, code } = request;
    let (state, code) = (SignInState::new(state), AuthorizationCode::new(code));
    SignInAnswer { state, code, owner: SignInOwner::Caller(caller) }
}

pub(super) fn signed_in(signed_in: SignedIn) -> proto::ExchangeAuthorizationCodeResponse {
    use proto::exchange_authorization_code_response::TenantChange as Change;
    let change = match signed_in.tenant {
        TenantChange::Registered => Change::Registered,
        TenantChange::TokenReplaced => Change::TokenReplaced,
        TenantChange::Unchanged => Change::Unchanged,
    };
    proto::ExchangeAuthorizationCodeResponse {
        context_identifier: signed_in.context_identifier.to_string(),
        user: signed_in.user,
        access_token: signed_in.access_token.expose().to_owned(),
        expire_time: Some(timestamp(signed_in.expire_time)),
        tenant_change: change.into(),
        grant_kept: signed_in.grant_kept,
    }
}

/// A page of at most `size` of the tenants, which are one more when another page follows.
pub(super) fn page(mut tenants: Vec<Tenant>, size: u32) -> proto::ListTenantsResponse {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = tenants.len() > size;
    tenants.truncate(size);
    let last = tenants.last().filter(|_| more);
    let next_page_token = last.map(|last| URL_SAFE_NO_PAD.encode(last.context_identifier.as_str())).unwrap_or_default();
    proto::ListTenantsResponse { tenants: tenants.into_iter().map(tenant).collect(), next_page_token }
}

pub(super) fn tenant(tenant: Tenant) -> proto::Tenant {
    let source = match tenant.source {
        TenantSource::Database => proto::tenant::Source::Database,
        TenantSource::Directory => proto::tenant::Source::Directory,
    };
    proto::Tenant {
        context_identifier: tenant.context_identifier.to_string(),
        source: source.into(),
        serial: tenant.serial.unwrap_or_default(),
        webapi_url: tenant.webapi_url.unwrap_or_default(),
        create_time: tenant.create_time.map(timestamp),
        update_time: tenant.update_time.map(timestamp),
    }
}

/// `request_headers` are for a caller who may have the client secret; empty for all others.
pub(super) fn system_ticket<'a>(
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
pub(super) fn framed_system_ticket<'a>(
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
pub(super) fn system_ticket_outcome(
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

pub(super) fn invalidate_outcome(outcome: InvalidateOutcome) -> proto::invalidate_system_ticket_response::Outcome {
    use proto::invalidate_system_ticket_response::Outcome;
    match outcome {
        InvalidateOutcome::Invalidated => Outcome::Invalidated,
        InvalidateOutcome::NotCurrent => Outcome::NotCurrent,
        InvalidateOutcome::TooRecent => Outcome::TooRecent,
        InvalidateOutcome::Relocated => Outcome::Relocated,
    }
}

/// What the audit says of it.
pub(super) fn change_by_invalidation(outcome: InvalidateOutcome) -> Option<&'static str> {
    match outcome {
        InvalidateOutcome::Invalidated => Some("ticket_dropped"),
        InvalidateOutcome::Relocated => Some("tenant_relocated"),
        InvalidateOutcome::NotCurrent | InvalidateOutcome::TooRecent => None,
    }
}

pub(super) fn access_token(answer: &AccessTokenAnswer) -> proto::RefreshAccessTokenResponse {
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

/// The wire counts nanoseconds forward from whole seconds, jiff towards zero: they differ before 1970.
fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.subsec_nanosecond();
    if nanos < 0 {
        prost_types::Timestamp { seconds: time.as_second() - 1, nanos: nanos + 1_000_000_000 }
    } else {
        prost_types::Timestamp { seconds: time.as_second(), nanos }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn min_validity_is_absent_or_a_sound_duration() {
        let of = |seconds, nanos| min_validity(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!(min_validity(None), Ok(Duration::ZERO));
        assert_eq!(of(1, 500_000_000), Ok(Duration::from_millis(1_500)));
        assert_eq!(of(315_576_000_000, 0), Ok(Duration::from_hours(87_660_000)));
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (1, -1),
            (-1, 1),
            (0, 1_000_000_000),
            (315_576_000_001, 0),
            (i64::MIN, i32::MIN),
            (i64::MAX, i32::MAX),
        ] {
            assert_eq!(of(seconds, nanos), Err(InvalidRequest::MinValidity), "{seconds} {nanos}");
        }
    }

    #[test]
    fn several_tenants_are_each_named_once_and_a_hundred_at_most() {
        let of = |texts: &[&str]| context_identifiers(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let spelled = |tenants: Vec<ContextIdentifier>| tenants.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(spelled(of(&["Cust2", "Cust1", "cUST2", "Cust1"]).unwrap()), ["Cust2", "Cust1"]);
        assert_eq!(of(&[]), Err(InvalidRequest::ContextIdentifiers));
        assert_eq!(of(&["Cust1"; 100]).unwrap().len(), 1);
        assert_eq!(of(&["Cust1"; 101]), Err(InvalidRequest::ContextIdentifiers));
        let malformed = InvalidRequest::ContextIdentifierAt(1, ContextIdentifierError::Malformed);
        assert_eq!(of(&["Cust1", "1Cust"]), Err(malformed));
    }

    #[test]
    fn a_refusal_among_others_is_the_whole_of_a_refusal_alone() {
        let refusal = Status::from(crate::credentials::TicketError::NotRegistered);
        let told = rpc_status(&refusal);
        assert_eq!((told.code, told.message.as_str()), (5, refusal.message()));
        assert_eq!(told.encode_to_vec(), refusal.details());
        let bare = rpc_status(&Status::unavailable("soon"));
        assert_eq!((bare.code, bare.message.as_str(), bare.details.len()), (14, "soon", 0));
    }

    #[test]
    fn pages_have_bounds() {
        assert_eq!(page_size(0), Ok(100));
        assert_eq!(page_size(7), Ok(7));
        assert_eq!(page_size(i32::MAX), Ok(1_000));
        assert_eq!(page_size(-1), Err(InvalidRequest::PageSize));
    }

    #[test]
    fn an_access_token_is_asked_for_by_one_of_two() {
        let of = |token: &str, user: &str| grant_of(token.to_owned(), user.to_owned());
        assert_eq!(of("r", ""), Ok(GrantOf::Caller(RefreshToken::new("r"))));
        assert_eq!(of("", "me@example.com"), Ok(GrantOf::User("me@example.com".to_owned())));
        assert_eq!(of("", ""), Err(InvalidRequest::RefreshToken));
        assert_eq!(of(&"r".repeat(1_025), ""), Err(InvalidRequest::RefreshToken));
        assert_eq!(of("r", "me@example.com"), Err(InvalidRequest::User));
        assert_eq!(of("", &"m".repeat(255)), Err(InvalidRequest::User));
        assert_eq!(of("", "a\0b"), Err(InvalidRequest::User));
    }

    #[test]
    fn a_page_token_of_grants_leads_to_the_user_after_it() {
        let kept = |user: &str| Grant {
            context_identifier: "Cust1".parse().unwrap(),
            user: user.to_owned(),
            refresh_token: RefreshToken::new("x"),
            associate_id: None,
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
        };
        let first = grants_page(vec![kept("A@example.com"), kept("b@example.com")], 1);
        assert_eq!(first.grants.len(), 1);
        assert_eq!(grants_page_token(&first.next_page_token), Ok(Some("a@example.com".to_owned())));
        assert_eq!(grants_page(vec![kept("b@example.com")], 1).next_page_token, "");
        for wrong in ["=", "_w", &URL_SAFE_NO_PAD.encode("x".repeat(2_000)), &URL_SAFE_NO_PAD.encode("a\0b")] {
            assert_eq!(grants_page_token(wrong), Err(InvalidRequest::PageToken), "{wrong}");
        }
    }

    #[test]
    fn a_page_token_leads_to_the_tenant_after_it_and_the_last_page_has_none() {
        let registered = |name: &str| Tenant {
            context_identifier: name.parse().unwrap(),
            system_user_token: SystemUserToken::new("x"),
            source: TenantSource::Database,
            serial: None,
            webapi_url: None,
            create_time: None,
            update_time: None,
        };
        let first = page(vec![registered("Cust1"), registered("Cust2"), registered("Cust3")], 2);
        assert_eq!(first.tenants.len(), 2);
        assert_eq!(page_token(&first.next_page_token), Ok(Some("Cust2".parse().unwrap())));
        assert_eq!(page(vec![registered("Cust3")], 2).next_page_token, "");
        assert_eq!(page(vec![registered("Cust3"), registered("Cust4")], 2).next_page_token, "");
        for wrong in ["Cust2", "Q3VzdDI=", "//..", "AA", "\u{1f600}"] {
            assert_eq!(page_token(wrong), Err(InvalidRequest::PageToken), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn times_of_either_sign_keep_their_value(seconds in -60_000_000_000_i64..250_000_000_000, nanos in 0..1_000_000_000_i32) {
            let time = Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)).unwrap();
            prop_assert_eq!(timestamp(time), prost_types::Timestamp { seconds, nanos });
        }

        #[test]
        fn no_page_token_panics(token in ".{0,60}") {
            let _ = page_token(&token);
        }
    }
}
