//! What a process holds in memory, shown by `Debug`; and hours of it, with time in the test's hand.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use superoffice_sandbox::{Behaviour, CannedAnswer, Endpoint, Refusal, Sandbox, SandboxClock};
use ticketd::clock::{Clock, ManualClock};
use ticketd::config::Config;
use ticketd::credentials::{
    AccessTokens, Exchange, InvalidateOutcome, KeptGrants, Registrar, SignInAnswer, SignInOwner, SignInRequest,
    SignIns, SystemTickets,
};
use ticketd::crypto::{Fingerprinter, KeyedHasher, PrivateKey};
use ticketd::identifiers::{AuthorizationCode, BrowserSecret, CallerId, RefreshToken, SystemUserToken};
use ticketd::random::{Random, SeededRandom};
use ticketd::server::{Process, Server};
use ticketd::store::Store;
use ticketd::superoffice::{self, SuperOffice};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::canaries::{Canaries, letters};
use crate::configuration::configuration;
use crate::rig::CALLBACK;
use crate::superoffice_settings::superoffice_settings;

const SHOWN: &str = "Cust1";

/// What ticketd's own code logs at TRACE on this thread. The binary's filter holds the libraries back.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_leaks_by_debug_or_in_hours_of_renewals_and_reports() {
    let log = Log::default();
    let writer = log.clone();
    let ours = filter_fn(|metadata| metadata.target().starts_with("ticketd"));
    let lines = fmt::layer().with_ansi(false).with_writer(move || writer.clone()).with_filter(ours);
    let _subscribed = tracing::subscriber::set_default(Registry::default().with(lines));

    let canaries = Canaries::draw();
    let clock = ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap());
    let shared = clock.clone();
    let sandbox = Sandbox::builder()
        .clock(SandboxClock::from_fn(move || shared.now()))
        .client_secret(&canaries.client_secret)
        .application_name(&canaries.application_name)
        .partner_public_key(&canaries.registered_key.public_pem)
        .remember_secrets(true)
        .redirect_uri(CALLBACK)
        .start()
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = config(&sandbox, &canaries, directory.path());
    let mut shown = vec![format!("{config:?} {config:#?} {:?} {sandbox:?}", sandbox.seen_secrets())];

    let token = sandbox.add_tenant(SHOWN).system_user_token;
    let hand = clock.clone();
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(7));
    let Parts { store, superoffice, tickets, access_tokens, sign_ins } = parts(&config, &clock, &random).await;
    let tenant = SHOWN.parse().unwrap();
    let registered = store.tenants.put(tenant, SystemUserToken::new(&token), false, clock.now()).await.unwrap();
    let renewals = tokio::spawn(tickets.clone().run_renewals());
    let first = tickets.get(tenant, Duration::ZERO).await.unwrap();
    let refresh_token = RefreshToken::new(sandbox.issue_refresh_token(SHOWN).unwrap());
    let access_token = access_tokens.refresh(tenant, refresh_token.clone()).await.unwrap();
    let unknown = RefreshToken::new(&canaries.unknown_refresh_token);
    let refused = access_tokens.refresh(tenant, unknown).await.unwrap_err();
    shown.push(format!("{first:?} {registered:?} {refresh_token:?} {access_token:?} {refused:?} {refused}"));

    let of_sign_in = sign_in(&sign_ins, &sandbox, &mut shown).await;
    let user = access_tokens.of_user(tenant, "admin@cust1.example.com").await.unwrap();
    shown.push(format!("{user:?} {:?}", store.grants.list(tenant, None, 9).await.unwrap()));

    // Reported as refused, too early and in time.
    assert_eq!(tickets.invalidate(tenant, first.ticket.fingerprint).await, InvalidateOutcome::TooRecent);
    advance(&hand, Duration::from_secs(31)).await;
    assert_eq!(tickets.invalidate(tenant, first.ticket.fingerprint).await, InvalidateOutcome::Invalidated);
    let second = tickets.get(tenant, Duration::ZERO).await.unwrap();
    assert_ne!(second.ticket.fingerprint, first.ticket.fingerprint);

    // Renewals that fail, with an echo in each refusal, until nothing is served.
    tickets.get(tenant, Duration::ZERO).await.unwrap();
    let text = format!("no {token} {} {}", canaries.client_secret, second.ticket.ticket.expose());
    let stale = CannedAnswer { status: 401, body: text.clone() };
    sandbox.set_behaviour(Behaviour::Answer(stale).at(Endpoint::WebApi));
    sandbox.set_behaviour(Behaviour::Refused(Refusal::Message(text)).at(Endpoint::Exchange));
    for _ in 0..74 {
        advance(&hand, Duration::from_mins(5)).await;
        shown.push(format!("{:?}", tickets.get(tenant, Duration::ZERO).await));
    }
    let error = tickets.get(tenant, Duration::ZERO).await.unwrap_err();
    shown.push(format!("{error} {error:?} {:?} {tickets:?} {tickets:#?} {access_tokens:?}", tickets.statistics()));
    shown.push(format!("{store:?} {superoffice:?} {superoffice:#?} {:?}", store.tenants.list(None, 9).await.unwrap()));
    shown.push(format!(
        "{:?}",
        store.tenants.put(tenant, SystemUserToken::new(format!("{token}.{}", letters(9))), false, clock.now()).await
    ));
    renewals.abort();
    store.close().await;

    let process = Process { clock, random };
    shown.push(format!("{process:?}"));
    let server = Server::bind_with(config, process).await.unwrap();
    shown.push(format!("{server:?} {server:#?} {:?}", server.stop()));
    server.shutdown().await.unwrap();

    let shown = shown.concat();
    let mut needles = canaries.needles(&[token], &sandbox.seen_secrets());
    for secret in &of_sign_in {
        needles.add("state or nonce", secret);
    }
    let log = log.0.lock().unwrap();
    println!("{} bytes of log and {} of Debug searched for {} pieces", log.len(), shown.len(), needles.pieces());
    assert_eq!(needles.search(&log), []);
    assert_eq!(needles.search(shown.as_bytes()), []);
    assert!(log.len() > 4_000 && shown.len() > 10_000);
    assert!(String::from_utf8_lossy(&log).contains("the renewal failed"));
}

struct Parts {
    store: Store,
    superoffice: Arc<SuperOffice>,
    tickets: SystemTickets,
    access_tokens: AccessTokens,
    sign_ins: SignIns,
}

/// A sign-in whose every part is shown. Answers its state and nonce.
async fn sign_in(sign_ins: &SignIns, sandbox: &Sandbox, shown: &mut Vec<String>) -> [String; 2] {
    let request = SignInRequest {
        redirect_uri: CALLBACK.to_owned(),
        tenant: SHOWN.parse().ok(),
        login_hint: None,
        owner: SignInOwner::Browser(BrowserSecret::new(letters(43))),
    };
    let begun = sign_ins.begin(request.clone()).await.unwrap();
    let redirect = sandbox.approve(&begun.authorization_url, "admin@cust1.example.com").unwrap();
    let code = AuthorizationCode::new(redirect.split_once("code=").unwrap().1);
    let answer = SignInAnswer { state: begun.state.clone(), code, owner: request.owner.clone() };
    let stranger = SignInAnswer { owner: SignInOwner::Caller(CallerId::Unidentified), ..answer.clone() };
    let refused = sign_ins.finish(stranger, |_| true, |_| {}).await.unwrap_err();
    let signed_in = sign_ins.finish(answer.clone(), |_| true, |_| {}).await.unwrap();
    shown
        .push(format!("{request:?} {begun:?} {begun:#?} {answer:?} {refused:?} {refused} {signed_in:?} {sign_ins:#?}"));
    let url = url::Url::parse(&begun.authorization_url).unwrap();
    ["state", "nonce"].map(|name| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned())
}

async fn parts(config: &Config, clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Parts {
    let store = Store::open(&config.store, Arc::clone(clock)).await.unwrap();
    let settings = config.superoffice.clone();
    let fingerprinter = Fingerprinter::new(&settings.client_secret.get());
    let superoffice = Arc::new(SuperOffice::new(settings, Arc::clone(clock), Arc::clone(random)).unwrap());
    let signing_keys = config.signing_keys.iter();
    let signing_keys = signing_keys.map(|key| PrivateKey::read(key.to_pkcs8_pem().unwrap().as_bytes(), None).unwrap());
    let exchange = Exchange::new(
        config.tickets.clone(),
        Arc::clone(&superoffice),
        Arc::clone(&store.tenants),
        signing_keys.collect::<Vec<_>>().into(),
        fingerprinter,
        Arc::clone(clock),
        Arc::clone(random),
    );
    let tickets = SystemTickets::new(
        config.tickets.clone(),
        exchange,
        store.shared_tickets.clone(),
        Arc::clone(clock),
        Arc::clone(random),
    );
    let registrar = Registrar::new(
        Arc::clone(&superoffice),
        Arc::clone(&store.tenants),
        tickets.clone(),
        config.tickets.clock_leeway,
        Arc::clone(clock),
    );
    let access_tokens = AccessTokens::new(
        &config.tickets,
        Arc::clone(&superoffice),
        registrar.clone(),
        KeptGrants::new(Arc::clone(&store.grants), Arc::clone(clock)),
        KeyedHasher::random().unwrap(),
        Arc::clone(clock),
        Arc::clone(random),
    );
    let pending = Arc::clone(&store.sign_ins);
    let sign_ins = SignIns::new(Arc::clone(&superoffice), pending, registrar, access_tokens.clone(), Arc::clone(clock));
    Parts { store, superoffice, tickets, access_tokens, sign_ins }
}

/// Moves time on and lets the renewals act.
async fn advance(clock: &ManualClock, duration: Duration) {
    clock.advance(duration);
    #[expect(clippy::disallowed_methods, reason = "a turn for the sockets, not a wait for time to pass")]
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn config(sandbox: &Sandbox, canaries: &Canaries, directory: &std::path::Path) -> Config {
    let superoffice = superoffice_settings(sandbox.base_url(), sandbox.client_id(), sandbox.client_secret());
    let superoffice = superoffice::Settings { redirect_uris: vec![CALLBACK.to_owned()], ..superoffice };
    configuration(superoffice, vec![PrivateKey::read(&canaries.registered_key.der, None).unwrap()], directory)
}
