//! What a process holds in memory, shown by `Debug`; and hours of it, with time in the test's hand.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use superoffice_sandbox::{Behaviour, Endpoint, Refusal, Sandbox, SandboxClock};
use ticketd::clock::{Clock, ManualClock};
use ticketd::config::Config;
use ticketd::credentials::{AccessTokens, Exchange, InvalidateOutcome, SystemTickets};
use ticketd::crypto::{Fingerprinter, KeyedHasher, PrivateKey};
use ticketd::identifiers::{ApplicationId, ClientSecret, Environment, RefreshToken, SystemUserToken};
use ticketd::random::{Random, SeededRandom};
use ticketd::server::{Process, Server};
use ticketd::store::Store;
use ticketd::superoffice::SuperOffice;
use ticketd::{credentials, server, store, superoffice, telemetry};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::canaries::{Canaries, letters};

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
    let Parts { store, superoffice, tickets, access_tokens } = parts(&config, &clock, &random).await;
    let tenant = SHOWN.parse().unwrap();
    let registered = store.tenants.put(tenant, SystemUserToken::new(&token), false, clock.now()).await.unwrap();
    let renewals = tokio::spawn(tickets.clone().run_renewals());
    let first = tickets.get(tenant, Duration::ZERO).await.unwrap();
    let refresh_token = RefreshToken::new(sandbox.issue_refresh_token(SHOWN).unwrap());
    let access_token = access_tokens.refresh(tenant, refresh_token.clone()).await.unwrap();
    let unknown = RefreshToken::new(&canaries.unknown_refresh_token);
    let refused = access_tokens.refresh(tenant, unknown).await.unwrap_err();
    shown.push(format!("{first:?} {registered:?} {refresh_token:?} {access_token:?} {refused:?} {refused}"));

    // Reported as refused, too early and in time.
    assert_eq!(tickets.invalidate(tenant, first.ticket.fingerprint), InvalidateOutcome::TooRecent);
    advance(&hand, Duration::from_secs(31)).await;
    assert_eq!(tickets.invalidate(tenant, first.ticket.fingerprint), InvalidateOutcome::Invalidated);
    let second = tickets.get(tenant, Duration::ZERO).await.unwrap();
    assert_ne!(second.ticket.fingerprint, first.ticket.fingerprint);

    // Renewals that fail, with an echo in each refusal, until nothing is served.
    tickets.get(tenant, Duration::ZERO).await.unwrap();
    let text = format!("no {token} {} {}", canaries.client_secret, second.ticket.ticket.expose());
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
    let needles = canaries.needles(&[token], &sandbox.seen_secrets());
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
}

async fn parts(config: &Config, clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Parts {
    let store = Store::open(&config.store, Arc::clone(clock)).await.unwrap();
    let settings = config.superoffice.clone();
    let fingerprinter = Fingerprinter::new(&settings.client_secret);
    let superoffice = Arc::new(SuperOffice::new(settings, Arc::clone(clock), Arc::clone(random)).unwrap());
    let exchange = Exchange::new(
        config.tickets.clone(),
        Arc::clone(&superoffice),
        Arc::clone(&store.tenants),
        config
            .signing_keys
            .iter()
            .map(|key| PrivateKey::read(key.to_pkcs8_pem().unwrap().as_bytes(), None).unwrap())
            .collect(),
        fingerprinter,
        Arc::clone(clock),
        Arc::clone(random),
    );
    let hasher = KeyedHasher::random().unwrap();
    let access_tokens =
        AccessTokens::new(&config.tickets, Arc::clone(&superoffice), hasher, Arc::clone(clock), Arc::clone(random));
    let tickets = SystemTickets::new(config.tickets.clone(), exchange, Arc::clone(clock), Arc::clone(random));
    Parts { store, superoffice, tickets, access_tokens }
}

/// Moves time on and lets the renewals act.
async fn advance(clock: &ManualClock, duration: Duration) {
    clock.advance(duration);
    #[expect(clippy::disallowed_methods, reason = "a turn for the sockets, not a wait for time to pass")]
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn config(sandbox: &Sandbox, canaries: &Canaries, directory: &std::path::Path) -> Config {
    Config {
        superoffice: superoffice::Settings {
            environment: Environment::Sod,
            client_id: ApplicationId::new(sandbox.client_id()),
            client_secret: ClientSecret::new(sandbox.client_secret()),
            client_authentication: superoffice::ClientAuthentication::Post,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            state_timeout: Duration::from_secs(2),
            max_requests_in_flight: 64,
            exchange: superoffice::ExchangeTransport::Rest,
            development: Some(superoffice::Development {
                base_url: sandbox.base_url().parse().unwrap(),
                extra_ca_file: None,
            }),
        },
        signing_keys: vec![PrivateKey::read(&canaries.registered_key.der, None).unwrap()],
        tickets: credentials::Settings::default(),
        store: store::Settings {
            url: format!("sqlite://{}", directory.join("ticketd.db").display()),
            tenants_directory: None,
        },
        server: server::Settings {
            address: "127.0.0.1:0".parse().unwrap(),
            health_address: "127.0.0.1:0".parse().unwrap(),
            drain_delay: Duration::ZERO,
            ..server::Settings::default()
        },
        telemetry: telemetry::Settings::default(),
    }
}
