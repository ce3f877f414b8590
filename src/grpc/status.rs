//! The only table from errors to gRPC codes. What a caller reads is written here; the error itself rides along as the
//! status's source, which the span layer logs and nobody sends.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::convert::InvalidRequest;
use super::layers::CallerError;
use super::permits::PermitError;
use crate::audit::AUDIT_UNAVAILABLE;
use crate::credentials::{AccessTokenError, SignInError, TicketError};
use crate::identity::BearerError;
use crate::store::StoreError;
use crate::superoffice::AuthorizeErrorCode;

/// Who the reasons in `google.rpc.ErrorInfo` belong to.
pub const DOMAIN: &str = "ticketd";

/// When to ask again after something passing that did not say how long it lasts.
const SOON: Duration = Duration::from_secs(1);
/// When a place may be free among the sign-ins that wait: they go after ten minutes.
const SIGN_IN_PAUSE: Duration = Duration::from_mins(1);

/// When a place may be free among the watches: streams end with their connections, after minutes.
const WATCH_PAUSE: Duration = Duration::from_secs(30);
/// Nothing has to pass before another watch begins, on another connection.
const WATCH_AGAIN: Duration = Duration::from_millis(100);

/// The reason of a stream's end that is as it should be.
pub(super) const WATCH_ENDED: &str = "WATCH_ENDED";

/// What a caller gets for one cause.
struct Refusal {
    code: Code,
    reason: &'static str,
    message: String,
    detail: Detail,
}

/// What comes with it beside `ErrorInfo`.
enum Detail {
    Nothing,
    Retry(Duration),
    /// The request's field that is wrong.
    Field(Cow<'static, str>),
    /// What must be done, and by whom, before the call can succeed.
    Precondition(&'static str),
}

/// This replica answers as many calls as it may.
pub(super) fn overloaded() -> Status {
    too_many().into()
}

/// Something ended without an outcome, by a panic that is in the log.
pub(super) fn broken() -> Status {
    internal().into()
}

/// The caller calls more often than it may.
pub(super) fn rate_limited(retry_after: Duration) -> Status {
    let message = "this caller calls more often than it may";
    refuse(Code::ResourceExhausted, "CALLER_RATE_LIMITED", message, Detail::Retry(retry_after)).into()
}

/// Streams that watch are as many as they may be.
pub(super) fn too_many_watches() -> Status {
    let message = "this caller, or all callers together, watch as much as they may";
    refuse(Code::ResourceExhausted, "TOO_MANY_WATCHES", message, Detail::Retry(WATCH_PAUSE)).into()
}

/// The stream ends with its connection.
pub(super) fn watch_ended() -> Status {
    let message = "the connection closes: watch again";
    refuse(Code::Unavailable, WATCH_ENDED, message, Detail::Retry(WATCH_AGAIN)).into()
}

/// The call's deadline, or the server's, passed first.
pub(super) fn deadline_exceeded() -> Status {
    let message = "the deadline passed before there was an answer";
    refuse(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message, Detail::Nothing).into()
}

/// The call's audit event cannot be written: what it tells of must not leave.
pub(super) fn audit_unavailable() -> Status {
    let message = "what is answered cannot be written down at the moment, so it is not";
    refuse(Code::Unavailable, AUDIT_UNAVAILABLE, message, Detail::Retry(SOON)).into()
}

/// A handler panicked.
pub(super) fn panicked() -> Status {
    internal().into()
}

/// What the caller gets in place of a refusal by the library that decodes requests, whose words may repeat the request's;
/// none when the refusal is ours already, or of a protocol that is not ours to describe.
pub(super) fn in_our_words(status: &Status) -> Option<Status> {
    if status.get_details_error_info().is_some() {
        return None;
    }
    let (code, reason, message) = match status.code() {
        // Faults of ours have their reason: this is one that the library found while it read the request.
        Code::Internal | Code::Unknown => {
            (Code::InvalidArgument, "REQUEST_MALFORMED", "the request is not a message of this method")
        }
        Code::OutOfRange => (Code::OutOfRange, "REQUEST_TOO_LARGE", "the request is larger than 64 KiB"),
        Code::Unimplemented => {
            (Code::Unimplemented, "NOT_SUPPORTED", "there is no such method, or the request is compressed")
        }
        _ => return None,
    };
    Some(refuse(code, reason, message, Detail::Nothing).into())
}

/// The reason alone, for a ticket that is served although its renewal failed.
pub fn ticket_reason(error: &TicketError) -> &'static str {
    ticket(error).reason
}

fn ticket(error: &TicketError) -> Refusal {
    use Code::{FailedPrecondition, Internal, InvalidArgument, NotFound, ResourceExhausted, Unavailable};
    match error {
        TicketError::NotRegistered => refuse(NotFound, "TENANT_NOT_REGISTERED", error, Detail::Nothing),
        TicketError::MinValidityTooLarge { longest: _ } => {
            refuse(InvalidArgument, "MIN_VALIDITY_TOO_LARGE", error, Detail::Field("min_validity".into()))
        }
        TicketError::Authorization(code) => authorization(*code),
        TicketError::Refused { message: _ } => refuse(
            FailedPrecondition,
            "EXCHANGE_REFUSED",
            "SuperOffice refused the exchange and did not say why in a known way",
            Detail::Precondition("see ticketd's log for what SuperOffice said"),
        ),
        TicketError::SigningKeyRejected => refuse(
            FailedPrecondition,
            "SIGNING_KEY_REJECTED",
            error,
            Detail::Precondition("configure the private key that is registered for the application"),
        ),
        TicketError::ClockSkew { retry_after } => refuse(Unavailable, "CLOCK_SKEW", error, Detail::Retry(*retry_after)),
        TicketError::TenantNotRunning(_) => refuse(
            FailedPrecondition,
            "TENANT_NOT_RUNNING",
            error,
            Detail::Precondition("the tenant has to run before it can be used"),
        ),
        TicketError::TenantMaintenance { retry_after } => {
            refuse(Unavailable, "TENANT_MAINTENANCE", error, Detail::Retry(*retry_after))
        }
        TicketError::Throttled { retry_after } => throttled(*retry_after),
        TicketError::Unavailable { cause: _, retry_after } => upstream_unavailable(*retry_after),
        TicketError::CircuitOpen { retry_after } => circuit_open(*retry_after),
        TicketError::TokenInvalid(_) => {
            refuse(Internal, "UPSTREAM_TOKEN_INVALID", "SuperOffice's token does not verify", Detail::Nothing)
        }
        TicketError::TenantMismatch(_) => tenant_mismatch("SuperOffice's token is not for this tenant"),
        TicketError::CacheFull { retry_after } => {
            refuse(ResourceExhausted, "TICKET_CACHE_FULL", error, Detail::Retry(*retry_after))
        }
        TicketError::StoreUnavailable { cause: _, retry_after } => store_unavailable(*retry_after),
        TicketError::HeldElsewhere { retry_after } => {
            refuse(Unavailable, "LEASE_TIMEOUT", error, Detail::Retry(*retry_after))
        }
        TicketError::TenantUnusable(_) => tenant_unusable(),
        TicketError::Overloaded => too_many(),
        TicketError::Internal(_) => internal(),
    }
}

fn authorization(code: AuthorizeErrorCode) -> Refusal {
    let (reason, message, advice) = match code {
        AuthorizeErrorCode::Revoked => (
            "TENANT_AUTHORIZATION_REVOKED",
            "the tenant withdrew the application's access",
            "an administrator of the tenant has to approve the application again",
        ),
        AuthorizeErrorCode::Expired => (
            "TENANT_AUTHORIZATION_EXPIRED",
            "the tenant's approval of the application has expired",
            "an administrator of the tenant has to approve the application again",
        ),
        AuthorizeErrorCode::Denied => (
            "TENANT_AUTHORIZATION_DENIED",
            "the tenant denied the application access",
            "an administrator of the tenant has to approve the application",
        ),
        AuthorizeErrorCode::NeedsReapproval => (
            "TENANT_NEEDS_REAPPROVAL",
            "the application has to be approved again",
            "an administrator of the tenant has to approve the application again",
        ),
        // These have errors of their own or no meaning for an exchange.
        AuthorizeErrorCode::InvalidRedirectUrl
        | AuthorizeErrorCode::InvalidTimestamp
        | AuthorizeErrorCode::InvalidSignature => (
            "EXCHANGE_REFUSED",
            "SuperOffice refused the exchange and did not say why in a known way",
            "see ticketd's log for what SuperOffice said",
        ),
    };
    refuse(Code::FailedPrecondition, reason, message, Detail::Precondition(advice))
}

fn access_token(error: &AccessTokenError) -> Refusal {
    match error {
        AccessTokenError::RefreshTokenRefused => refuse(
            Code::FailedPrecondition,
            "REFRESH_TOKEN_REFUSED",
            "SuperOffice does not take the refresh token",
            Detail::Precondition("the user has to sign in again"),
        ),
        AccessTokenError::Authorization(code) => authorization(*code),
        AccessTokenError::GrantNotKept => refuse(Code::NotFound, "GRANT_NOT_KEPT", error, Detail::Nothing),
        AccessTokenError::GrantRevoked => refuse(
            Code::FailedPrecondition,
            "GRANT_REVOKED",
            "the user's grant was withdrawn",
            Detail::Precondition("the user has to sign in again"),
        ),
        AccessTokenError::TenantNotRegistered => ticket(&TicketError::NotRegistered),
        AccessTokenError::ClientRefused(_) => client_refused(),
        AccessTokenError::StoreUnavailable { cause: _, retry_after } => store_unavailable(*retry_after),
        AccessTokenError::GrantUnusable(_) => tenant_unusable(),
        AccessTokenError::Throttled { retry_after } => throttled(*retry_after),
        AccessTokenError::Unavailable { cause: _, retry_after } => upstream_unavailable(*retry_after),
        AccessTokenError::CircuitOpen { retry_after } => circuit_open(*retry_after),
        AccessTokenError::TenantMismatch => tenant_mismatch("SuperOffice's access token is not for this tenant"),
        AccessTokenError::Overloaded => too_many(),
        AccessTokenError::Internal(_) => internal(),
    }
}

fn sign_in(error: &SignInError) -> Refusal {
    let failed = |reason, advice| refuse(Code::FailedPrecondition, reason, error, Detail::Precondition(advice));
    let invalid = |reason, field| refuse(Code::InvalidArgument, reason, error, Detail::Field(Cow::Borrowed(field)));
    let begin_again = "begin another sign-in";
    match error {
        SignInError::Unknown => failed("SIGN_IN_UNKNOWN", begin_again),
        SignInError::OtherOwner => failed("SIGN_IN_OTHER_OWNER", begin_again),
        SignInError::NotEntitled => not_authorized(),
        SignInError::WrongTenant => failed("SIGN_IN_WRONG_TENANT", begin_again),
        SignInError::WrongUser => failed("SIGN_IN_WRONG_USER", begin_again),
        SignInError::NoSystemUserToken => failed(
            "SYSTEM_USER_TOKEN_MISSING",
            "an administrator of the tenant has to approve the application and sign in",
        ),
        SignInError::CodeRefused => failed("AUTHORIZATION_CODE_REFUSED", begin_again),
        SignInError::CodeInvalid => invalid("AUTHORIZATION_CODE_INVALID", "code"),
        SignInError::RedirectUriNotAllowed => invalid("REDIRECT_URI_NOT_ALLOWED", "redirect_uri"),
        SignInError::LoginHintInvalid => invalid("LOGIN_HINT_INVALID", "login_hint"),
        SignInError::Authorization(code) => authorization(*code),
        SignInError::ClientRefused(_) => client_refused(),
        SignInError::TokenInvalid(_) => {
            refuse(Code::Internal, "UPSTREAM_TOKEN_INVALID", "SuperOffice's ID token cannot be used", Detail::Nothing)
        }
        SignInError::TenantMismatch(_) => {
            tenant_mismatch("SuperOffice's tokens are not of one tenant and its known database")
        }
        SignInError::TooManyPending => too_many_sign_ins(),
        SignInError::TenantReadOnly => read_only(),
        SignInError::TenantUnusable(_) => tenant_unusable(),
        SignInError::Throttled { retry_after } => throttled(*retry_after),
        SignInError::Unavailable { cause: _, retry_after } => upstream_unavailable(*retry_after),
        SignInError::CircuitOpen { retry_after } => circuit_open(*retry_after),
        SignInError::StoreUnavailable { cause: _, retry_after } => store_unavailable(*retry_after),
        SignInError::Overloaded => too_many(),
        SignInError::Internal(_) => internal(),
    }
}

fn store(error: &StoreError) -> Refusal {
    match error {
        StoreError::ReadOnly { .. } => read_only(),
        StoreError::NotRegistered { .. } => ticket(&TicketError::NotRegistered),
        StoreError::InvalidToken { reason } => invalid_request(InvalidRequest::SystemUserToken(*reason)),
        StoreError::Damaged { .. }
        | StoreError::Unwritable { .. }
        | StoreError::Full { .. }
        | StoreError::Busy { .. }
        | StoreError::TimedOut { .. }
        | StoreError::Closed
        | StoreError::Database { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Refused { .. }
        | StoreError::TenantsDirectory { .. } => store_unavailable(SOON),
        StoreError::BadRecord { .. } | StoreError::BadGrant { .. } | StoreError::TenantFile { .. } => tenant_unusable(),
        StoreError::TooManyPending => too_many_sign_ins(),
        // These stop a server from starting, or are faults of the code that called.
        StoreError::Url(_)
        | StoreError::Create { .. }
        | StoreError::NotAFile { .. }
        | StoreError::NotADatabase { .. }
        | StoreError::ForeignDatabase { .. }
        | StoreError::NewerDatabase { .. }
        | StoreError::IncompatibleLayout { .. }
        | StoreError::Migration { .. }
        | StoreError::NoSealingKey
        | StoreError::SealingKeyFile { .. }
        | StoreError::SealingKeyAbsent { .. }
        | StoreError::SealingKeyTwice { .. }
        | StoreError::Seal(_)
        | StoreError::Randomness(_)
        | StoreError::InvalidLength { .. } => internal(),
    }
}

fn invalid_request(error: InvalidRequest) -> Refusal {
    let (reason, field) = match error {
        InvalidRequest::ContextIdentifierAt(place, _) => {
            let field = Detail::Field(format!("context_identifiers[{place}]").into());
            return refuse(Code::InvalidArgument, "CONTEXT_IDENTIFIER_INVALID", error, field);
        }
        InvalidRequest::ContextIdentifiers => ("CONTEXT_IDENTIFIERS_INVALID", "context_identifiers"),
        InvalidRequest::ContextIdentifier(_) => ("CONTEXT_IDENTIFIER_INVALID", "context_identifier"),
        InvalidRequest::MinValidity => ("MIN_VALIDITY_INVALID", "min_validity"),
        InvalidRequest::Fingerprint => ("FINGERPRINT_INVALID", "fingerprint"),
        InvalidRequest::RefreshToken => ("REFRESH_TOKEN_INVALID", "refresh_token"),
        InvalidRequest::User => ("USER_INVALID", "user"),
        InvalidRequest::SystemUserToken(_) => ("SYSTEM_USER_TOKEN_INVALID", "system_user_token"),
        InvalidRequest::PageToken => ("PAGE_TOKEN_INVALID", "page_token"),
        InvalidRequest::PageSize => ("PAGE_SIZE_INVALID", "page_size"),
    };
    refuse(Code::InvalidArgument, reason, error, Detail::Field(field.into()))
}

/// The same for every tenant, whether it is registered or not.
fn not_authorized() -> Refusal {
    let message = "the policy does not let this caller call this method for this tenant";
    refuse(Code::PermissionDenied, "CALLER_NOT_AUTHORIZED", message, Detail::Nothing)
}

fn caller(error: &CallerError) -> Refusal {
    match error {
        CallerError::Bearer(BearerError::Unavailable { cause: _, retry_after }) => refuse(
            Code::Unavailable,
            "IDENTITY_UNAVAILABLE",
            "the cluster cannot be asked about the caller's token at the moment",
            Detail::Retry(*retry_after),
        ),
        CallerError::Bearer(BearerError::Overloaded) => too_many(),
        CallerError::NoConnection => internal(),
        // What is wrong with a credential is no secret from whom presents it, and holds none of its values.
        error => refuse(Code::Unauthenticated, "CALLER_UNKNOWN", error, Detail::Nothing),
    }
}

fn client_refused() -> Refusal {
    refuse(
        Code::FailedPrecondition,
        "CLIENT_REFUSED",
        "SuperOffice does not take the application's client id and secret",
        Detail::Precondition("configure the client id and the client secret that are registered"),
    )
}

fn read_only() -> Refusal {
    refuse(
        Code::FailedPrecondition,
        "TENANT_READ_ONLY",
        "the tenant comes from the mounted directory",
        Detail::Precondition("change or remove the tenant's file"),
    )
}

fn throttled(retry_after: Duration) -> Refusal {
    refuse(Code::ResourceExhausted, "UPSTREAM_THROTTLED", "SuperOffice asked to wait", Detail::Retry(retry_after))
}

fn upstream_unavailable(retry_after: Duration) -> Refusal {
    let message = "SuperOffice cannot be used at the moment";
    refuse(Code::Unavailable, "UPSTREAM_UNAVAILABLE", message, Detail::Retry(retry_after))
}

fn circuit_open(retry_after: Duration) -> Refusal {
    let message = "SuperOffice keeps failing, so it is asked once in a while only";
    refuse(Code::Unavailable, "UPSTREAM_CIRCUIT_OPEN", message, Detail::Retry(retry_after))
}

fn tenant_mismatch(message: &'static str) -> Refusal {
    refuse(Code::Internal, "UPSTREAM_TENANT_MISMATCH", message, Detail::Nothing)
}

fn store_unavailable(retry_after: Duration) -> Refusal {
    let message = "the tenants cannot be read or written at the moment";
    refuse(Code::Unavailable, "STORE_UNAVAILABLE", message, Detail::Retry(retry_after))
}

fn too_many() -> Refusal {
    refuse(Code::ResourceExhausted, "OVERLOADED", "this replica answers as many calls as it may", Detail::Retry(SOON))
}

fn too_many_sign_ins() -> Refusal {
    let message = "too many sign-ins wait for their users";
    refuse(Code::ResourceExhausted, "TOO_MANY_SIGN_INS", message, Detail::Retry(SIGN_IN_PAUSE))
}

fn tenant_unusable() -> Refusal {
    refuse(
        Code::FailedPrecondition,
        "TENANT_UNUSABLE",
        "what is kept of the tenant, its file or its record, cannot be used",
        Detail::Precondition("see ticketd's log for what is wrong with it"),
    )
}

fn internal() -> Refusal {
    refuse(Code::Internal, "INTERNAL", "a fault of ticketd: its log has the details", Detail::Nothing)
}

#[expect(clippy::needless_pass_by_value, reason = "takes texts as well as errors that are passed by reference")]
fn refuse(code: Code, reason: &'static str, message: impl ToString, detail: Detail) -> Refusal {
    Refusal { code, reason, message: message.to_string(), detail }
}

impl Refusal {
    fn caused_by(self, error: impl Error + Send + Sync + 'static) -> Status {
        let mut status = Status::from(self);
        status.set_source(Arc::new(error));
        status
    }
}

impl From<Refusal> for Status {
    fn from(Refusal { code, reason, message, detail }: Refusal) -> Self {
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
        match detail {
            Detail::Nothing => {}
            Detail::Retry(after) => {
                details.set_retry_info(Some(after));
            }
            Detail::Field(field) => {
                details.add_bad_request_violation(field, &message);
            }
            Detail::Precondition(advice) => {
                details.add_precondition_failure_violation(reason, DOMAIN, advice);
            }
        }
        Self::with_error_details(code, message, details)
    }
}

impl From<PermitError> for Status {
    fn from(error: PermitError) -> Self {
        match error {
            PermitError::Denied { .. } => not_authorized(),
            PermitError::NoCaller => internal(),
        }
        .caused_by(error)
    }
}

impl From<CallerError> for Status {
    fn from(error: CallerError) -> Self {
        caller(&error).caused_by(error)
    }
}

impl From<TicketError> for Status {
    fn from(error: TicketError) -> Self {
        ticket(&error).caused_by(error)
    }
}

impl From<AccessTokenError> for Status {
    fn from(error: AccessTokenError) -> Self {
        access_token(&error).caused_by(error)
    }
}

impl From<SignInError> for Status {
    fn from(error: SignInError) -> Self {
        sign_in(&error).caused_by(error)
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        store(&error).caused_by(error)
    }
}

impl From<InvalidRequest> for Status {
    fn from(error: InvalidRequest) -> Self {
        invalid_request(error).into()
    }
}

#[cfg(test)]
mod tests;
