//! The parameters of an OAuth request, wherever they are.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::world::World;

/// From the query and from the form, which wins.
pub(crate) struct Parameters(HashMap<String, String>);

impl Parameters {
    pub(crate) fn read(uri: &Uri, body: &[u8]) -> Self {
        let read = |uri: &Uri| Query::<HashMap<String, String>>::try_from_uri(uri).map(|Query(all)| all);
        let mut parameters = read(uri).unwrap_or_default();
        // A form is a query in another place, so one parser reads both.
        let form = std::str::from_utf8(body).ok().and_then(|form| format!("/?{form}").parse::<Uri>().ok());
        parameters.extend(form.and_then(|uri| read(&uri).ok()).into_iter().flatten());
        Self(parameters)
    }

    /// What is empty is not there.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The tenant that a sign-in is limited to.
    pub(crate) fn tenant(&self) -> Option<&str> {
        // Values of other kinds may stand beside it.
        self.get("acr_values")?.split(' ').find_map(|value| value.strip_prefix("tenant:"))
    }

    /// Whether the application's id and secret are there, as parameters or in the header.
    pub(crate) fn is_the_application(&self, world: &World, parts: &Parts) -> bool {
        let parameter = |name| self.get(name).unwrap_or_default().to_owned();
        let (id, secret) = basic(parts).unwrap_or_else(|| (parameter("client_id"), parameter("client_secret")));
        id == world.client_id && secret == world.client_secret
    }
}

/// RFC 6749, 2.3.1: both parts are form-encoded.
fn basic(parts: &Parts) -> Option<(String, String)> {
    let (scheme, credential) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credential.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let plain = |part: &str| {
        let pair = format!("v={}", part.replace('&', "%26"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((plain(id)?, plain(secret)?))
}
