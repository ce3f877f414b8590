//! The control API: what [`crate::Sandbox`] can do, over HTTP with JSON, for whoever is not written in Rust.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use crate::behaviour::Knob;
use crate::duration;
use crate::keys::KeyRotation;
use crate::knobs::KnobId;
use crate::sandbox::{Parts, UnknownTenant};
use crate::sign_in;
use crate::tenants::TenantState;
use crate::users::SandboxUser;
use crate::webhook::{self, Webhook};
use crate::world::lock;

type Control = State<Arc<Parts>>;

pub(crate) async fn serve(socket: TcpListener, parts: Arc<Parts>) {
    let router = Router::new()
        .route("/status", get(status))
        .route("/tenants", post(add_tenant))
        .route("/tenants/{ctx}", put(change_tenant))
        .route("/tenants/{ctx}/refresh-tokens", post(issue_refresh_token))
        .route("/tenants/{ctx}/tickets", delete(revoke_tickets))
        .route("/tenants/{ctx}/users", post(add_user))
        .route("/redirect-uris", get(list_redirect_uris).post(add_redirect_uri))
        .route("/approve", post(approve))
        .route("/webhooks", post(send_webhook))
        .route("/knobs", get(list_knobs).post(set_knob).delete(clear_knobs))
        .route("/knobs/{id}", delete(clear_knob))
        .route("/settings", get(settings).patch(change_settings))
        .route("/clock", put(set_clock))
        .route("/keys/rotate", post(rotate_keys))
        .route("/down", post(go_down))
        .route("/up", post(come_up))
        .route("/requests", get(requests).delete(reset_requests))
        .with_state(parts);
    if let Err(error) = axum::serve(socket, router).await {
        tracing::error!(%error, "the control API stopped");
    }
}

async fn status(State(parts): Control) -> Json<Value> {
    let world = &parts.world;
    let (all, endpoints) = world.traffic.counts();
    let tenants: Map<String, Value> = lock(&world.tenants)
        .all()
        .map(|tenant| {
            let facts = json!({
                "state": tenant.state, "host": tenant.host, "serial": tenant.serial, "exchanges": tenant.exchanges,
            });
            (tenant.context_identifier.clone(), facts)
        })
        .collect();
    Json(json!({
        "base_url": world.base_url,
        "host_urls": world.host_urls,
        "now": world.clock.now().to_string(),
        "clock_offset": format!("{:#}", world.clock.offset()),
        "tenants": tenants,
        "requests": { "all": all, "endpoints": endpoints },
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    context_identifier: String,
    system_user_token: Option<String>,
}

async fn add_tenant(State(parts): Control, Json(new): Json<NewTenant>) -> Response {
    Json(parts.add_tenant(&new.context_identifier, new.system_user_token.as_deref())).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    state: Option<TenantState>,
    host: Option<usize>,
    serial: Option<String>,
    system_token_claim: Option<bool>,
}

async fn change_tenant(
    State(parts): Control,
    Path(ctx): Path<String>,
    Json(change): Json<TenantChange>,
) -> Result<StatusCode, UnknownTenant> {
    if let Some(host) = change.host {
        parts.move_tenant(&ctx, host)?;
    }
    parts.change_tenant(&ctx, |tenant| {
        tenant.state = change.state.unwrap_or(tenant.state);
        tenant.system_token_claim = change.system_token_claim.unwrap_or(tenant.system_token_claim);
        if let Some(serial) = change.serial {
            tenant.serial = serial;
        }
    })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn issue_refresh_token(State(parts): Control, Path(ctx): Path<String>) -> Result<Json<Value>, UnknownTenant> {
    Ok(Json(json!({ "refresh_token": parts.issue_refresh_token(&ctx)? })))
}

async fn revoke_tickets(State(parts): Control, Path(ctx): Path<String>) -> Json<Value> {
    Json(json!({ "revoked": lock(&parts.world.tenants).revoke_tickets(&ctx) }))
}

async fn add_user(
    State(parts): Control,
    Path(ctx): Path<String>,
    Json(user): Json<SandboxUser>,
) -> Result<StatusCode, UnknownTenant> {
    parts.add_user(&ctx, user)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedirectUri {
    redirect_uri: String,
}

async fn list_redirect_uris(State(parts): Control) -> Json<Value> {
    Json(json!(*lock(&parts.world.redirect_uris)))
}

async fn add_redirect_uri(State(parts): Control, Json(new): Json<RedirectUri>) -> StatusCode {
    lock(&parts.world.redirect_uris).push(new.redirect_uri);
    StatusCode::NO_CONTENT
}

/// Without a user, the sign-in is denied.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    authorization_url: String,
    user: Option<String>,
}

async fn approve(State(parts): Control, Json(approval): Json<Approval>) -> Response {
    match sign_in::without_browser(&parts.world, &approval.authorization_url, approval.user.as_deref()) {
        Ok(url) => Json(json!({ "redirect_url": url })).into_response(),
        Err(error) => refused(&error),
    }
}

#[derive(Deserialize)]
struct WebhookOrder {
    url: String,
    #[serde(flatten)]
    webhook: Webhook,
}

async fn send_webhook(State(parts): Control, Json(order): Json<WebhookOrder>) -> Response {
    let payload = match order.webhook.payload(&parts.world) {
        Ok(payload) => payload,
        Err(error) => return error.into_response(),
    };
    match webhook::send(&order.url, &payload).await {
        Ok(status) => Json(json!({ "status": status })).into_response(),
        Err(error) => refused(&error),
    }
}

async fn list_knobs(State(parts): Control) -> Response {
    Json(parts.world.knobs.list()).into_response()
}

/// A knob as JSON, or as the text that `--knob` takes.
#[derive(Deserialize)]
#[serde(untagged)]
enum KnobForm {
    Text(String),
    Json(Knob),
}

async fn set_knob(State(parts): Control, Json(form): Json<KnobForm>) -> Response {
    let knob = match form {
        KnobForm::Json(knob) => knob,
        KnobForm::Text(text) => match text.parse() {
            Ok(knob) => knob,
            Err(error) => return refused(&error),
        },
    };
    Json(json!({ "id": parts.world.knobs.set(knob) })).into_response()
}

async fn clear_knobs(State(parts): Control) -> StatusCode {
    parts.world.knobs.clear_all();
    StatusCode::NO_CONTENT
}

async fn clear_knob(State(parts): Control, Path(id): Path<u64>) -> StatusCode {
    if parts.world.knobs.clear(KnobId(id)) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn settings(State(parts): Control) -> Response {
    Json(parts.world.settings()).into_response()
}

async fn change_settings(State(parts): Control, Json(patch): Json<Map<String, Value>>) -> Response {
    let mut settings = lock(&parts.world.settings);
    match settings.patched(&patch) {
        Ok(patched) => {
            *settings = patched.clone();
            Json(patched).into_response()
        }
        Err(error) => refused(&error),
    }
}

/// `{"advance": "1h"}` or `{"offset": "-90s"}`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ClockChange {
    Advance(#[serde(with = "duration")] Duration),
    Offset(String),
}

async fn set_clock(State(parts): Control, Json(change): Json<ClockChange>) -> Response {
    let clock = &parts.world.clock;
    match change {
        ClockChange::Advance(step) => clock.advance(step),
        ClockChange::Offset(text) => match text.parse::<SignedDuration>() {
            Ok(offset) => clock.set_offset(offset),
            Err(error) => return refused(&error),
        },
    }
    Json(json!({ "now": clock.now().to_string() })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    rotation: KeyRotation,
}

async fn rotate_keys(State(parts): Control, Json(Rotation { rotation }): Json<Rotation>) -> StatusCode {
    lock(&parts.world.keys).rotate(rotation);
    StatusCode::NO_CONTENT
}

async fn go_down(State(parts): Control) -> Response {
    set_up(&parts, false).await
}

async fn come_up(State(parts): Control) -> Response {
    set_up(&parts, true).await
}

async fn set_up(parts: &Parts, up: bool) -> Response {
    match parts.set_up(up).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

async fn requests(State(parts): Control) -> Response {
    Json(parts.world.traffic.log()).into_response()
}

async fn reset_requests(State(parts): Control) -> StatusCode {
    parts.world.traffic.reset();
    StatusCode::NO_CONTENT
}

impl IntoResponse for UnknownTenant {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, self.to_string()).into_response()
    }
}

fn refused(error: &dyn std::fmt::Display) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response()
}
