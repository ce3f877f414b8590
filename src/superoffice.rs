//! The HTTPS client of SuperOffice's side: one attempt a call, except where [`retry`] repeats it.
//!
//! Every request goes to the environment's login host or to a tenant's own host (or, in development, to a server on this
//! machine), every answer is bounded in size and time, and every error says whether another try may help.

mod authorize_error_code;
mod breaker;
mod client_authentication;
mod clock_offset;
mod cooldown;
mod current_client_secret;
mod error;
mod exchange;
mod hosts;
mod http;
mod message;
mod oauth;
mod rest;
pub mod retry;
mod said;
mod signing_keys;
mod soap;
mod tenant_state;
mod tenant_states;
#[cfg(test)]
mod test_server;
mod throttle;
mod upstreams;
mod webapi;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::crypto::{JwtHeader, VerificationKeys};
use crate::identifiers::{
    ApplicationId, AuthorizationCode, ClientSecret, CodeVerifier, ContextIdentifier, Environment, RefreshToken,
    SignedSystemToken, Ticket, UnverifiedJwt,
};
use crate::random::Random;
use crate::{metrics, trace_context};

pub use authorize_error_code::AuthorizeErrorCode;
pub use client_authentication::{ClientAuthentication, UnknownClientAuthentication};
pub use current_client_secret::CurrentClientSecret;
pub use error::{ExchangeError, OAuthError, SetupError, UpstreamError};
pub use exchange::ExchangeTransport;
pub use oauth::{AuthorizationRequest, ResponseMode, TokenSet};
pub use tenant_state::TenantState;
pub use tenant_states::{Freshness, KnownTenant, Standing, TenantStatus};
pub use upstreams::{Upstream, Upstreams};
pub use webapi::{KeepAlive, WebApiAnswer, WebApiBody, WebApiCredential, WebApiRequest, check_webapi_request};

use hosts::Hosts;
use http::Http;
use signing_keys::SigningKeys;
use tenant_states::TenantStates;
use webapi::WebApi;

/// What the client needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose hosts are spoken to.
    pub environment: Environment,
    /// Sent with OAuth requests.
    pub client_id: ApplicationId,
    /// Sent with exchanges and OAuth requests.
    pub client_secret: CurrentClientSecret,
    /// Where in OAuth requests the two go.
    pub client_authentication: ClientAuthentication,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take, with its whole answer.
    pub request_timeout: Duration,
    /// How long a lookup of a tenant's state may take.
    pub state_timeout: Duration,
    /// How many requests may be under way at once.
    pub max_requests_in_flight: usize,
    /// What exchanges go over.
    pub exchange: ExchangeTransport,
    /// Where users' sign-ins may end: what is registered for the application, letter for letter.
    pub redirect_uris: Vec<String>,
    /// Set for development only.
    pub development: Option<Development>,
}

/// Another server in SuperOffice's place. Only ever on the loopback interface.
#[derive(Clone, Debug)]
pub struct Development {
    /// Scheme, loopback host and port.
    pub base_url: url::Url,
    /// PEM file with extra root certificates to trust.
    pub extra_ca_file: Option<PathBuf>,
}

/// SuperOffice, as one application in one environment sees it.
#[derive(Debug)]
pub struct SuperOffice {
    settings: Settings,
    hosts: Hosts,
    http: Arc<Http>,
    signing_keys: SigningKeys,
    tenant_states: TenantStates,
    webapi: WebApi,
}

impl SuperOffice {
    /// Checks the settings and builds the client. Nothing is sent yet.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, SetupError> {
        let hosts = Hosts::new(settings.environment, settings.development.as_ref())?;
        let http = Arc::new(Http::new(&settings, hosts.clone(), Arc::clone(&clock))?);
        let floor = VerificationKeys::pinned(settings.environment);
        let signing_keys =
            SigningKeys::new(floor, Arc::clone(&http), Arc::clone(&clock), random, settings.request_timeout);
        let tenant_states = TenantStates::new(hosts.clone(), Arc::clone(&http), clock, settings.state_timeout);
        let webapi = WebApi::new(&settings, hosts.clone(), http.transport().clone());
        Ok(Self { settings, hosts, http, signing_keys, tenant_states, webapi })
    }

    /// Exchanges a signed system user token for the JWT around a new ticket. Each success writes a row in the tenant's
    /// database, so this is one attempt: repeating it is the caller's decision.
    pub async fn exchange(
        &self,
        context_identifier: ContextIdentifier,
        signed: &SignedSystemToken,
    ) -> Result<UnverifiedJwt, ExchangeError> {
        let clock = self.http.transport().clock();
        let began = clock.elapsed();
        let outcome = exchange::exchange(&self.http, &self.settings, context_identifier, signed).await;
        let took = clock.elapsed().saturating_sub(began);
        let result = if outcome.is_ok() { "ok" } else { "failed" };
        metrics::UPSTREAM_EXCHANGE_DURATION.record(took, &[result], trace_context::current());
        metrics::UPSTREAM_EXCHANGES.count(&[outcome.as_ref().map_or_else(ExchangeError::kind, |_| "ok")]);
        outcome
    }

    /// The keys that may have signed a JWT with this header. An unknown key is looked for at SuperOffice, at most once
    /// a minute whatever headers come; a known one never waits for the network.
    pub async fn verification_keys(&self, header: &JwtHeader) -> VerificationKeys {
        self.signing_keys.get(header).await
    }

    /// Tells metrics how many of the tenants asked for lately are in which state.
    pub fn tell_tenant_states(&self) {
        self.tenant_states.tell();
    }

    /// Remembers the states of so many tenants, if that is more than it does by itself.
    #[must_use]
    pub fn with_room_for(mut self, tenants: u64) -> Self {
        self.tenant_states.make_room_for(tenants);
        self
    }

    /// The tenant's state and where its API is, asked anew when what is known has lapsed or soon will.
    pub async fn tenant_state(&self, context_identifier: ContextIdentifier) -> Result<TenantStatus, UpstreamError> {
        self.tenant_states.get(context_identifier).await
    }

    /// What is known of the tenant, without asking.
    pub fn known_tenant(&self, context_identifier: ContextIdentifier) -> Arc<KnownTenant> {
        self.tenant_states.at_hand(context_identifier)
    }

    /// Where that stands, also later on.
    pub fn standing(&self, context_identifier: ContextIdentifier) -> Arc<Standing> {
        self.tenant_states.standing(context_identifier)
    }

    /// Lets the next lookup ask anew: what SuperOffice said of the tenant may have changed before it lapsed.
    pub fn forget_tenant_state(&self, context_identifier: ContextIdentifier) {
        self.tenant_states.forget(context_identifier);
    }

    /// Overrides what is known of the tenant's state until the state API is asked again, which is soon. An answer that
    /// is on its way does not count.
    pub fn note_tenant_state(&self, context_identifier: ContextIdentifier, state: TenantState) {
        self.tenant_states.note(context_identifier, state);
    }

    /// Takes a state that has lapsed for unknown, since its lookup has been waited for long enough. The answer still
    /// counts when it comes.
    pub fn doubt_tenant_state(&self, context_identifier: ContextIdentifier) {
        self.tenant_states.doubt(context_identifier);
    }

    /// Where a browser is sent to sign in: always the environment's own host, with everything in the query encoded
    /// and no secret in it.
    pub fn authorization_url(&self, request: &AuthorizationRequest<'_>) -> url::Url {
        oauth::authorization_url(&self.hosts, &self.settings.client_id, request)
    }

    /// Whether a sign-in may end there.
    pub fn allows_redirect_uri(&self, redirect_uri: &str) -> bool {
        self.settings.redirect_uris.iter().any(|allowed| allowed == redirect_uri)
    }

    /// Our application, as ID tokens name it.
    pub fn client_id(&self) -> &ApplicationId {
        &self.settings.client_id
    }

    /// Who issues this environment's ID tokens.
    pub fn issuer(&self) -> &str {
        self.hosts.issuer()
    }

    /// Exchanges the code that a sign-in's redirect brought. A code is good for one exchange, so this is one attempt.
    /// The redirect URI is the one of the authorization request. The ID token, which should be there, is not verified.
    pub async fn exchange_code(
        &self,
        code: &AuthorizationCode,
        redirect_uri: &str,
        verifier: &CodeVerifier,
    ) -> Result<TokenSet, OAuthError> {
        oauth::exchange_code(&self.http, &self.settings, code, redirect_uri, verifier).await
    }

    /// Has a new access token made: one attempt. The refresh token stays good unless the answer brings another one.
    pub async fn refresh_access_token(&self, refresh_token: &RefreshToken) -> Result<TokenSet, OAuthError> {
        oauth::refresh_access_token(&self.http, &self.settings, refresh_token).await
    }

    /// Ends a refresh token: one attempt. One that SuperOffice does not know counts as ended (RFC 7009).
    pub async fn revoke(&self, refresh_token: &RefreshToken) -> Result<(), OAuthError> {
        oauth::revoke(&self.http, &self.settings, refresh_token).await
    }

    /// Sends one request to a tenant's own API, once. Every status is an answer, but for those that ask to try again
    /// (408, 429, 503). While its host wants us to wait, nothing is sent to it.
    pub async fn call_webapi(
        &self,
        request: WebApiRequest<'_>,
        credential: WebApiCredential<'_>,
    ) -> Result<WebApiAnswer, UpstreamError> {
        self.webapi.call(request, credential).await
    }

    /// The headers, by their names, with which a request to a tenant's own API uses the ticket. The client secret is one.
    pub fn ticket_headers(&self, ticket: &Ticket) -> [(&'static str, Zeroizing<String>); 2] {
        self.webapi.ticket_headers(ticket)
    }

    /// The secret that is in those headers now.
    pub fn client_secret(&self) -> Arc<ClientSecret> {
        self.webapi.client_secret()
    }

    /// Uses a ticket once at its tenant's own API, for no other purpose than to let its life count anew.
    pub async fn keep_alive(&self, webapi_url: &str, ticket: &Ticket) -> Result<KeepAlive, UpstreamError> {
        self.webapi.keep_alive(webapi_url, ticket, self.settings.request_timeout).await
    }

    /// The URL with one trailing slash when a ticket may be sent there, else nothing: https under `.superoffice.com`,
    /// or loopback in development.
    pub fn checked_tenant_url(&self, url: &str) -> Option<String> {
        self.hosts.checked_tenant_url(url)
    }

    /// Fails while the login host keeps failing, so that no exchange would be sent.
    pub fn check_circuit(&self) -> Result<(), UpstreamError> {
        self.http.check_circuit()
    }

    /// How its parts do, as far as we have asked them.
    pub fn upstreams(&self) -> Upstreams {
        let [login, state] = self.http.upstreams();
        let (failing_hosts, hosts) = self.webapi.failing_hosts();
        Upstreams { login, state, failing_hosts, hosts }
    }

    /// How many requests may be under way at once; more wait.
    pub fn max_requests_in_flight(&self) -> usize {
        self.settings.max_requests_in_flight
    }

    /// How long one request may take, with its whole answer.
    pub fn request_timeout(&self) -> Duration {
        self.settings.request_timeout
    }

    /// How long a lookup of a tenant's state may take.
    pub fn state_timeout(&self) -> Duration {
        self.settings.state_timeout
    }

    /// How far SuperOffice's clock was ahead of ours when it last answered, as far as its `Date` header tells.
    pub fn clock_offset(&self) -> Option<SignedDuration> {
        self.http.clock_offset()
    }
}
