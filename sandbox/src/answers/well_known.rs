//! Discovery and the key set.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::json_answer;
use crate::world::{World, lock};

pub(super) fn jwks(world: &World) -> Response {
    let jwks = lock(&world.keys).jwks();
    json_answer(StatusCode::OK, &jwks)
}

/// The document as recorded in 2022. Its issuer has no path although the document lies under `/login`.
pub(super) fn discovery(world: &World) -> Response {
    let base = &world.base_url;
    let document = json!({
        "issuer": world.issuer(),
        "authorization_endpoint": format!("{base}/login/common/oauth/authorize"),
        "token_endpoint": format!("{base}/login/common/oauth/tokens"),
        "end_session_endpoint": format!("{base}/login/logout"),
        "jwks_uri": format!("{base}/login/.well-known/jwks"),
        "scopes_supported": ["openid"],
        "response_modes_supported": ["form_post", "fragment", "query"],
        "response_types_supported": ["code", "id_token", "code id_token", "token id_token", "token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "grant_types_supported": ["implicit", "authorization_code", "refresh_token"],
        "revocation_endpoint": format!("{base}/login/common/oauth/revoke"),
    });
    json_answer(StatusCode::OK, &document)
}
