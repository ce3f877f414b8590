//! The handle of a running sandbox.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::behaviour::Knob;
use crate::builder::Builder;
use crate::clock::SandboxClock;
use crate::contacts::SandboxContact;
use crate::endpoint::Endpoint;
use crate::keys::KeyRotation;
use crate::knobs::KnobId;
use crate::listener::Listener;
use crate::partner_key::{PartnerKey, PartnerKeyError};
use crate::seen_secrets::SeenSecrets;
use crate::settings::Settings;
use crate::sign_in::{self, SignInError};
use crate::tenants::{SandboxTenant, Tenant, TenantState};
use crate::traffic::RequestRecord;
use crate::users::SandboxUser;
use crate::webhook::{self, Webhook, WebhookError};
use crate::world::{World, lock};

/// A running sandbox. Dropping it closes its ports at once.
pub struct Sandbox {
    parts: Arc<Parts>,
    control: JoinHandle<()>,
    control_address: SocketAddr,
    ca_pem: Option<String>,
    partner_private_key_pem: Option<&'static str>,
}

/// The tenant is not one of the sandbox's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox has no tenant {0}, or no such tenant host")]
pub struct UnknownTenant(pub String);

#[expect(clippy::must_use_candidate, reason = "what these do is what they are called for; their answers are extra")]
impl Sandbox {
    /// A sandbox to be.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        parts: Arc<Parts>,
        control: JoinHandle<()>,
        control_address: SocketAddr,
        ca_pem: Option<String>,
        partner_private_key_pem: Option<&'static str>,
    ) -> Self {
        Self { parts, control, control_address, ca_pem, partner_private_key_pem }
    }

    /// Scheme, address and port of the login host, without a slash at the end; or scheme and name, if it has one.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.parts.world.base_url
    }

    /// The same of the tenant hosts.
    #[must_use]
    pub fn host_urls(&self) -> &[String] {
        &self.parts.world.host_urls
    }

    /// Where the login host listens. Under its name, every other host answers there as well.
    #[must_use]
    pub fn login_address(&self) -> SocketAddr {
        self.parts.world.login_address
    }

    /// The names given with [`Builder::names`].
    #[must_use]
    pub fn names(&self) -> &[String] {
        self.parts.world.names.all()
    }

    /// Scheme, address and port of the control API.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control_address)
    }

    /// The root certificate to trust, when TLS is on.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The throwaway key to sign system user tokens with, unless a public key was given.
    #[must_use]
    pub fn partner_private_key_pem(&self) -> Option<&'static str> {
        self.partner_private_key_pem
    }

    /// The application's client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.parts.world.client_id
    }

    /// The application's client secret.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.parts.world.client_secret
    }

    /// The sandbox's time.
    #[must_use]
    pub fn clock(&self) -> &SandboxClock {
        &self.parts.world.clock
    }

    /// Adds a tenant on the first host; one that is there already is returned as it is.
    pub fn add_tenant(&self, context_identifier: &str) -> SandboxTenant {
        self.parts.add_tenant(context_identifier, None)
    }

    /// Adds a tenant with this system user token, or gives the token to one that is there already.
    pub fn add_tenant_with_token(&self, context_identifier: &str, system_user_token: &str) -> SandboxTenant {
        self.parts.add_tenant(context_identifier, Some(system_user_token))
    }

    /// Puts a tenant into a state.
    pub fn set_tenant_state(&self, context_identifier: &str, state: TenantState) -> Result<(), UnknownTenant> {
        self.parts.change_tenant(context_identifier, |tenant| tenant.state = state)
    }

    /// Gives a tenant another database serial, as a restore or a clone does.
    pub fn set_tenant_serial(&self, context_identifier: &str, serial: &str) -> Result<(), UnknownTenant> {
        self.parts.change_tenant(context_identifier, |tenant| serial.clone_into(&mut tenant.serial))
    }

    /// Moves a tenant to another tenant host, by its number in [`Self::host_urls`]. The old one answers 421 from then on.
    pub fn move_tenant(&self, context_identifier: &str, host: usize) -> Result<(), UnknownTenant> {
        self.parts.move_tenant(context_identifier, host)
    }

    /// How many credentials rows the tenant's database has: one for each exchange that succeeded.
    #[must_use]
    pub fn exchanges(&self, context_identifier: &str) -> u64 {
        lock(&self.parts.world.tenants).find(context_identifier).map_or(0, |tenant| tenant.exchanges)
    }

    /// The same of all tenants together.
    #[must_use]
    pub fn total_exchanges(&self) -> u64 {
        lock(&self.parts.world.tenants).all().map(|tenant| tenant.exchanges).sum()
    }

    /// The companies that were made over the tenant's Web API, oldest first.
    #[must_use]
    pub fn contacts(&self, context_identifier: &str) -> Vec<SandboxContact> {
        let tenants = lock(&self.parts.world.tenants);
        let contacts = tenants.find(context_identifier).map(|tenant| tenant.contacts.all());
        contacts.unwrap_or_default().iter().map(SandboxContact::from).collect()
    }

    /// Ends a ticket. False when it is not a living one.
    pub fn revoke_ticket(&self, ticket: &str) -> bool {
        lock(&self.parts.world.tenants).revoke_ticket(ticket)
    }

    /// Ends all tickets of a tenant, as a restored database does, and says how many.
    pub fn revoke_tickets(&self, context_identifier: &str) -> usize {
        lock(&self.parts.world.tenants).revoke_tickets(context_identifier)
    }

    /// Adds a user to a tenant, or puts it in the place of the one with the same name.
    pub fn add_user(&self, context_identifier: &str, user: SandboxUser) -> Result<(), UnknownTenant> {
        self.parts.add_user(context_identifier, user)
    }

    /// Gives a tenant's ID tokens the system user token, or takes it from them.
    pub fn set_system_token_claim(&self, context_identifier: &str, present: bool) -> Result<(), UnknownTenant> {
        self.parts.change_tenant(context_identifier, |tenant| tenant.system_token_claim = present)
    }

    /// Registers a URI that sign-ins may redirect to. It is compared as it is, character by character.
    pub fn add_redirect_uri(&self, uri: impl Into<String>) {
        lock(&self.parts.world.redirect_uris).push(uri.into());
    }

    /// The whole sign-in without a browser: the user opens the URL and approves. Answers where the browser would be
    /// redirected to; what a form post would carry is in the query.
    pub fn approve(&self, authorization_url: &str, user: &str) -> Result<String, SignInError> {
        sign_in::without_browser(&self.parts.world, authorization_url, Some(user))
    }

    /// The same, but the user denies.
    pub fn deny(&self, authorization_url: &str) -> Result<String, SignInError> {
        sign_in::without_browser(&self.parts.world, authorization_url, None)
    }

    /// What a webhook's body would be, with a new token.
    pub fn webhook_payload(&self, webhook: &Webhook) -> Result<serde_json::Value, UnknownTenant> {
        webhook.payload(&self.parts.world)
    }

    /// Sends a tenant status webhook to a URL on this machine and answers the status that comes back.
    pub async fn send_webhook(&self, url: &str, webhook: &Webhook) -> Result<u16, WebhookError> {
        webhook::send(url, &webhook.payload(&self.parts.world)?).await
    }

    /// A refresh token of the tenant's first user, as a sign-in would have brought it.
    pub fn issue_refresh_token(&self, context_identifier: &str) -> Result<String, UnknownTenant> {
        self.parts.issue_refresh_token(context_identifier)
    }

    /// Whether a refresh token is a living one.
    #[must_use]
    pub fn accepts_refresh_token(&self, refresh_token: &str) -> bool {
        lock(&self.parts.world.tenants).find_refresh_token(refresh_token).is_some()
    }

    /// Ends a refresh token. False when it is not a living one.
    pub fn revoke_refresh_token(&self, refresh_token: &str) -> bool {
        lock(&self.parts.world.tenants).revoke_refresh_token(refresh_token)
    }

    /// Registers another public key in place of the partner's. As at SuperOffice there is no overlap.
    pub fn replace_partner_public_key(&self, key: &str) -> Result<(), PartnerKeyError> {
        *lock(&self.parts.world.partner_key) = PartnerKey::read(key)?;
        Ok(())
    }

    /// Lets the other of the two JWT signing keys sign from now on.
    pub fn rotate_keys(&self, rotation: KeyRotation) {
        lock(&self.parts.world.keys).rotate(rotation);
    }

    /// How SuperOffice is at present.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.parts.world.settings()
    }

    /// Changes how SuperOffice is.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.parts.world.settings));
    }

    /// Lets something go wrong from now on.
    pub fn set_behaviour(&self, knob: impl Into<Knob>) -> KnobId {
        self.parts.world.knobs.set(knob.into())
    }

    /// Ends one behaviour. False when it is not in force.
    pub fn clear_behaviour(&self, id: KnobId) -> bool {
        self.parts.world.knobs.clear(id)
    }

    /// Ends all behaviours.
    pub fn clear_behaviours(&self) {
        self.parts.world.knobs.clear_all();
    }

    /// Cuts every connection and refuses new ones, on the login host and the tenant hosts.
    pub async fn go_down(&self) -> io::Result<()> {
        self.parts.set_up(false).await
    }

    /// Opens the same ports again.
    pub async fn come_up(&self) -> io::Result<()> {
        self.parts.set_up(true).await
    }

    /// How many requests an endpoint has seen.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.parts.world.traffic.count(endpoint).total
    }

    /// Returns when an endpoint has seen this many requests. They need not have been answered.
    pub async fn wait_for_requests(&self, endpoint: Endpoint, total: u64) {
        self.parts.world.traffic.wait_for(endpoint, total).await;
    }

    /// How many requests are under way.
    #[must_use]
    pub fn requests_under_way(&self) -> u64 {
        self.parts.world.traffic.counts().0.in_flight
    }

    /// How many requests were under way at once, at most.
    #[must_use]
    pub fn peak_concurrency(&self) -> u64 {
        self.parts.world.traffic.counts().0.peak
    }

    /// The same of one endpoint.
    #[must_use]
    pub fn peak_concurrency_at(&self, endpoint: Endpoint) -> u64 {
        self.parts.world.traffic.count(endpoint).peak
    }

    /// The last 10,000 requests, oldest first.
    #[must_use]
    pub fn request_log(&self) -> Vec<RequestRecord> {
        self.parts.world.traffic.log()
    }

    /// The secrets that went over the wire. Empty unless [`Builder::remember_secrets`] asked for them.
    #[must_use]
    pub fn seen_secrets(&self) -> SeenSecrets {
        self.parts.world.seen_secrets.all()
    }

    /// Empties the log and starts counting requests anew.
    pub fn reset_requests(&self) {
        self.parts.world.traffic.reset();
    }

    /// Closes every port and connection. Returns when that is done.
    pub async fn shutdown(self) {
        self.control.abort();
        for listener in self.parts.listeners.lock().await.drain(..) {
            listener.shutdown().await;
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sandbox").field(&self.parts.world).finish()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.control.abort();
        // A control connection may outlive its server and still hold the listeners. Only going up or down locks them.
        if let Ok(mut listeners) = self.parts.listeners.try_lock() {
            listeners.clear();
        }
    }
}

/// What the handle and the control API share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) world: Arc<World>,
    /// Held while the ports go up or down, so that the two cannot cross.
    listeners: Mutex<Vec<Listener>>,
}

impl Parts {
    pub(crate) fn new(world: Arc<World>, listeners: Vec<Listener>) -> Self {
        Self { world, listeners: Mutex::new(listeners) }
    }

    pub(crate) fn add_tenant(&self, context_identifier: &str, system_user_token: Option<&str>) -> SandboxTenant {
        let name = &self.world.application_name;
        let tenant = lock(&self.world.tenants).add(context_identifier, name, system_user_token);
        SandboxTenant {
            webapi_url: format!("{}/api/", self.world.tenant_url(&tenant)),
            context_identifier: tenant.context_identifier,
            system_user_token: tenant.system_user_token,
            serial: tenant.serial,
            users: tenant.users,
        }
    }

    pub(crate) fn change_tenant(
        &self,
        context_identifier: &str,
        change: impl FnOnce(&mut Tenant),
    ) -> Result<(), UnknownTenant> {
        let mut tenants = lock(&self.world.tenants);
        let tenant =
            tenants.find_mut(context_identifier).ok_or_else(|| UnknownTenant(context_identifier.to_owned()))?;
        change(tenant);
        Ok(())
    }

    pub(crate) fn add_user(&self, context_identifier: &str, user: SandboxUser) -> Result<(), UnknownTenant> {
        self.change_tenant(context_identifier, |tenant| {
            tenant.users.retain(|other| !other.upn.eq_ignore_ascii_case(&user.upn));
            tenant.users.push(user);
        })
    }

    pub(crate) fn move_tenant(&self, context_identifier: &str, host: usize) -> Result<(), UnknownTenant> {
        if host >= self.world.host_urls.len() {
            return Err(UnknownTenant(context_identifier.to_owned()));
        }
        self.change_tenant(context_identifier, |tenant| tenant.host = host)
    }

    pub(crate) fn issue_refresh_token(&self, context_identifier: &str) -> Result<String, UnknownTenant> {
        let mut tenants = lock(&self.world.tenants);
        let user = tenants.find(context_identifier).and_then(|tenant| tenant.users.first()).cloned();
        let user = user.ok_or_else(|| UnknownTenant(context_identifier.to_owned()))?;
        let refresh_token = tenants.issue_refresh_token(context_identifier, user);
        self.world.seen_secrets.note(|seen| &mut seen.refresh_tokens, &refresh_token);
        Ok(refresh_token)
    }

    pub(crate) async fn set_up(&self, up: bool) -> io::Result<()> {
        for listener in self.listeners.lock().await.iter() {
            listener.set_up(up).await?;
        }
        Ok(())
    }
}
