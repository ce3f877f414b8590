//! `PartnerSystemUser/Authenticate`, in JSON.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::AuthenticationRequest;
use crate::answers::{json_answer, message};
use crate::delivery::Forgery;
use crate::world::World;

pub(super) fn read(body: &[u8]) -> Option<AuthenticationRequest> {
    serde_json::from_slice(body).ok()
}

pub(in crate::answers) fn answer(world: &World, body: &[u8], forgery: &Forgery) -> Response {
    let settings = world.settings();
    let Some(request) = read(body) else {
        return message(StatusCode::BAD_REQUEST, "The request is invalid.");
    };
    let outcome = super::exchange(world, &request, forgery, &settings);
    let status = outcome.as_ref().map_or_else(|(status, _)| *status, |_| 200);
    let mut members = Map::from_iter([
        ("IsSuccessful".to_owned(), json!(outcome.is_ok())),
        ("Token".to_owned(), json!(outcome.as_ref().ok())),
        ("ErrorMessage".to_owned(), json!(outcome.as_ref().err().map(|(_, message)| message))),
    ]);
    if settings.omit_null_members {
        members.retain(|_, value| !value.is_null());
    }
    json_answer(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &Value::Object(members))
}
