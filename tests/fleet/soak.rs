//! Half of what it can bear, with everything going wrong that can: nothing of ticketd grows.

mod faults;
mod load;
mod samples;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use superoffice_sandbox::{Endpoint, Sandbox};
use ticketd::config::Config;
use ticketd::server::{Server, Signals};
use ticketd::telemetry;
use tokio::runtime::Handle;

use crate::fleet::{Fleet, ticket};
use crate::place::{Running, pass, until};
use crate::{MACHINE, full};
use load::Load;
use samples::{Allowed, Growth};

const TENANTS: usize = 60;
/// Where the server under test notes how many tasks it has.
const TASKS: &str = "TICKETD_SOAK_TASKS";

/// How long everything takes.
struct Pace {
    warm_up: Duration,
    soak: Duration,
    /// From one sample to the next.
    sample: Duration,
    /// How long each fault lasts, and the peace after it.
    fault: Duration,
    lifetime: Duration,
    /// At first. Failed renewals are tried again after 30 to 60 seconds.
    renew_before: (Duration, Duration),
}

impl Pace {
    fn new() -> Self {
        let seconds = Duration::from_secs;
        if full() {
            let (warm_up, soak, sample, fault) = (seconds(120), seconds(1_200), seconds(2), seconds(5));
            Self { warm_up, soak, sample, fault, lifetime: seconds(120), renew_before: (seconds(70), seconds(110)) }
        } else {
            let (warm_up, soak, sample) = (seconds(4), seconds(10), Duration::from_millis(200));
            let (fault, lifetime) = (Duration::from_millis(700), seconds(40));
            Self { warm_up, soak, sample, fault, lifetime, renew_before: (seconds(20), seconds(38)) }
        }
    }

    /// What may be there at the end of the soak that was not there at its beginning. The test profile's allocator needs
    /// minutes to find what it needs.
    fn allowed() -> Allowed {
        Allowed { rss_kib: if full() { 4 * 1024 } else { 12 * 1024 }, fds: 15, tasks: 40 }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_under_half_load_with_faults() {
    let _alone = MACHINE.write().await;
    let Some(fleet) = Fleet::new().await else { return };
    let pace = Pace::new();
    let server = start(&fleet, &pace).await;
    let tenants: Vec<_> = (0..TENANTS).map(|number| format!("Tenant{number}")).collect();
    fleet.register(&server, &tenants).await;
    let churning = fleet.place.sandbox.add_tenant(load::CHURNING).system_user_token;
    for tenant in &tenants {
        ticket(&mut server.tickets(), tenant).await.unwrap();
    }

    let most = load::capacity(server.address, &tenants).await;
    let load = Load::new(server.address, &tenants, &churning, most / 2.0);
    let is_over = AtomicBool::new(false);
    let measuring = async {
        pass(pace.warm_up).await;
        let samples = samples::take(&server, &fleet.place.path("tasks"), pace.soak, pace.sample).await;
        is_over.store(true, Ordering::Relaxed);
        samples
    };
    let (samples, faults, calls, ()) = tokio::join!(
        measuring,
        faults::inject(&fleet.place.sandbox, pace.fault, &is_over),
        load.run(&is_over),
        faults::reload(&fleet.place, pace.fault, &is_over),
    );
    let growth = Growth::of(&samples);
    println!(
        "{:.0?} after {:.0?} of warm-up at {:.0} of {most:.0} calls a second: {calls}; {faults} faults of SuperOffice's, which \
         was asked for {} exchanges and {} keep-alives",
        pace.soak,
        pace.warm_up,
        most / 2.0,
        fleet.place.sandbox.requests(Endpoint::Exchange),
        fleet.place.sandbox.requests(Endpoint::WebApi),
    );
    println!("{growth}");
    recovers(&server, &fleet.place.sandbox, &tenants).await;
    assert!(growth.is_within(&Pace::allowed()), "{growth}");
    assert!(calls.is_expected(), "{calls}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.stop_well().await;
}

/// Everybody gets a ticket when SuperOffice is well again.
async fn recovers(server: &Running, sandbox: &Sandbox, tenants: &[String]) {
    sandbox.clear_behaviours();
    let mut client = server.tickets();
    for tenant in tenants {
        until(async || ticket(&mut client, tenant).await.is_ok()).await;
    }
}

/// ticketd in a process of its own, with short-lived tickets.
async fn start(fleet: &Fleet, pace: &Pace) -> Running {
    let seconds = |duration: Duration| format!("\"{}s\"", duration.as_secs());
    let (latest, earliest) = pace.renew_before;
    for (key, value) in [
        ("lifetime", seconds(pace.lifetime)),
        ("renew_before_min", seconds(latest)),
        ("renew_before_max", seconds(earliest)),
        ("wait_before_expiry", seconds(Duration::from_secs(1))),
        ("audit.output", "\"file\"".to_owned()),
        ("audit.path", format!("\"{}\"", fleet.place.path(faults::AUDIT).display())),
        ("max_connection_age", "\"3s\"".to_owned()),
    ] {
        fleet.place.configure(key, &value);
    }
    fleet.place.sandbox.change_settings(|settings| settings.ticket_life = pace.lifetime);
    let program = std::env::current_exe().unwrap();
    let mut command = fleet.place.ticketd_at(&program, ["--exact", "soak::server", "--nocapture"]);
    command.env("TICKETD_STORE_SESSION_URL", &fleet.url).env(TASKS, fleet.place.path("tasks"));
    Running::start(command).await
}

/// Not a test, but the server under test: the program, which also notes how many tasks it has.
#[tokio::test(flavor = "multi_thread")]
async fn server() {
    let Some(note) = std::env::var_os(TASKS) else { return };
    let file = std::env::var_os("TICKETD_CONFIG").expect("its configuration");
    let settings = std::env::vars_os().filter(|(name, _)| name != TASKS);
    let config = Config::load(file.as_ref(), settings).unwrap().config;
    let telemetry = telemetry::init(&config.telemetry).unwrap();
    let noting = tokio::spawn(async move {
        loop {
            tokio::fs::write(&note, Handle::current().metrics().num_alive_tasks().to_string()).await.unwrap();
            pass(Duration::from_millis(100)).await;
        }
    });
    let server = Server::bind(config).await.unwrap();
    server.stop_on(Signals::install().unwrap());
    server.join().await.unwrap();
    noting.abort();
    telemetry.shutdown().await;
}
