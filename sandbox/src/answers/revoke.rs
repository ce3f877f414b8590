//! The OAuth revocation endpoint (RFC 7009).

use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;

use super::tokens::{refused, uncached};
use crate::delivery::Forgery;
use crate::parameters::Parameters;
use crate::world::{World, lock};

/// A token that is not known counts as revoked. The hint is not needed to find one.
pub(super) fn answer(world: &World, parts: &Parts, body: &[u8], forgery: &Forgery) -> Response {
    let parameters = Parameters::read(&parts.uri, body);
    if let Forgery::OAuthError(error) = forgery {
        return refused(error);
    }
    if !parameters.is_the_application(world, parts) {
        return refused("invalid_client");
    }
    let Some(token) = parameters.get("token") else { return refused("invalid_request") };
    let mut tenants = lock(&world.tenants);
    if !tenants.revoke_refresh_token(token) {
        tenants.revoke_access_token(token);
    }
    drop(tenants);
    uncached(Response::new(Body::empty()))
}
