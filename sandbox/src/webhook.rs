//! Tenant status webhooks, which SuperOffice sends to the application when a tenant changes.
//!
//! The payload is documented. The claims of its token are not: these follow SuperOffice's other outgoing tokens, which
//! are issued by `SuperOffice AS` for `spn:` and the application's client id. The documentation's sample expects the
//! environment as the issuer; [`crate::Settings::webhook_issuer_is_environment`] makes it so.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::{Host, Url};

use crate::jwt::Jwt;
use crate::jwt_flaw::{JwtFlaw, WrongTenant};
use crate::sandbox::UnknownTenant;
use crate::tenants::Tenant;
use crate::world::{World, lock, random_alphanumeric};

/// What happened to the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "SuperOffice documents the names and nothing more")]
pub enum ChangeType {
    Upgrade = 0,
    BackupRestored = 1,
    Suspend = 2,
    Resume = 3,
    Delete = 4,
    Move = 5,
}

impl ChangeType {
    /// Every type.
    pub const ALL: [Self; 6] =
        [Self::Upgrade, Self::BackupRestored, Self::Suspend, Self::Resume, Self::Delete, Self::Move];
}

/// What is wrong with a webhook's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookFlaw {
    /// It must not be trusted.
    Jwt(JwtFlaw),
    /// It is another tenant's, in part.
    WrongTenant(WrongTenant),
    /// It is not there.
    Missing,
}

/// A webhook to send. It says what it is told to: no tenant changes by it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Webhook {
    change_type: ChangeType,
    context_identifier: String,
    #[serde(default)]
    flaw: Option<WebhookFlaw>,
}

/// Why a webhook was not delivered.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum WebhookError {
    #[error(transparent)]
    UnknownTenant(#[from] UnknownTenant),
    #[error("{0} is not http:// or https:// on a loopback address: the sandbox sends nothing elsewhere")]
    NotLoopback(String),
    #[error("the webhook was not answered: {0}")]
    Unanswered(#[from] reqwest::Error),
}

impl Webhook {
    /// A webhook with everything right.
    pub fn new(change_type: ChangeType, context_identifier: impl Into<String>) -> Self {
        Self { change_type, context_identifier: context_identifier.into(), flaw: None }
    }

    /// With this wrong.
    #[must_use]
    pub fn flawed(self, flaw: WebhookFlaw) -> Self {
        Self { flaw: Some(flaw), ..self }
    }

    /// The payload with a token of its own. Only a move tells the public endpoint.
    pub(crate) fn payload(&self, world: &World) -> Result<Value, UnknownTenant> {
        let tenant = lock(&world.tenants).find(&self.context_identifier).cloned();
        let tenant = tenant.ok_or_else(|| UnknownTenant(self.context_identifier.clone()))?;
        let mut payload = Map::from_iter([
            ("ChangeType".to_owned(), json!(self.change_type as u8)),
            ("ContextIdentifier".to_owned(), json!(tenant.context_identifier)),
            ("VersionName".to_owned(), json!("Release_11.10_2026.02.24-02")),
            ("FileVersion".to_owned(), json!("11.10.721.0")),
        ]);
        if self.flaw != Some(WebhookFlaw::Missing) {
            let token = self.token(world, &tenant);
            world.seen_secrets.note(|seen| &mut seen.jwts, &token);
            payload.insert("Token".to_owned(), json!(token));
        }
        if self.change_type == ChangeType::Move {
            let url = world.tenant_url(&tenant);
            let host = url.split('/').nth(2).unwrap_or_default();
            payload.insert("PublicEndpoint".to_owned(), json!(host));
        }
        Ok(Value::Object(payload))
    }

    fn token(&self, world: &World, tenant: &Tenant) -> String {
        let settings = world.settings();
        let (now, other) = (world.clock.now(), lock(&world.tenants).other_than(&tenant.context_identifier));
        let (key, other_key) = {
            let keys = lock(&world.keys);
            (keys.current(), keys.other())
        };
        let issuer = if settings.webhook_issuer_is_environment { world.issuer() } else { "SuperOffice AS".to_owned() };
        // Without something of its own, two webhooks of one second would be one.
        let id = random_alphanumeric::<22>();
        let registered = json!({ "iss": issuer, "aud": format!("spn:{}", world.client_id), "jti": id });
        let jwt = Jwt::issue(registered, [("ctx", json!(tenant.context_identifier))], &key, &settings, now);
        match self.flaw {
            Some(WebhookFlaw::Jwt(flaw)) => jwt.flawed(flaw, &key, &other_key, now),
            Some(WebhookFlaw::WrongTenant(how)) => jwt.mixed_up(how, tenant, &other).sign(&key),
            Some(WebhookFlaw::Missing) | None => jwt.sign(&key),
        }
    }
}

/// Posts a payload and answers the status. Whatever certificate the other side shows is taken: it is on this machine.
pub(crate) async fn send(url: &str, payload: &Value) -> Result<u16, WebhookError> {
    let target = Url::parse(url).ok().filter(is_loopback).ok_or_else(|| WebhookError::NotLoopback(url.to_owned()))?;
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(std::time::Duration::from_secs(30))
        .build()?;
    Ok(client.post(target).json(payload).send().await?.status().as_u16())
}

fn is_loopback(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    };
    loopback && matches!(url.scheme(), "http" | "https")
}
