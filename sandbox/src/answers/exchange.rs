//! The exchange: a signed system user token for a ticket in a JWT. JSON and SOAP are two forms of the same.

pub(super) mod rest;
pub(super) mod soap;

use serde::Deserialize;

use crate::behaviour::Refusal;
use crate::delivery::Forgery;
use crate::endpoint::Route;
use crate::jwt::Jwt;
use crate::jwt_flaw::WrongTenant;
use crate::settings::Settings;
use crate::signed_token::{self, Flaw};
use crate::tenants::Tenant;
use crate::world::{World, lock};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AuthenticationRequest {
    signed_system_token: String,
    application_token: String,
    context_identifier: String,
    return_token_type: Option<String>,
}

/// The tenant that a request over either form is about.
pub(super) fn named_tenant(route: &Route, body: &[u8]) -> Option<String> {
    Some(request(route, body)?.context_identifier)
}

/// Also of requests that a behaviour answers.
pub(super) fn note_secrets(world: &World, route: &Route, body: &[u8]) {
    if let Some(request) = request(route, body) {
        world.seen_secrets.note(|seen| &mut seen.signed_system_tokens, &request.signed_system_token);
    }
}

fn request(route: &Route, body: &[u8]) -> Option<AuthenticationRequest> {
    match route {
        Route::Exchange => rest::read(body),
        Route::SoapExchange => soap::read(body).ok(),
        _ => None,
    }
}

/// The JWT, or the status and message that the request is refused with.
fn exchange(
    world: &World,
    request: &AuthenticationRequest,
    forgery: &Forgery,
    settings: &Settings,
) -> Result<String, (u16, String)> {
    if let Forgery::Refused(refusal) = forgery {
        return Err((200, refusal.message()));
    }
    let tenant = admit(world, request, settings)?;
    Ok(issue(world, &tenant, forgery, settings))
}

/// The tenant that the request may have a ticket for.
fn admit(world: &World, request: &AuthenticationRequest, settings: &Settings) -> Result<Tenant, (u16, String)> {
    let refused = |text: &str| (settings.refusal_status, text.to_owned());
    match request.return_token_type.as_deref() {
        Some(kind) if kind.eq_ignore_ascii_case("jwt") => {}
        Some(kind) if kind.eq_ignore_ascii_case("saml") => {
            return Err(refused("SAML tokens are not supported by this sandbox."));
        }
        _ => return Err((400, "ReturnTokenType is neither Jwt nor Saml.".to_owned())),
    }
    if request.application_token != world.client_secret {
        return Err(refused("The application token is not valid."));
    }
    let token = {
        let key = lock(&world.partner_key);
        signed_token::check(&request.signed_system_token, &key, settings.max_drift, world.clock.now())
    };
    let token = token.map_err(|flaw| match flaw {
        Flaw::Malformed => refused("The signed system token is not valid."),
        Flaw::Timestamp => refused(&Refusal::Code(6).message()),
        Flaw::Signature => refused(&Refusal::Code(7).message()),
    })?;
    let tenants = lock(&world.tenants);
    let tenant = tenants
        .find(&request.context_identifier)
        .filter(|tenant| tenant.system_user_token == token)
        .ok_or_else(|| (settings.unknown_token_status, "The system user token is not valid.".to_owned()))?;
    if settings.exchange_needs_running_tenant && !tenant.state.is_running() {
        return Err(refused(&format!("The tenant is not available: {:?}", tenant.state)));
    }
    Ok(tenant.clone())
}

/// Writes the row in the tenant's database and makes the JWT.
fn issue(world: &World, tenant: &Tenant, forgery: &Forgery, settings: &Settings) -> String {
    let now = world.clock.now();
    let (key, other_key) = {
        let keys = lock(&world.keys);
        (keys.current(), keys.other())
    };
    let make = |owner: &Tenant| {
        let ticket = lock(&world.tenants).make_ticket(&owner.context_identifier, settings.ticket_life, now);
        world.seen_secrets.note(|seen| &mut seen.tickets, &ticket);
        Jwt::new(owner, &world.tenant_url(owner), &ticket, &world.application_name, &key, settings, now)
    };
    let other = lock(&world.tenants).other_than(&tenant.context_identifier);
    let jwt = match forgery {
        Forgery::WrongTenant(WrongTenant::Replayed) => {
            other.last_jwt.clone().unwrap_or_else(|| make(&other).sign(&key))
        }
        Forgery::WrongTenant(how) => make(tenant).mixed_up(*how, tenant, &other).sign(&key),
        Forgery::Jwt(flaw) => make(tenant).flawed(*flaw, &key, &other_key, now),
        Forgery::None | Forgery::Refused(_) | Forgery::IdToken(_) | Forgery::OAuthError(_) => make(tenant).sign(&key),
    };
    world.seen_secrets.note(|seen| &mut seen.jwts, &jwt);
    if let Some(row) = lock(&world.tenants).find_mut(&tenant.context_identifier) {
        row.exchanges += 1;
        if matches!(forgery, Forgery::None) {
            row.last_jwt = Some(jwt.clone());
        }
    }
    jwt
}
