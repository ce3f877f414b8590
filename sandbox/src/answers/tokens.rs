//! The OAuth token endpoint: codes and refresh tokens for access tokens.

use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::json_answer;
use crate::codes::Approval;
use crate::delivery::Forgery;
use crate::id_token::{self, SignIn};
use crate::parameters::Parameters;
use crate::settings::Settings;
use crate::world::{World, lock};

/// The tenant of the code or the token that a request brings.
pub(super) fn named_tenant(world: &World, parts: &Parts, body: &[u8]) -> Option<String> {
    let parameters = Parameters::read(&parts.uri, body);
    if let Some(code) = parameters.get("code") {
        return lock(&world.codes).find(code).map(|approval| approval.context_identifier.clone());
    }
    let token = parameters.get("refresh_token").or(parameters.get("token"))?;
    let tenants = lock(&world.tenants);
    tenants.find_refresh_token(token).map(|(tenant, _)| tenant.context_identifier.clone())
}

pub(super) fn answer(world: &World, parts: &Parts, body: &[u8], forgery: &Forgery) -> Response {
    let parameters = Parameters::read(&parts.uri, body);
    if let Forgery::OAuthError(error) = forgery {
        return refused(error);
    }
    if !parameters.is_the_application(world, parts) {
        return refused("invalid_client");
    }
    let settings = world.settings();
    let tokens = match parameters.get("grant_type") {
        Some("authorization_code") => redeem(world, &parameters, forgery, &settings),
        Some("refresh_token") => refresh(world, &parameters, forgery, &settings),
        None => Err("invalid_request"),
        Some(_) => Err("unsupported_grant_type"),
    };
    match tokens {
        Ok(tokens) => uncached(json_answer(StatusCode::OK, &tokens)),
        Err(error) => refused(error),
    }
}

/// A code is gone once it was brought, with the right verifier or without.
fn redeem(
    world: &World,
    parameters: &Parameters,
    forgery: &Forgery,
    settings: &Settings,
) -> Result<Value, &'static str> {
    let code = parameters.get("code").ok_or("invalid_request")?;
    let approval = lock(&world.codes).take(code).ok_or("invalid_grant")?;
    if let Some(verifier) = parameters.get("code_verifier") {
        world.seen_secrets.note(|seen| &mut seen.code_verifiers, verifier);
    }
    let verified = match (&approval.challenge, parameters.get("code_verifier")) {
        (Some(challenge), Some(verifier)) => challenge.is_met_by(verifier),
        // A verifier without a challenge is a challenge that somebody took away (RFC 9700, 2.1.1).
        (challenge, verifier) => challenge.is_none() && verifier.is_none(),
    };
    let same_redirect = parameters.get("redirect_uri") == Some(&approval.redirect_uri);
    if !verified || !same_redirect || world.clock.now() >= approval.expires {
        return Err("invalid_grant");
    }
    let Approval { context_identifier, user, nonce, .. } = approval;
    let (tenant, access_token, refresh_token) = {
        let mut tenants = lock(&world.tenants);
        let tenant = tenants.find(&context_identifier).cloned().ok_or("invalid_grant")?;
        let access_token = tenants.issue_access_token(
            &context_identifier,
            user.clone(),
            settings.access_token_life,
            world.clock.now(),
        );
        (tenant, access_token, tenants.issue_refresh_token(&context_identifier, user.clone()))
    };
    world.seen_secrets.note(|seen| &mut seen.access_tokens, &access_token);
    world.seen_secrets.note(|seen| &mut seen.refresh_tokens, &refresh_token);
    let sign_in =
        SignIn { tenant: &tenant, user: &user, nonce: nonce.as_deref(), access_token: &access_token, code: Some(code) };
    let mut answer = token_response(&access_token, settings);
    answer["refresh_token"] = json!(refresh_token);
    if let Some(id_token) = id_token::issue(world, &sign_in, forgery, settings) {
        answer["id_token"] = json!(id_token);
    }
    Ok(answer)
}

fn refresh(
    world: &World,
    parameters: &Parameters,
    forgery: &Forgery,
    settings: &Settings,
) -> Result<Value, &'static str> {
    let refresh_token = parameters.get("refresh_token").ok_or("invalid_grant")?;
    let mut tenants = lock(&world.tenants);
    let (tenant, user) = tenants.find_refresh_token(refresh_token).ok_or("invalid_grant")?;
    let (tenant, user) = (tenant.clone(), user.clone());
    let access_token = tenants.issue_access_token(
        &tenant.context_identifier,
        user.clone(),
        settings.access_token_life,
        world.clock.now(),
    );
    world.seen_secrets.note(|seen| &mut seen.access_tokens, &access_token);
    let mut answer = token_response(&access_token, settings);
    if settings.rotate_refresh_tokens {
        tenants.revoke_refresh_token(refresh_token);
        let refresh_token = tenants.issue_refresh_token(&tenant.context_identifier, user.clone());
        world.seen_secrets.note(|seen| &mut seen.refresh_tokens, &refresh_token);
        answer["refresh_token"] = json!(refresh_token);
    }
    drop(tenants);
    let sign_in = SignIn { tenant: &tenant, user: &user, nonce: None, access_token: &access_token, code: None };
    if settings.refresh_with_id_token
        && let Some(id_token) = id_token::issue(world, &sign_in, forgery, settings)
    {
        answer["id_token"] = json!(id_token);
    }
    Ok(answer)
}

fn token_response(access_token: &str, settings: &Settings) -> Value {
    let seconds = settings.access_token_life.as_secs();
    json!({
        "token_type": "Bearer",
        "access_token": access_token,
        "expires_in": if settings.expires_in_as_string { json!(seconds.to_string()) } else { json!(seconds) },
    })
}

pub(super) fn refused(error: &str) -> Response {
    let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    uncached(json_answer(status, &json!({ "error": error })))
}

pub(super) fn uncached(mut answer: Response) -> Response {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
