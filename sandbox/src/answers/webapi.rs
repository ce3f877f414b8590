//! A tenant's Web API: enough of it to use a ticket on.

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::json_answer;
use crate::endpoint::Host;
use crate::tenants::Tenant;
use crate::world::{World, lock};

pub(super) fn answer(
    world: &World,
    host: Host,
    context_identifier: &str,
    resource: &str,
    headers: &HeaderMap,
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
    if !is_authenticated(world, &tenant, headers) {
        return stale(world);
    }
    match resource {
        "v1/user/currentprincipal" => json_answer(StatusCode::OK, &current_principal(&tenant)),
        _ if resource.starts_with("v1/") => json_answer(
            StatusCode::OK,
            &json!({ "Resource": resource, "ContextIdentifier": tenant.context_identifier }),
        ),
        _ => error(StatusCode::NOT_FOUND, "SoNotFoundException", "There is no such resource."),
    }
}

/// `SOTicket` with the application token beside it, or `Bearer`. Each use of a ticket slides its life.
fn is_authenticated(world: &World, tenant: &Tenant, headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some((scheme, credential)) = header(AUTHORIZATION.as_str()).and_then(|value| value.split_once(' ')) else {
        return false;
    };
    let credential = credential.trim();
    let now = world.clock.now();
    if scheme.eq_ignore_ascii_case("bearer") {
        return lock(&world.tenants).accepts_access_token(credential, &tenant.context_identifier, now);
    }
    let application = header("SO-AppToken").is_some_and(|token| token == world.client_secret);
    let life = world.settings().ticket_life;
    scheme.eq_ignore_ascii_case("SOTicket")
        && application
        && lock(&world.tenants).use_ticket(credential, &tenant.context_identifier, life, now)
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

fn current_principal(tenant: &Tenant) -> Value {
    json!({
        "BusinessId": 4,
        "CategoryId": 4,
        "ContactId": 2,
        "CountryId": 826,
        "DatabaseContextIdentifier": tenant.context_identifier,
        "EMailAddress": "system.user@example.com",
        "FunctionRights": ["allow-bulk-export"],
        "GroupId": 2,
        "HomeCountryId": 826,
        "PersonId": 5,
        "RoleId": 1,
        "RoleName": "User level 0",
        "SecondaryGroups": 2,
    })
}
