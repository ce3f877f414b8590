//! A tenant's Web API: enough of it to use a ticket or an access token on.

mod contacts;

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::json_answer;
use crate::contacts::Caller;
use crate::endpoint::Host;
use crate::tenants::Tenant;
use crate::world::{World, lock};

pub(super) fn answer(
    world: &World,
    host: Host,
    context_identifier: &str,
    resource: &str,
    parts: &Parts,
    body: &[u8],
) -> Response {
    let Some(tenant) = lock(&world.tenants).find(context_identifier).cloned() else {
        return error(StatusCode::NOT_FOUND, "SoNotFoundException", "There is no such tenant.");
    };
    if host != Host::Tenant(tenant.host) {
        return error(StatusCode::MISDIRECTED_REQUEST, "SoException", "Wrong subdomain used to access tenant");
    }
    if !tenant.state.is_running() {
        return error(StatusCode::SERVICE_UNAVAILABLE, "SoException", "The tenant is not available.");
    }
    if resource.is_empty() {
        return json_answer(StatusCode::OK, &root(world, &tenant));
    }
    let Some(caller) = caller(world, &tenant, &parts.headers) else { return stale(world) };
    match (parts.method.clone(), resource) {
        (Method::GET, "v1/contact") => contacts::list(&tenant, &format!("{}/api/v1/", world.tenant_url(&tenant))),
        (Method::POST, "v1/contact") => contacts::create(world, &tenant, caller, body),
        (Method::GET, _) if resource.starts_with("v1/contact/") => {
            contacts::read(&tenant, resource.trim_start_matches("v1/contact/"))
        }
        (Method::GET, "v1/user/currentprincipal") => json_answer(StatusCode::OK, &current_principal(&tenant, &caller)),
        (Method::GET, _) if resource.starts_with("v1/") => json_answer(
            StatusCode::OK,
            &json!({ "Resource": resource, "ContextIdentifier": tenant.context_identifier }),
        ),
        (Method::GET, _) => error(StatusCode::NOT_FOUND, "SoNotFoundException", "There is no such resource."),
        _ => super::message(StatusCode::METHOD_NOT_ALLOWED, "The requested resource does not support this method."),
    }
}

/// Who calls, by `SOTicket` with the application token beside it, or by `Bearer`. Each use of a ticket slides its life.
fn caller(world: &World, tenant: &Tenant, headers: &HeaderMap) -> Option<Caller> {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (scheme, credential) = header(AUTHORIZATION.as_str()).and_then(|value| value.split_once(' '))?;
    let credential = credential.trim();
    let now = world.clock.now();
    if scheme.eq_ignore_ascii_case("bearer") {
        return lock(&world.tenants).user_of(credential, &tenant.context_identifier, now);
    }
    let application = header("SO-AppToken").is_some_and(|token| token == world.client_secret);
    let life = world.settings().ticket_life;
    let opens = scheme.eq_ignore_ascii_case("SOTicket")
        && application
        && lock(&world.tenants).use_ticket(credential, &tenant.context_identifier, life, now);
    opens.then_some(Caller::SystemUser)
}

fn stale(world: &World) -> Response {
    let status = StatusCode::from_u16(world.settings().stale_ticket_status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut answer = error(status, "SoSessionException", "Authentication failed!");
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Basic realm=\"SuperOffice Username or Ticket\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, realm);
    }
    answer
}

fn error(status: StatusCode, kind: &str, text: &str) -> Response {
    json_answer(
        status,
        &json!({ "Error": true, "ErrorType": kind, "ErrorMessage": text, "ErrorSource": "SuperOffice Sandbox" }),
    )
}

fn root(world: &World, tenant: &Tenant) -> Value {
    json!({
        "v1": format!("{}/api/v1/", world.tenant_url(tenant)),
        "NetServerVersion": "11.10.721.0",
        "NetServerAssembly": "11.10.0.0",
        "NetServerDate": "2026-02-24",
        "NetServerLabel": "Release_11.10_2026.02.24-02",
        "NetServer": "SuperOffice 11.10 NetServer 11.10 Release (Build: Release_11.10_2026.02.24-02)",
        "Services": "Services87",
        "ServicesCurrent": "Services88",
        "Version": "v1",
        "Documentation": "https://docs.superoffice.com/en/api/",
    })
}

fn current_principal(tenant: &Tenant, caller: &Caller) -> Value {
    let mail = match caller {
        Caller::SystemUser => "system.user@example.com",
        Caller::User(user) => &user.upn,
    };
    json!({
        "BusinessId": 4,
        "CategoryId": 4,
        "ContactId": 2,
        "CountryId": 826,
        "DatabaseContextIdentifier": tenant.context_identifier,
        "EMailAddress": mail,
        "FunctionRights": ["allow-bulk-export"],
        "GroupId": 2,
        "HomeCountryId": 826,
        "PersonId": 5,
        "RoleId": 1,
        "RoleName": "User level 0",
        "SecondaryGroups": 2,
    })
}
