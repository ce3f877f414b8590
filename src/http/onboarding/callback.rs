use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::Span;

use super::done::{self, Outcome};
use super::{Onboarding, sign_in_failure};
use crate::credentials::{SignInAnswer, SignInError, SignInOwner, SignedIn};
use crate::http::audited::{Changed, PageRecord};
use crate::http::cookies::SignInName;
use crate::http::failure::Failure;
use crate::http::parameters::{Others, Parameters};
use crate::identifiers::{AuthorizationCode, BrowserSecret, SignInState};

/// What SuperOffice's redirect may carry that means something to us.
const KNOWN: [&str; 5] = ["state", "code", "error", "error_description", "iss"];

/// What SuperOffice sent the browser back with.
struct Redirect {
    state: SignInState,
    answer: Answer,
}

enum Answer {
    Code(AuthorizationCode),
    /// One of OAuth's error codes, or anything.
    Error(String),
}

/// Ends a sign-in. On success the browser goes on to an address without code and state, which then stand neither in its
/// address bar nor in its history, and which can be loaded again.
pub(super) async fn finish(
    State(onboarding): State<Onboarding>,
    Extension(record): Extension<PageRecord>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Redirect { state, answer } = Redirect::read(query.as_deref().unwrap_or_default(), &onboarding.issuer)?;
    // What cannot be a state of ours names no sign-in.
    let name = SignInName::of(&state).ok_or(SignInError::Unknown)?;
    let browser = name.browser_cookie().value(&headers).map(BrowserSecret::new);
    // Without its cookie a sign-in is another browser's, and waits for that.
    let owner = browser.map(SignInOwner::Browser).ok_or(SignInError::OtherOwner)?;
    let code = match answer {
        Answer::Code(code) => code,
        Answer::Error(error) => {
            onboarding.sign_ins.abandon(&state, &owner).await?;
            return Err(sign_in_failure::of_superoffice(&error));
        }
    };
    let tell = move |signed_in: &SignedIn| record.changed(Changed::by_sign_in(signed_in));
    // Whoever administers a tenant may connect it.
    let signed_in = onboarding.sign_ins.finish(SignInAnswer { state, code, owner }, |_| true, tell).await?;
    Span::current().record("superoffice.context_identifier", signed_in.context_identifier.as_str());

    let shown = name.outcome_cookie().set(&Outcome::of(&signed_in).to_string());
    let location = HeaderValue::try_from(done::location(&name)).ok();
    let (Some(shown), Some(location)) = (shown, location) else {
        return Err(Failure::internal(&"a sign-in's outcome cannot stand in a header"));
    };
    Ok((StatusCode::SEE_OTHER, [(SET_COOKIE, shown), (LOCATION, location)]).into_response())
}

impl Redirect {
    fn read(query: &str, issuer: &str) -> Result<Self, Failure> {
        let mut parameters =
            Parameters::read(query.as_bytes(), &KNOWN, Others::Ignored).map_err(|error| Failure::malformed(&error))?;
        // RFC 9207, for the day that SuperOffice sends it: another server's redirect must not be taken for its.
        if parameters.take("iss").is_some_and(|iss| iss != issuer) {
            return Err(Failure::malformed(&"the redirect is of another issuer"));
        }
        let state = parameters.take("state").ok_or_else(|| Failure::malformed(&"the redirect has no state"))?;
        let answer = match (parameters.take("code"), parameters.take("error")) {
            (Some(code), None) => Answer::Code(AuthorizationCode::new(code)),
            (None, Some(error)) => Answer::Error(error),
            _ => return Err(Failure::malformed(&"the redirect has to have either a code or an error")),
        };
        Ok(Self { state: SignInState::new(state), answer })
    }
}
