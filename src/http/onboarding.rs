//! A tenant's administrator connects ticketd: a page that says what will happen, SuperOffice's sign-in, and a page that
//! says what has happened.

mod callback;
mod done;
mod sign_in_failure;
mod start;
mod texts;

use axum::Router;
use axum::routing::get;

use super::PublicUrl;
use super::failure::Failure;
use crate::credentials::SignIns;

/// What the pages work with.
#[derive(Clone, Debug)]
pub struct Onboarding {
    /// Begins and ends sign-ins.
    pub sign_ins: SignIns,
    /// Where browsers come back to.
    pub public_url: PublicUrl,
    /// Whom a redirect may come from.
    pub issuer: String,
}

const START: &str = "/onboarding/start";
const CALLBACK: &str = "/onboarding/callback";
const DONE: &str = "/onboarding/done";

/// A GET of the first page begins nothing, so that links can be looked at beforehand, as mail filters do.
pub(super) fn routes(onboarding: Onboarding) -> Router {
    Router::new()
        .route(START, get(start::show).post(start::begin))
        // Looked at, a redirect would be used up.
        .route(CALLBACK, get(callback::finish).head(async || Failure::method_not_allowed()))
        .route(DONE, get(done::show))
        .with_state(onboarding)
}
