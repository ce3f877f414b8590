//! `/api/state/{ContextIdentifier}`, which asks for no credentials.

use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde_json::json;

use super::json_answer;
use crate::world::{World, lock};

/// A tenant that is not known is answered as `Unknown`; what SuperOffice does then is not public.
pub(super) fn answer(world: &World, context_identifier: &str) -> Response {
    let life = world.settings().state_life;
    let valid_until = world.clock.now().saturating_add(life).unwrap_or(Timestamp::MAX);
    // .NET writes its ticks of 100 ns: seven digits, always.
    let valid_until = valid_until.strftime("%Y-%m-%dT%H:%M:%S.%7fZ").to_string();
    let Some(tenant) = lock(&world.tenants).find(context_identifier).cloned() else {
        let unknown = json!({
            "ContextIdentifier": context_identifier, "Endpoint": null, "State": "Unknown", "IsRunning": false,
            "ValidUntil": valid_until, "Api": null, "Version": null,
        });
        return json_answer(StatusCode::OK, &unknown);
    };
    let url = world.tenant_url(&tenant);
    let state = json!({
        "ContextIdentifier": tenant.context_identifier,
        "Endpoint": url,
        "State": tenant.state,
        "IsRunning": tenant.state.is_running(),
        "ValidUntil": valid_until,
        "Api": format!("{url}/api"),
        "Version": "Release_11.10_2026.02.24-02",
    });
    json_answer(StatusCode::OK, &state)
}
