//! What can go wrong with a sign-in: which text it gets, and whether it helps to begin again.

use std::time::Duration;

use super::texts;
use crate::credentials::SignInError;
use crate::http::failure::{Again, Failure};

impl From<SignInError> for Failure {
    fn from(error: SignInError) -> Self {
        let cause = error.to_string();
        let (told, again) = match error {
            SignInError::Unknown => (&texts::UNKNOWN, Again::Now),
            SignInError::OtherOwner => (&texts::OTHER_BROWSER, Again::Now),
            SignInError::WrongTenant => (&texts::WRONG_TENANT, Again::No),
            SignInError::WrongUser => (&texts::WRONG_USER, Again::No),
            SignInError::NoSystemUserToken | SignInError::Authorization(_) => {
                (&texts::NO_SYSTEM_USER_TOKEN, Again::Now)
            }
            SignInError::CodeRefused | SignInError::CodeInvalid => (&texts::CODE_REFUSED, Again::Now),
            SignInError::ClientRefused(_) => (&texts::CLIENT_REFUSED, Again::No),
            SignInError::TokenInvalid(_) | SignInError::TenantMismatch(_) => (&texts::TOKEN_INVALID, Again::Now),
            SignInError::RedirectUriNotAllowed => (&texts::REDIRECT_URI_NOT_ALLOWED, Again::No),
            SignInError::LoginHintInvalid => return Self::malformed(&error),
            // A place comes free within the minutes that a sign-in waits; one of those that are being finished, sooner.
            SignInError::TooManyPending => (&texts::TOO_MANY, Again::In(Duration::from_mins(10))),
            SignInError::Overloaded => (&texts::TOO_MANY, Again::In(Duration::from_mins(1))),
            SignInError::TenantReadOnly => (&texts::TENANT_READ_ONLY, Again::No),
            SignInError::TenantUnusable(_) => (&texts::TENANT_UNUSABLE, Again::No),
            SignInError::Throttled { retry_after } => (&texts::THROTTLED, Again::In(retry_after)),
            SignInError::Unavailable { retry_after, .. } | SignInError::CircuitOpen { retry_after } => {
                (&texts::UNAVAILABLE, Again::In(retry_after))
            }
            SignInError::StoreUnavailable { retry_after, .. } => (&texts::STORE_UNAVAILABLE, Again::In(retry_after)),
            SignInError::Internal(_) | SignInError::NotEntitled => return Self::internal(&error),
        };
        Self { told, again, cause }
    }
}

/// SuperOffice ended the sign-in. What else it says about it is not repeated: whoever made the link may have written it.
pub(super) fn of_superoffice(error: &str) -> Failure {
    let (told, again) = match error {
        "access_denied" | "login_required" | "consent_required" | "interaction_required" => {
            (&texts::ACCESS_DENIED, Again::Now)
        }
        "server_error" | "temporarily_unavailable" => (&texts::UNAVAILABLE, Again::In(Duration::from_mins(1))),
        _ => (&texts::REFUSED, Again::Now),
    };
    Failure { told, again, cause: format!("SuperOffice ended the sign-in with {}", known(error)) }
}

/// The codes of OAuth and OpenID Connect; anything else could be anybody's text.
fn known(error: &str) -> &'static str {
    const CODES: [&str; 12] = [
        "access_denied",
        "login_required",
        "consent_required",
        "interaction_required",
        "account_selection_required",
        "server_error",
        "temporarily_unavailable",
        "invalid_request",
        "invalid_scope",
        "invalid_client",
        "unauthorized_client",
        "unsupported_response_type",
    ];
    CODES.into_iter().find(|code| *code == error).unwrap_or("a code that OAuth does not have")
}
