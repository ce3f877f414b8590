//! What browsers, and whoever pretends to be SuperOffice, send the pages.

use std::sync::Arc;
use std::thread_local;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri};
use tempfile::TempDir;
use ticketd::audit::Audit;
use ticketd::clock::{Clock, ManualClock};
use ticketd::credentials::{
    self, AccessTokens, Exchange, KeptGrants, Registrar, SignIns, SystemTickets, TenantNotices,
};
use ticketd::crypto::{Fingerprinter, KeyedHasher, PrivateKey};
use ticketd::http::{self, Onboarding};
use ticketd::identifiers::{ApplicationId, ClientSecret, Environment};
use ticketd::random::{Random, SeededRandom};
use ticketd::store::{PostgresSettings, Sealing, Settings, Store};
use ticketd::superoffice::{self, SuperOffice};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const PUBLIC_URL: &str = "https://tickets.example.com";

thread_local! {
    static PAGES: Pages = Pages::new();
}

/// The pages over a database without tenants. SuperOffice is at an address where nobody answers.
struct Pages {
    runtime: Runtime,
    router: Router,
    _directory: TempDir,
}

/// SuperOffice's redirect: a query, and the browser's cookies on the next line.
pub(crate) fn callback_query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (query, cookie) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(uri) = Uri::try_from(format!("/onboarding/callback?{query}")) else { return };
    let mut request = Request::get(uri);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        request = request.header(COOKIE, cookie);
    }
    let answer = answer(request.body(Body::empty()).unwrap());
    // No sign-in is under way, so nobody comes in, and no parameter makes for somewhere else.
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert!(answer.headers().get(LOCATION).is_none());
}

/// SuperOffice's tenant status webhook: a body.
pub(crate) fn webhook(input: &[u8]) {
    let request = Request::post("/webhooks/tenant-status").header(CONTENT_TYPE, "application/json");
    let answer = answer(request.body(Body::from(input.to_vec())).unwrap());
    let expected = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE];
    assert!(expected.contains(&answer.status()), "nobody here can sign: {}", answer.status());
}

fn answer(request: Request<Body>) -> Response<Body> {
    PAGES.with(|pages| pages.runtime.block_on(pages.router.clone().oneshot(request)).unwrap())
}

impl Pages {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let router = runtime.block_on(router(&directory));
        Self { runtime, router, _directory: directory }
    }
}

async fn router(directory: &TempDir) -> Router {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap()));
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(7));
    let clocks = || Arc::clone(&clock);
    let settings = credentials::Settings::default();
    let store = Store::open(&store_settings(directory), clocks()).await.unwrap();
    let superoffice = Arc::new(SuperOffice::new(superoffice_settings(), clocks(), Arc::clone(&random)).unwrap());
    let key = include_bytes!("../../tests/fixtures/keys/selfmade2048.pkcs8.pem");
    let exchange = Exchange::new(
        settings.clone(),
        Arc::clone(&superoffice),
        Arc::clone(&store.tenants),
        vec![PrivateKey::read(key, None).unwrap()].into(),
        Fingerprinter::new(&ClientSecret::new("secret")),
        clocks(),
        Arc::clone(&random),
    );
    let tickets = SystemTickets::new(settings.clone(), exchange, None, clocks(), Arc::clone(&random));
    let registrar = Registrar::new(
        Arc::clone(&superoffice),
        Arc::clone(&store.tenants),
        tickets.clone(),
        settings.clock_leeway,
        clocks(),
    );
    let kept_grants = KeptGrants::new(Arc::clone(&store.grants), clocks());
    let access_tokens = AccessTokens::new(
        &settings,
        Arc::clone(&superoffice),
        registrar.clone(),
        kept_grants.clone(),
        KeyedHasher::random().unwrap(),
        clocks(),
        random,
    );
    let pending = Arc::clone(&store.sign_ins);
    let sign_ins = SignIns::new(Arc::clone(&superoffice), pending, registrar, access_tokens, clocks());
    let notices = TenantNotices::new(
        Arc::clone(&superoffice),
        Arc::clone(&store.tenants),
        Arc::clone(&store.notices),
        tickets,
        kept_grants,
        settings.clock_leeway,
        clocks(),
    );
    let pages = http::Settings::new(([127, 0, 0, 1], 0).into(), PUBLIC_URL.parse().unwrap());
    let public_url = pages.public_url.clone();
    let onboarding = Onboarding { sign_ins, public_url, issuer: superoffice.issuer().to_owned() };
    http::router(&pages, onboarding, notices, Audit::off(), clock)
}

fn superoffice_settings() -> superoffice::Settings {
    // A port that nobody but root can listen on, and nobody does.
    let settings =
        crate::superoffice_settings::superoffice_settings("http://127.0.0.1:1", "0123456789abcdef", "secret");
    superoffice::Settings { redirect_uris: vec![format!("{PUBLIC_URL}/onboarding/callback")], ..settings }
}

fn store_settings(directory: &TempDir) -> Settings {
    Settings {
        url: format!("sqlite://{}", directory.path().join("ticketd.db").display()),
        tenants_directory: None,
        postgres: PostgresSettings::default(),
        sealing: Sealing {
            key_files: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/keys/sealing.key").into()],
            environment: Environment::Sod,
            application: ApplicationId::new("0123456789abcdef"),
        },
    }
}
