//! The sign-in's page, and the redirect that ends it.

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;

use crate::delivery::Forgery;
use crate::parameters::Parameters;
use crate::sign_in::{Redirect, Request, Wrong};
use crate::world::World;

pub(super) fn named_tenant(parts: &Parts, body: &[u8]) -> Option<String> {
    Parameters::read(&parts.uri, body).tenant().map(str::to_owned)
}

pub(super) fn answer(world: &World, pinned: Option<&str>, parts: &Parts, body: &[u8], forgery: &Forgery) -> Response {
    let parameters = Parameters::read(&parts.uri, body);
    let request = match Request::read(world, pinned, &parameters) {
        Ok(request) => request,
        Err(Wrong::Page(error)) => return failed(&error.to_string()),
        Err(Wrong::Redirect(redirect)) => return redirected(&redirect),
    };
    if let Forgery::OAuthError(error) = forgery {
        return redirected(&request.refused(error));
    }
    if parts.method != Method::POST {
        return page(StatusCode::OK, "Sign in to SuperOffice", &form(world, &request));
    }
    if parameters.get("decision") != Some("approve") {
        return redirected(&request.refused("access_denied"));
    }
    let (tenant, upn) = parameters.get("account").and_then(|account| account.split_once('/')).unwrap_or_default();
    match request.approved(world, Some(tenant), upn) {
        Ok(redirect) => redirected(&redirect),
        Err(error) => failed(&error.to_string()),
    }
}

/// By a redirect, or by a form that posts itself.
fn redirected(redirect: &Redirect) -> Response {
    let Some(target) = redirect.form_target() else {
        let mut answer = page(StatusCode::FOUND, "Signed in", "");
        if let Ok(url) = HeaderValue::try_from(redirect.url()) {
            answer.headers_mut().insert(LOCATION, url);
        }
        return answer;
    };
    let mut form = format!("<form method=\"post\" action=\"{}\">\n", escaped(target.as_str()));
    for (name, value) in &redirect.parameters {
        let _ = writeln!(form, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value));
    }
    form.push_str("<button>Continue</button>\n</form>\n<script>document.forms[0].submit()</script>");
    page(StatusCode::OK, "Signed in", &form)
}

fn form(world: &World, request: &Request) -> String {
    let mut options = String::new();
    for tenant in request.tenants(world) {
        let name = escaped(&tenant.context_identifier);
        let _ = writeln!(options, "<optgroup label=\"{name}\">");
        for user in &tenant.users {
            let upn = escaped(&user.upn);
            let role = if user.is_administrator { " (administrator)" } else { "" };
            let hinted = request.login_hint.as_ref().is_some_and(|hint| hint.eq_ignore_ascii_case(&user.upn));
            let selected = if hinted { " selected" } else { "" };
            let _ = writeln!(options, "<option value=\"{name}/{upn}\"{selected}>{name}: {upn}{role}</option>");
        }
        options.push_str("</optgroup>\n");
    }
    if options.is_empty() {
        return "<p>There is no tenant that you could sign in to.</p>".to_owned();
    }
    format!(
        "<p>This is a sandbox: it asks for no password, and nothing in it is real.</p>\n\
         <p><strong>{}</strong> wants to use SuperOffice on behalf of the tenant and the user that you choose.</p>\n\
         <form method=\"post\">\n\
         <p><label for=\"account\">Tenant and user</label>\n\
         <select id=\"account\" name=\"account\" required>\n{options}</select></p>\n\
         <p><button name=\"decision\" value=\"approve\">Approve</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button></p>\n\
         </form>",
        escaped(&world.application_name)
    )
}

fn failed(text: &str) -> Response {
    page(StatusCode::BAD_REQUEST, "Sign-in failed", &format!("<p role=\"alert\">{}</p>", escaped(text)))
}

fn page(status: StatusCode, title: &str, content: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} - SuperOffice sandbox</title>\n<style>\n\
         body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }}\n\
         label {{ display: block; font-weight: 600; }}\n\
         select, button {{ font: inherit; padding: 0.5rem 1rem; }}\n\
         select {{ width: 100%; }}\n</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{content}\n</main>\n</body>\n</html>\n"
    );
    let mut answer = Response::new(Body::from(html));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
