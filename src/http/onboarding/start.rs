use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::{Onboarding, START, texts};
use crate::credentials::{SignInError, SignInOwner, SignInRequest, is_login_hint};
use crate::crypto;
use crate::http::cookies::SignInName;
use crate::http::failure::{Again, Failure};
use crate::http::page::{Forms, Page, Tone};
use crate::http::parameters::{Others, Parameters};
use crate::identifiers::{BrowserSecret, ContextIdentifier};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whom a link is for.
struct Invitation {
    tenant: Option<ContextIdentifier>,
    login_hint: Option<String>,
}

/// Says what will happen.
pub(super) async fn show(State(onboarding): State<Onboarding>, RawQuery(query): RawQuery) -> Result<Page, Failure> {
    let invitation = Invitation::read(query.unwrap_or_default().as_bytes())?;
    let forms = if onboarding.public_url.is_https() { Forms::Https } else { Forms::Http };
    Ok(Page {
        status: StatusCode::OK,
        title: "Connect SuperOffice",
        tone: Tone::Question,
        forms,
        content: invitation.content(),
    })
}

/// Begins a sign-in and sends the browser to SuperOffice.
pub(super) async fn begin(
    State(onboarding): State<Onboarding>,
    headers: HeaderMap,
    form: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    check_sender(&headers)?;
    let form = form.map_err(|rejection| Failure::malformed(&rejection.body_text()))?;
    let Invitation { tenant, login_hint } = Invitation::read(&form)?;
    let browser = BrowserSecret::new(crypto::random_token().map_err(|error| Failure::internal(&error))?);
    let redirect_uri = onboarding.public_url.redirect_uri();
    let owner = SignInOwner::Browser(browser.clone());
    let request = SignInRequest { redirect_uri, tenant, login_hint, owner };
    let begun = onboarding.sign_ins.begin(request).await?;

    let cookie = SignInName::of(&begun.state).and_then(|name| name.browser_cookie().set(browser.expose()));
    let location = HeaderValue::try_from(begun.authorization_url).ok();
    let (Some(cookie), Some(location)) = (cookie, location) else {
        return Err(Failure::internal(&"a sign-in's state or URL cannot stand in a header"));
    };
    Ok((StatusCode::SEE_OTHER, [(SET_COOKIE, cookie), (LOCATION, location)]).into_response())
}

impl Invitation {
    fn read(encoded: &[u8]) -> Result<Self, Failure> {
        let mut parameters = Parameters::read(encoded, &["tenant", "login_hint"], Others::Refused)
            .map_err(|error| Failure::malformed(&error))?;
        let tenant = parameters.take("tenant").map(|tenant| tenant.parse()).transpose();
        let tenant = tenant.map_err(|error| Failure::malformed(&error))?;
        let login_hint = parameters.take("login_hint");
        // Whoever made the link wrote it, and the page shows it.
        if !login_hint.as_deref().is_none_or(is_login_hint) {
            return Err(SignInError::LoginHintInvalid.into());
        }
        Ok(Self { tenant, login_hint })
    }

    fn content(&self) -> Markup {
        html! {
            p {
                "You are about to give this service access to "
                @match self.tenant {
                    Some(tenant) => { "your company’s SuperOffice CRM, tenant " strong { (tenant) } "." }
                    None => { "your company’s SuperOffice CRM." }
                }
            }
            ol {
                li {
                    "You sign in at SuperOffice"
                    @if let Some(user) = &self.login_hint { " as " strong { (user) } }
                    "."
                }
                li { "SuperOffice says which application asks for access. Approve it if it is the one you expect." }
                li { "You come back here and read whether it worked." }
            }
            p {
                "You need to be an administrator of SuperOffice in your company. Finish in this browser, within ten \
                 minutes."
            }
            form method="post" action=(START) {
                @if let Some(tenant) = self.tenant { input type="hidden" name="tenant" value=(tenant); }
                @if let Some(user) = &self.login_hint { input type="hidden" name="login_hint" value=(user); }
                button { "Continue to SuperOffice" }
            }
            p.quiet { "You did not expect to be asked for this? Then close the page: nothing has happened yet." }
        }
    }
}

/// Another site may link to the first page, but not begin sign-ins in the browsers of its visitors. (No browser sends an
/// `Origin` here: the page's own referrer policy makes it null.)
fn check_sender(headers: &HeaderMap) -> Result<(), Failure> {
    let is_ours = headers.get(SEC_FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none");
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Failure::final_one(&texts::NO_FORM, &"what was posted is no form"));
    }
    if is_ours {
        return Ok(());
    }
    Err(Failure { told: &texts::FOREIGN_SITE, again: Again::Now, cause: "another site posted the form".to_owned() })
}
