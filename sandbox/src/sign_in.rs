//! The sign-in: from an authorization request to the redirect that ends it.

use std::str::FromStr;

use axum::http::Uri;
use jiff::Timestamp;
use url::Url;

use crate::behaviour::Refusal;
use crate::codes::{Approval, Challenge};
use crate::delivery::{Faults, Forgery};
use crate::endpoint::{Endpoint, Host, Route};
use crate::parameters::Parameters;
use crate::tenants::Tenant;
use crate::world::{World, lock};

/// Why a sign-in shows its user an error in place of redirecting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignInError(pub String);

/// A request that may be put before a user.
pub(crate) struct Request {
    redirect_uri: String,
    target: Url,
    response_mode: ResponseMode,
    state: Option<String>,
    nonce: Option<String>,
    challenge: Option<Challenge>,
    /// The only tenant that the user may choose.
    pub(crate) tenant: Option<String>,
    pub(crate) login_hint: Option<String>,
}

/// How the redirect carries its parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ResponseMode {
    Query,
    FormPost,
    Fragment,
}

/// Where the browser goes next, and what it takes along.
pub(crate) struct Redirect {
    target: Url,
    response_mode: ResponseMode,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

/// What is wrong with a request: for the user to read while nobody knows whether the redirect URI is the
/// application's, for the application once that is known.
pub(crate) enum Wrong {
    Page(SignInError),
    Redirect(Redirect),
}

impl Request {
    /// `pinned` is the tenant in the path.
    pub(crate) fn read(world: &World, pinned: Option<&str>, parameters: &Parameters) -> Result<Self, Wrong> {
        let page = |text: String| Wrong::Page(SignInError(text));
        if parameters.get("client_id") != Some(&world.client_id) {
            return Err(page("Authorization error: the application is not known.".to_owned()));
        }
        let redirect_uri = parameters.get("redirect_uri").unwrap_or_default().to_owned();
        let registered = lock(&world.redirect_uris).contains(&redirect_uri);
        let target = Url::parse(&redirect_uri).ok().filter(|_| registered);
        let target = target.ok_or_else(|| page(Refusal::Code(2).message()))?;
        let text = |name| parameters.get(name).map(str::to_owned);
        let mut request = Self {
            redirect_uri,
            target,
            response_mode: ResponseMode::Query,
            state: text("state"),
            nonce: text("nonce"),
            challenge: None,
            tenant: pinned.or(parameters.tenant()).map(str::to_owned),
            login_hint: text("login_hint"),
        };
        let wrong = |request: &Self, error: &str| Err(Wrong::Redirect(request.refused(error)));
        match parameters.get("response_mode").unwrap_or("query").parse() {
            Ok(mode) => request.response_mode = mode,
            Err(()) => return wrong(&request, "invalid_request"),
        }
        if parameters.get("response_type") != Some("code") {
            return wrong(&request, "unsupported_response_type");
        }
        if !parameters.get("scope").is_some_and(|scope| scope.split(' ').any(|scope| scope == "openid")) {
            return wrong(&request, "invalid_scope");
        }
        request.challenge = match (text("code_challenge"), parameters.get("code_challenge_method").unwrap_or("plain")) {
            (None, _) => None,
            (Some(challenge), "plain") => Some(Challenge::Plain(challenge)),
            (Some(challenge), "S256") => Some(Challenge::S256(challenge)),
            _ => return wrong(&request, "invalid_request"),
        };
        Ok(request)
    }

    /// The tenants that the user may choose from.
    pub(crate) fn tenants(&self, world: &World) -> Vec<Tenant> {
        let may = |name: &str| self.tenant.as_ref().is_none_or(|tenant| tenant.eq_ignore_ascii_case(name));
        lock(&world.tenants).all().filter(|tenant| may(&tenant.context_identifier)).cloned().collect()
    }

    /// The user approves. Without a tenant's name it is the first that has the user.
    pub(crate) fn approved(self, world: &World, tenant: Option<&str>, upn: &str) -> Result<Redirect, SignInError> {
        let is_named = |name: &str| tenant.is_none_or(|tenant| tenant.eq_ignore_ascii_case(name));
        let of = |tenant: Tenant| {
            let user = tenant.users.iter().find(|user| user.upn.eq_ignore_ascii_case(upn))?.clone();
            Some((tenant, user))
        };
        let mut tenants = self.tenants(world).into_iter().filter(|tenant| is_named(&tenant.context_identifier));
        let (tenant, user) = tenants
            .find_map(of)
            .ok_or_else(|| SignInError("Your account does not have access to this application.".to_owned()))?;
        let life = world.settings().code_life;
        let code = lock(&world.codes).issue(Approval {
            context_identifier: tenant.context_identifier,
            user,
            redirect_uri: self.redirect_uri,
            nonce: self.nonce,
            challenge: self.challenge,
            expires: world.clock.now().saturating_add(life).unwrap_or(Timestamp::MAX),
        });
        world.seen_secrets.note(|seen| &mut seen.codes, &code);
        // `state` comes first.
        let mut parameters: Vec<_> = self.state.into_iter().map(|state| ("state", state)).collect();
        parameters.push(("code", code));
        Ok(Redirect { target: self.target, response_mode: self.response_mode, parameters })
    }

    /// The user denies, or something is wrong that the application may know.
    pub(crate) fn refused(&self, error: &str) -> Redirect {
        let mut parameters: Vec<_> = self.state.clone().into_iter().map(|state| ("state", state)).collect();
        parameters.push(("error", error.to_owned()));
        parameters.push(("error_description", format!("The sign-in ended with {error}.")));
        Redirect { target: self.target.clone(), response_mode: self.response_mode, parameters }
    }
}

impl Redirect {
    /// Where a form has to be posted to; nothing when a redirect does.
    pub(crate) fn form_target(&self) -> Option<&Url> {
        (self.response_mode == ResponseMode::FormPost).then_some(&self.target)
    }

    /// The URL with the parameters in its query, or in its fragment when that is wanted. What a form would carry is in
    /// the query.
    pub(crate) fn url(&self) -> String {
        let mut url = self.target.clone();
        if self.response_mode == ResponseMode::Fragment {
            let mut fragment = url::form_urlencoded::Serializer::new(String::new());
            url.set_fragment(Some(&fragment.extend_pairs(&self.parameters).finish()));
        } else {
            url.query_pairs_mut().extend_pairs(&self.parameters);
        }
        url.into()
    }
}

impl FromStr for ResponseMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "query" => Ok(Self::Query),
            "form_post" => Ok(Self::FormPost),
            "fragment" => Ok(Self::Fragment),
            _ => Err(()),
        }
    }
}

/// The whole sign-in without a browser: `user` approves, or denies when there is none. Answers where the browser would
/// be redirected to.
pub(crate) fn without_browser(
    world: &World,
    authorization_url: &str,
    user: Option<&str>,
) -> Result<String, SignInError> {
    let no_request = || SignInError(format!("this is not an authorization URL of {}", world.base_url));
    let own = authorization_url.strip_prefix(&world.base_url).ok_or_else(no_request)?;
    let uri: Uri = own.parse().map_err(|_| no_request())?;
    let Route::Authorize { context_identifier } = Route::find(Host::Login, uri.path()) else {
        return Err(no_request());
    };
    let parameters = Parameters::read(&uri, &[]);
    let request = match Request::read(world, context_identifier.as_deref(), &parameters) {
        Ok(request) => request,
        Err(Wrong::Redirect(redirect)) => return Ok(redirect.url()),
        Err(Wrong::Page(error)) => return Err(error),
    };
    let faults = Faults::sort(world.knobs.apply(Endpoint::Authorize, request.tenant.as_deref()));
    let redirect = match (faults.forgery(), user) {
        (Forgery::OAuthError(error), _) => request.refused(error),
        (_, Some(user)) => request.approved(world, None, user)?,
        (_, None) => request.refused("access_denied"),
    };
    Ok(redirect.url())
}
