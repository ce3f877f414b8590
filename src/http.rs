//! ticketd's own pages, for browsers: how a tenant's administrator connects it by signing in at SuperOffice.
//!
//! They hand out nothing: what a sign-in yields goes to the store. So anybody may ask for them, from anywhere, and
//! whatever asks is taken for hostile. TLS ends before them.

mod audited;
mod cookies;
mod failure;
mod layers;
mod onboarding;
mod page;
mod parameters;
mod settings;
mod webhook;

use std::sync::Arc;

use axum::Router;

use crate::audit::Audit;
use crate::clock::Clock;
use crate::credentials::TenantNotices;

pub use onboarding::Onboarding;
pub use settings::{PublicUrl, PublicUrlError, Settings};

/// Everything that is served, with the layers around it.
pub fn router(
    settings: &Settings,
    onboarding: Onboarding,
    notices: TenantNotices,
    audit: Audit,
    clock: Arc<dyn Clock>,
) -> Router {
    let routes = Router::new().merge(onboarding::routes(onboarding)).merge(webhook::routes(notices));
    layers::around(routes, settings, audit, clock)
}
