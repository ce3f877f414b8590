//! The only table from errors to gRPC codes. What a caller reads is written here; the error itself rides along as the
//! status's source, which the span layer logs and nobody sends.

mod calls;
mod causes;
mod refusal;

use std::borrow::Cow;

use tonic::{Code, Status};

use self::causes::{
    SOON, circuit_open, client_refused, internal, not_authorized, read_only, store_unavailable, tenant_mismatch,
    tenant_unusable, throttled, too_many, too_many_sign_ins, upstream_unavailable,
};
use self::refusal::{Detail, Refusal, refuse};
use super::convert::InvalidRequest;
use super::layers::CallerError;
use super::permits::PermitError;
use crate::credentials::{AccessTokenError, SignInError, TicketError};
use crate::identity::BearerError;
use crate::store::StoreError;
use crate::superoffice::AuthorizeErrorCode;

pub use self::calls::WATCH_ENDED;
pub(super) use self::calls::{
    audit_unavailable, broken, deadline_exceeded, in_our_words, overloaded, panicked, rate_limited, too_many_watches,
    watch_ended,
};

/// Who the reasons in `google.rpc.ErrorInfo` belong to.
pub const DOMAIN: &str = "ticketd";

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
