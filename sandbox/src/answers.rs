//! From a request to its answer.

mod authorize;
mod exchange;
mod revoke;
mod tenant_state;
mod tokens;
mod webapi;
mod well_known;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, DATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::delivery::{self, Closed, Form};
use crate::endpoint::{Host, Route};
use crate::traffic::RequestRecord;
use crate::world::World;

/// No true request is longer.
const MAX_BODY: usize = 64 * 1024;

/// Answers one request that came to `host`, unless it names another one.
pub(crate) async fn answer(world: Arc<World>, host: Host, request: Request) -> Result<Response, Closed> {
    let (parts, body) = request.into_parts();
    let host = world.names.host(&parts).unwrap_or(host);
    let route = Route::find(host, parts.uri.path());
    let endpoint = route.endpoint();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return Ok(message(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large."));
    };
    exchange::note_secrets(&world, &route, &body);
    let context_identifier = named_tenant(&world, &route, &parts, &body);
    let _in_flight = world.traffic.record(RequestRecord {
        time: world.clock.now(),
        method: parts.method.to_string(),
        path: parts.uri.path().chars().take(200).collect(),
        endpoint,
        context_identifier: context_identifier.clone(),
    });

    let faults = delivery::Faults::sort(world.knobs.apply(endpoint, context_identifier.as_deref()));
    faults.wait().await;
    let answer = match faults.instead(Form::of(endpoint))? {
        Some(answer) => answer,
        None => true_answer(&world, host, &route, &parts, &body, &faults),
    };
    let mut answer = faults.deliver(answer).await;
    let date = world.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::try_from(date) {
        // Clients measure their skew by it, so it has to be the sandbox's time.
        answer.headers_mut().insert(DATE, date);
    }
    Ok(answer)
}

fn true_answer(
    world: &World,
    host: Host,
    route: &Route,
    parts: &Parts,
    body: &[u8],
    faults: &delivery::Faults,
) -> Response {
    let asks_for_description = *route == Route::SoapExchange && exchange::soap::is_description(parts.uri.query());
    let allowed = match route {
        Route::SoapExchange if asks_for_description => parts.method == Method::GET,
        Route::Exchange | Route::SoapExchange | Route::Tokens | Route::Revoke => parts.method == Method::POST,
        Route::Authorize { .. } => parts.method == Method::GET || parts.method == Method::POST,
        // A Web API's resources differ in it.
        Route::WebApi { .. } | Route::Other => true,
        _ => parts.method == Method::GET,
    };
    if !allowed {
        return message(StatusCode::METHOD_NOT_ALLOWED, "The requested resource does not support this method.");
    }
    match route {
        Route::Exchange => exchange::rest::answer(world, body, faults.forgery()),
        Route::SoapExchange if asks_for_description => exchange::soap::description(world),
        Route::SoapExchange => exchange::soap::answer(world, &parts.headers, body, faults.forgery()),
        Route::Jwks => well_known::jwks(world),
        Route::Discovery => well_known::discovery(world),
        Route::Authorize { context_identifier } => {
            authorize::answer(world, context_identifier.as_deref(), parts, body, faults.forgery())
        }
        Route::Tokens => tokens::answer(world, parts, body, faults.forgery()),
        Route::Revoke => revoke::answer(world, parts, body, faults.forgery()),
        Route::TenantState { context_identifier } => tenant_state::answer(world, context_identifier),
        Route::WebApi { context_identifier, resource } => {
            webapi::answer(world, host, context_identifier, resource, parts, body)
        }
        Route::Other => message(StatusCode::NOT_FOUND, "No HTTP resource was found that matches the request URI."),
    }
}

/// The tenant that a request is about, so that behaviours can be limited to it.
fn named_tenant(world: &World, route: &Route, parts: &Parts, body: &[u8]) -> Option<String> {
    match route {
        Route::Exchange | Route::SoapExchange => exchange::named_tenant(route, body),
        Route::Authorize { context_identifier } => {
            context_identifier.clone().or_else(|| authorize::named_tenant(parts, body))
        }
        Route::Tokens | Route::Revoke => tokens::named_tenant(world, parts, body),
        _ => route.context_identifier().map(str::to_owned),
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Response {
    let mut answer = Response::new(Body::from(value.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}

/// An error as ASP.NET Web API writes it.
pub(crate) fn message(status: StatusCode, text: &str) -> Response {
    json_answer(status, &json!({ "Message": text }))
}
