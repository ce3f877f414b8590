//! The OAuth token endpoint, as far as refreshing.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::json_answer;
use crate::world::{World, lock};

type Parameters = HashMap<String, String>;

pub(super) fn named_tenant(world: &World, parts: &Parts, body: &[u8]) -> Option<String> {
    let parameters = parameters(parts, body);
    let tenants = lock(&world.tenants);
    let tenant = tenants.find_refresh_token(parameters.get("refresh_token")?)?;
    Some(tenant.context_identifier.clone())
}

pub(super) fn answer(world: &World, parts: &Parts, body: &[u8]) -> Response {
    let parameters = parameters(parts, body);
    let parameter = |name: &str| parameters.get(name).cloned().unwrap_or_default();
    let (client_id, client_secret) =
        basic(parts).unwrap_or_else(|| (parameter("client_id"), parameter("client_secret")));
    if client_id != world.client_id || client_secret != world.client_secret {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    match parameter("grant_type").as_str() {
        "refresh_token" => {}
        "" => return refused(StatusCode::BAD_REQUEST, "invalid_request"),
        _ => return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
    }
    let settings = world.settings();
    let refresh_token = parameter("refresh_token");
    let mut tenants = lock(&world.tenants);
    let Some(tenant) = tenants.find_refresh_token(&refresh_token).cloned() else {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let access_token =
        tenants.issue_access_token(&tenant.context_identifier, settings.access_token_life, world.clock.now());
    world.seen_secrets.note(|seen| &mut seen.access_tokens, &access_token);
    let seconds = settings.access_token_life.as_secs();
    let mut answer = json!({
        "token_type": "Bearer",
        "access_token": access_token,
        "expires_in": if settings.expires_in_as_string { json!(seconds.to_string()) } else { json!(seconds) },
    });
    if settings.rotate_refresh_tokens {
        tenants.revoke_refresh_token(&refresh_token);
        let refresh_token = tenants.issue_refresh_token(&tenant.context_identifier);
        world.seen_secrets.note(|seen| &mut seen.refresh_tokens, &refresh_token);
        answer["refresh_token"] = json!(refresh_token);
    }
    drop(tenants);
    uncached(json_answer(StatusCode::OK, &answer))
}

/// From the query and from the form, which wins.
fn parameters(parts: &Parts, body: &[u8]) -> Parameters {
    let mut parameters = Query::<Parameters>::try_from_uri(&parts.uri).map(|Query(all)| all).unwrap_or_default();
    // A form is a query in another place, so one parser reads both.
    let form = std::str::from_utf8(body).ok().and_then(|form| format!("/?{form}").parse::<Uri>().ok());
    if let Some(Query(form)) = form.and_then(|uri| Query::<Parameters>::try_from_uri(&uri).ok()) {
        parameters.extend(form);
    }
    parameters
}

fn basic(parts: &Parts) -> Option<(String, String)> {
    let (scheme, credential) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credential.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

fn refused(status: StatusCode, error: &str) -> Response {
    uncached(json_answer(status, &json!({ "error": error })))
}

fn uncached(mut answer: Response) -> Response {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
