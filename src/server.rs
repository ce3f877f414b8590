//! The composition root: builds the parts, connects them, serves, and stops in order.

mod addresses;
mod bells;
mod connection;
mod door;
mod drain;
mod entrances;
mod error;
mod frame_budget;
mod frame_watch;
mod frames;
mod health;
mod held;
mod http1;
mod lifetime;
mod listener;
mod measured;
mod observers;
mod opening;
mod pages;
mod per_ip;
mod preface;
mod reload;
mod request_body;
mod running;
mod settings;
mod signals;
mod stop;
mod streams;
mod tasks;
mod tls;
mod unix;
mod unread;
mod use_cases;
#[cfg(test)]
mod wire_tests;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tower::util::BoxCloneSyncService;

use self::connection::Connections;
use self::door::Plaintext;
use self::entrances::Entrances;
use self::health::Health;
use self::lifetime::Lifetime;
use self::listener::Caps;
use self::observers::Observers;
use self::pages::Pages;
use self::reload::ApplicationInUse;
use self::running::Parts;
use self::tasks::Tasks;
use self::use_cases::UseCases;
use crate::admin;
use crate::audit::Audit;
use crate::authorization::{self, Pace, PolicyInForce};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::grpc::layers::{self, Callers, Conditions, Places};
use crate::grpc::{self, Calls, Permits};
use crate::http::Onboarding;
use crate::identity::{self, ServiceAccounts};
use crate::log_pace::LogPace;
use crate::random::{Random, SystemRandom};
use crate::superoffice::SuperOffice;

pub use self::addresses::Addresses;
pub use self::error::{BindError, ServeError};
pub use self::settings::{ClientCertificate, Settings, TlsSettings};
pub use self::signals::Signals;
pub use self::stop::Stop;
pub use self::tls::TlsError;
pub use self::unix::UnixSocketError;

/// A probe asks and is done: so old, a connection to the health or the admin port only takes the place of another.
const PROBE_AGE: Duration = Duration::from_secs(15);

/// A running server. Dropped, it stops at once.
#[derive(Debug)]
pub struct Server {
    addresses: Addresses,
    stop: Stop,
    running: JoinHandle<Result<(), ServeError>>,
    _abort_on_drop: DropGuard,
}

/// What a server takes from its process, so that a test can hand it something else.
#[derive(Clone, Debug)]
pub struct Process {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub random: Arc<dyn Random>,
}

impl Server {
    /// Starts a server with the machine's clock.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        Self::bind_with(config, Process { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }).await
    }

    /// Starts a server. Health answers as soon as its address is bound, and says ready when calls can be answered.
    pub async fn bind_with(config: Config, process: Process) -> Result<Self, BindError> {
        let Config {
            mut superoffice,
            signing_keys,
            tickets,
            store,
            server: settings,
            identity,
            authorization,
            http,
            admin,
            audit,
            telemetry,
            source,
        } = config;
        let Process { clock, random } = process.clone();
        let entrances = Entrances::bind(&settings, &clock).await?;
        let observers = Observers::bind(&settings, admin).await?;
        let pages = Pages::bind(http).await?;
        let addresses = Addresses::of(&entrances, &observers, pages.as_ref());
        superoffice.redirect_uris.extend(pages.as_ref().map(|pages| pages.settings.public_url.redirect_uri()));

        let (stop, mut tasks) = (Stop::default(), Tasks::default());
        let abort_on_drop = stop.abort_on_drop();
        let log_pace = Arc::new(LogPace::new(Arc::clone(&clock)));
        let conditions = |callers, audit| Conditions {
            places: Places::new(settings.max_calls),
            request_timeout: settings.request_timeout,
            audit,
            callers,
            log_pace: Arc::clone(&log_pace),
            clock: Arc::clone(&clock),
        };
        let connections = |calls: Calls, hits, lifetime| Connections {
            door: Plaintext,
            calls,
            hits,
            max_calls: settings.max_calls_per_connection,
            lifetime,
            pace: Arc::clone(&log_pace),
        };

        let health = Health::new().await;
        let probe_age = settings.max_connection_age.min(PROBE_AGE);
        let lifetime = Lifetime::new(probe_age, stop.phases(), &process);
        let probes = answers(Routes::new(health.for_kubelets()));
        let probes = layers::around(probes, &conditions(None, Audit::off()));
        let probes = connections(probes, None, lifetime);
        let caps = Caps::new(&settings);
        let overviews = Arc::new(OnceLock::new());
        let replica = observers::replica(superoffice.environment, &store);
        let admin = observers::told(replica, &health, entrances.certificates(), Arc::clone(&overviews));
        observers.serve(&caps, probes, admin::router(admin, Arc::clone(&clock)), &mut tasks);

        let store = opening::open_store(&store, &clock, &*random).await?;
        let (environment, client_secret) = (superoffice.environment, superoffice.client_secret.get());
        let audit = Audit::open(&audit, environment, &client_secret, Arc::clone(&clock)).await?;
        let application = ApplicationInUse::new(&superoffice, signing_keys);
        let superoffice = SuperOffice::new(superoffice, Arc::clone(&clock), Arc::clone(&random))?;
        let superoffice = Arc::new(superoffice.with_room_for(tickets.capacity));
        let use_cases = UseCases::new(&tickets, &superoffice, &store, &application, &audit, &process)?;
        use_cases.spawn(&mut tasks, &store);
        measured::spawn(&mut tasks, &store, &superoffice, &clock);
        overviews.get_or_init(|| use_cases.overviews(&store, &superoffice));

        let authorization::Settings { policy_file, policy } = authorization;
        let policy = PolicyInForce::new(policy);
        let followed = [
            source.map(|source| application.follow(source)),
            entrances.follow(&settings, &clock),
            policy_file.map(|file| reload::policy(policy.clone(), file)),
            reload::audit_key(&audit),
            telemetry.log_filter_file.map(reload::log_filter),
        ];
        let following = reload::follow(followed.into_iter().flatten().collect(), Arc::clone(&clock));
        tasks.spawn("watch over changed files", following);
        let pace = Pace::new(Arc::clone(&clock));
        let permits = Permits::new(policy.clone());
        let routes = use_cases.routes(&store, &superoffice, &permits, &process).add_service(health.for_callers());
        let routes = if settings.reflection { with_reflection(routes)? } else { routes };
        let (phases, open) = (stop.phases(), TaskTracker::new());
        let lifetime = Lifetime::new(settings.max_connection_age, phases.clone(), &process);
        let known = callers(identity, &settings, &process, &mut tasks)?;
        let conditions = conditions(Some(known), audit.clone());
        let paced = layers::paced(answers(routes), policy.clone(), pace.clone());
        let calls = layers::around(paced, &conditions);
        let hits = use_cases.hits(&conditions, policy, pace, &superoffice);
        let callers = connections(calls, Some(hits), lifetime.clone());
        entrances.serve(&caps, &callers, &mut tasks, &open);
        if let Some(pages) = pages {
            let (public_url, issuer) = (pages.settings.public_url.clone(), superoffice.issuer().to_owned());
            let onboarding = Onboarding { sign_ins: use_cases.sign_ins, public_url, issuer };
            let serving =
                pages.serve(onboarding, use_cases.notices, audit.clone(), lifetime, caps.proxies, open.clone());
            tasks.spawn("pages", serving);
        }

        health.ready().await;
        addresses.log();
        let (steps, kept_grants) = (settings.steps(), use_cases.kept_grants);
        let parts = Parts { tasks, health, phases, open, kept_grants, store, audit, steps, clock };
        let running = tokio::spawn(running::run(parts, stop.clone()));
        Ok(Self { addresses, stop, running, _abort_on_drop: abort_on_drop })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Asks it to stop, from anywhere.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// From now on signals ask it to stop: the first drains, the second aborts.
    pub fn stop_on(&self, mut signals: Signals) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            loop {
                signals.asked_to_stop().await;
                stop.request();
            }
        });
    }

    /// Waits until it has stopped, which it does when asked or when a part of it has ended.
    pub async fn join(mut self) -> Result<(), ServeError> {
        (&mut self.running).await.unwrap_or(Err(ServeError::TaskEnded("supervisor")))
    }

    /// Drains and waits until it has stopped.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.stop.request();
        self.join().await
    }
}

/// Who may call, with what keeps that up to date.
fn callers(
    identity: Option<identity::Settings>,
    settings: &Settings,
    process: &Process,
    tasks: &mut Tasks,
) -> Result<Callers, identity::SetupError> {
    let (clock, random) = (|| Arc::clone(&process.clock), || Arc::clone(&process.random));
    let tokens = identity.map(|settings| ServiceAccounts::new(settings, clock(), random())).transpose()?;
    if let Some(tokens) = tokens.clone() {
        tasks.spawn("watch over the cluster's keys", tokens.run());
    }
    Ok(Callers { tokens, allow_unidentified: settings.allow_unidentified_callers })
}

fn answers(routes: Routes) -> Calls {
    BoxCloneSyncService::new(routes.prepare())
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError::Listen { setting, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn with_reflection(routes: Routes) -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        let none = tonic_reflection::server::Builder::configure();
        grpc::FILE_DESCRIPTOR_SETS.iter().fold(none, |builder, set| builder.register_encoded_file_descriptor_set(set))
    };
    Ok(routes
        .add_service(builder().build_v1()?.max_decoding_message_size(grpc::MAX_MESSAGE))
        .add_service(builder().build_v1alpha()?.max_decoding_message_size(grpc::MAX_MESSAGE)))
}
