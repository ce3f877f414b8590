//! What tickets in memory cost: their memory, finding one among many, and renewing many. `PROOFS=full` takes a million; use
//! `--release` with it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;

use super::SystemTickets;
use crate::clock::{Clock, ManualClock};
use crate::credentials::renewal::Schedule;
use crate::credentials::{Exchange, Settings, SystemTicket};
use crate::crypto::{Fingerprinter, KeptAuditName};
use crate::identifiers::{ApplicationId, ClientSecret, ContextIdentifier, Environment, Ticket};
use crate::random::{Random, SeededRandom};
use crate::store::{self, PostgresSettings, Sealing, Store};
use crate::superoffice::{self, SuperOffice, TenantState};

/// Set for the process that is measured.
const MEASURED: &str = "TICKETD_TESTS_MEASURED";
const START: &str = "2027-01-15T08:00:00Z";

fn proofs<T>(default: T, full: T) -> T {
    if std::env::var("PROOFS").is_ok_and(|value| value == "full") { full } else { default }
}

fn clock() -> ManualClock {
    ManualClock::new(START.parse().unwrap())
}

fn tenant(number: usize) -> ContextIdentifier {
    format!("Cust{}", 10_000 + number).parse().unwrap()
}

/// Tickets of a server that has none yet, and reaches neither SuperOffice nor a tenant.
async fn system_tickets(directory: &Path, clock: ManualClock, capacity: usize) -> SystemTickets {
    system_tickets_by(Arc::new(SeededRandom::new(1)), directory, clock, capacity).await
}

/// The same with this for its jitter.
pub(super) async fn system_tickets_by(
    random: Arc<dyn Random>,
    directory: &Path,
    clock: ManualClock,
    capacity: usize,
) -> SystemTickets {
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let sealing = Sealing {
        key_files: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key").into()],
        environment: Environment::Sod,
        application: ApplicationId::new("app"),
    };
    let store = store::Settings {
        url: format!("sqlite://{}", directory.join("t.db").display()),
        tenants_directory: None,
        postgres: PostgresSettings::default(),
        sealing,
    };
    let store = Store::open(&store, Arc::clone(&clock)).await.unwrap();
    let client_secret = ClientSecret::new("secret");
    let fingerprinter = Fingerprinter::new(&client_secret);
    let superoffice = superoffice::Settings {
        environment: Environment::Sod,
        client_id: ApplicationId::new("app"),
        client_secret: client_secret.into(),
        client_authentication: superoffice::ClientAuthentication::Post,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        state_timeout: Duration::from_secs(2),
        max_requests_in_flight: 64,
        exchange: superoffice::ExchangeTransport::Rest,
        redirect_uris: Vec::new(),
        development: None,
    };
    let superoffice = SuperOffice::new(superoffice, Arc::clone(&clock), Arc::clone(&random)).unwrap();
    let superoffice = Arc::new(superoffice.with_room_for(capacity as u64));
    let settings = Settings { capacity: capacity as u64, ..Settings::default() };
    let (keys, tenants) = (Vec::new().into(), Arc::clone(&store.tenants));
    let exchange = Exchange::new(
        settings.clone(),
        superoffice,
        tenants,
        keys,
        fingerprinter,
        Arc::clone(&clock),
        Arc::clone(&random),
    );
    SystemTickets::new(settings, exchange, None, clock, random)
}

/// Keeps a ticket as if it had been exchanged for just now.
fn keep(tickets: &SystemTickets, tenant: ContextIdentifier, number: usize) {
    let inner = &tickets.0;
    let now = inner.clock.moment();
    let (expire_time, refresh_time) = inner.settings.times_of(now.wall, &*inner.random);
    let ticket = SystemTicket {
        context_identifier: tenant,
        ticket: Ticket::new(format!("7T:{}", "QmFzZTY0".repeat(8))),
        fingerprint: format!("{number:032x}").parse().unwrap(),
        issued_for: format!("{number:032x}").parse().unwrap(),
        issue_time: now.wall,
        expire_time,
        refresh_time,
        webapi_url: Some(format!("https://online3.superoffice.com/{tenant}/api/").into()),
        netserver_url: Some(format!("https://online3.superoffice.com/{tenant}/Remote/Services88/").into()),
        audit_name: KeptAuditName::default(),
    };
    inner.schedule.plan(tenant, refresh_time);
    let end = now.elapsed + inner.settings.lifetime;
    inner.cache.insert(Arc::new(ticket), inner.standings.of(tenant), end, now.elapsed);
}

/// The bytes that an answer with this ticket has to have.
fn said(tickets: &SystemTickets, tenant: ContextIdentifier) -> usize {
    let entry = tickets.0.cache.get(tenant).unwrap();
    let SystemTicket { ticket, webapi_url, netserver_url, fingerprint, .. } = &*entry.ticket;
    let urls = [webapi_url.as_deref(), netserver_url.as_deref()].map(|url| url.map_or(0, str::len));
    let times = 3 * size_of::<u64>();
    tenant.as_str().len() + ticket.expose().len() + fingerprint.to_string().len() + urls[0] + urls[1] + times
}

/// Answers a call as those are answered that pass the layers, with bytes that stand for the encoded answer.
fn hit(tickets: &SystemTickets, tenant: ContextIdentifier, length: usize) -> Bytes {
    let ticket = tickets.at_hand(tenant, Duration::ZERO).unwrap();
    tickets.note_hit(&ticket);
    ticket.encoded(None, |_| Bytes::from_owner(vec![0_u8; length]))
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// What this thread has had of a processor. The account is exact only when it has just given it up.
fn processor_time() -> Duration {
    std::thread::yield_now();
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split_whitespace().next().unwrap().parse().unwrap())
}

fn spent_since(before: Duration) -> Duration {
    processor_time().saturating_sub(before)
}

/// The memory is the whole process's: this one is of a process of its own.
#[test]
fn what_a_ticket_costs_in_memory() {
    let name = concat!(module_path!(), "::what_tickets_cost_in_this_process");
    let name = name.split_once("::").map_or(name, |(_crate, name)| name);
    let mut measured = Command::new(std::env::current_exe().unwrap());
    let output = measured.args(["--exact", name, "--nocapture"]).env(MEASURED, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success() && told.contains("1 passed"), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Not a test, but what is tested.
#[tokio::test]
async fn what_tickets_cost_in_this_process() {
    if std::env::var_os(MEASURED).is_none() {
        return;
    }
    let count = proofs(100_000, 1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let tickets = system_tickets(directory.path(), clock(), count).await;
    let before = resident_bytes();
    (0..count).for_each(|number| tickets.note_tenant_state(tenant(number), TenantState::Running));
    let noted = resident_bytes();
    (0..count).for_each(|number| keep(&tickets, tenant(number), number));
    let kept = resident_bytes();
    let (each, state) = (kept.saturating_sub(before) / count, noted.saturating_sub(before) / count);
    let said = said(&tickets, tenant(0));
    (0..count).for_each(|number| drop(hit(&tickets, tenant(number), said)));
    let encoded = resident_bytes().saturating_sub(kept) / count;
    println!(
        "{count} tickets: {each} bytes of memory each, {state} of which for the tenant's state; an answer says {said} of \
         them, which leaves {}. Once it was asked for, its encoded answer takes {} beside its own bytes",
        each - said,
        encoded.saturating_sub(said)
    );
    assert_eq!(tickets.statistics().cached, count as u64);
    // The fewer there are, the more each has of what is there once.
    assert!(each - said <= proofs(1_088, 1_024), "{each} - {said}");
}

#[tokio::test]
async fn a_hit_among_many_costs_what_one_among_few_does() {
    let (few, many, hits) = (100, proofs(100_000, 1_000_000), proofs(20_000, 500_000));
    let directory = tempfile::tempdir().unwrap();
    let clock = clock();
    let small = system_tickets(directory.path(), clock.clone(), few).await;
    let large_directory = tempfile::tempdir().unwrap();
    let large = system_tickets(large_directory.path(), clock, many).await;
    for (tickets, count) in [(&small, few), (&large, many)] {
        for number in 0..count {
            keep(tickets, tenant(number), number);
            tickets.note_tenant_state(tenant(number), TenantState::Running);
            hit(tickets, tenant(number), 300);
        }
    }
    let mut random = fastrand::Rng::with_seed(7);
    let mut drawn = |among: usize| (0..hits).map(|_| tenant(random.usize(..among))).collect::<Vec<_>>();
    let (of_few, of_many, again) = (drawn(few), drawn(many), drawn(few));
    let cost = |tickets: &SystemTickets, tenants: &[ContextIdentifier]| {
        let before = processor_time();
        for tenant in tenants {
            assert_eq!(hit(tickets, *tenant, 300).len(), 300);
        }
        spent_since(before).as_secs_f64() * 1e9 / f64::from(u32::try_from(tenants.len()).unwrap())
    };
    let mut rounds: Vec<[f64; 3]> =
        (0..7).map(|_| [cost(&small, &of_few), cost(&large, &of_many), cost(&large, &again)]).collect();
    let mut median = |which: usize| {
        rounds.sort_by(|one, other| one[which].total_cmp(&other[which]));
        rounds[rounds.len() / 2][which]
    };
    let [small, large, again] = [median(0), median(1), median(2)];
    println!(
        "a hit: {small:.0} ns among {few} tickets, {large:.0} ns among {many} ({:.2}), {again:.0} ns among them when the \
         same {few} are asked for ({:.2})",
        large / small,
        again / small
    );
    // The way is the same: what is left is what the processor's caches do not hold.
    assert!(again < small * 1.3, "{again} {small}");
}

#[tokio::test]
async fn renewals_of_many_tickets_are_spread_and_their_plan_costs_next_to_nothing() {
    let count = 100_000_u32;
    let (clock, random, settings) = (clock(), SeededRandom::new(1), Settings::default());
    let window = settings.renew_before_max.abs_diff(settings.renew_before_min);
    let schedule = Schedule::default();
    let first = clock.now().saturating_add(settings.lifetime.abs_diff(settings.renew_before_max)).unwrap();
    let mut parts = [0_u32; 100];
    for number in 0..count {
        let (_, refresh_time) = settings.times_of(clock.now(), &random);
        let part = refresh_time.duration_since(first).as_secs_f64() / window.as_secs_f64() * 100.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a hundred")]
        let part = (part as usize).min(99);
        parts[part] += 1;
        schedule.plan(tenant(number as usize), refresh_time);
    }
    clock.advance(Duration::try_from(first.duration_since(clock.now())).unwrap());

    let before = processor_time();
    let mut taken = 0;
    let mut seconds = 0_u32;
    while taken < count {
        while let Some(tenant) = schedule.next_due(&clock).now_or_never() {
            // As after a keep-alive.
            schedule.plan(tenant, Timestamp::MAX);
            taken += 1;
        }
        clock.advance(Duration::from_millis(100));
        seconds += 1;
    }
    let spent = spent_since(before);
    let fullest = f64::from(*parts.iter().max().unwrap()) / f64::from(count);
    let share = spent.as_secs_f64() / window.as_secs_f64();
    println!(
        "{count} renewals in {window:?}: the fullest 1 % of it has {:.2} % of them; planning them took {spent:?} of a \
         processor in {seconds} tenths of a second, {:.3} % of a core",
        fullest * 100.0,
        share * 100.0
    );
    assert!(fullest <= 0.03, "{fullest}");
    assert!(share < 0.01, "{share}");
}
