//! What a tenant, a ticket and an exchange cost: the figures that docs/scaling.md reckons with. `PROOFS=full` measures
//! with more tenants, as docs/scaling.md gives them.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use ticketd::clock::{Clock, ManualClock};
use ticketd::crypto::Fingerprint;
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::identifiers::{ContextIdentifier, SystemUserToken, Ticket};
use ticketd::store::{Observations, SharedTicket, Store};

use crate::cluster::Cluster;
use crate::own_process::is_own_process;
use crate::processor::processor_time;
use crate::store_settings::store_settings;
use crate::world::{START, TENANT, World, eventually, timestamp, within};

/// How many at once, as by callers: PostgreSQL takes them one after the other.
const WRITERS: usize = 4;

fn tenants() -> usize {
    if std::env::var("PROOFS").is_ok_and(|value| value == "full") { 5_000 } else { 200 }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
    Instant::now()
}

#[expect(clippy::cast_precision_loss, reason = "a rounded figure is as good")]
fn a_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START.parse().unwrap()))
}

fn tenant(number: usize) -> ContextIdentifier {
    format!("Cust{:05}", 10_000 + number).parse().unwrap()
}

/// Puts the tenants with what their first exchange tells. Answers how many puts there were in a second.
async fn fill(store: &Store, clock: &ManualClock, numbers: std::ops::Range<usize>, at_once: usize) -> f64 {
    let count = numbers.len();
    let put = async |number: usize| {
        let token = SystemUserToken::new(format!("SuperOffice Application-{number:010}"));
        store.tenants.put(tenant(number), token, false, clock.now()).await.unwrap();
    };
    let start = now();
    stream::iter(numbers.clone()).for_each_concurrent(at_once, put).await;
    let puts = a_second(count, start);
    let observe = async |number: usize| {
        let tenant = store.tenants.find(tenant(number)).await.unwrap().unwrap();
        let told = Observations {
            serial: Some(format!("{:010}", 1_234_567_890 + number)),
            webapi_url: Some(format!("https://online3.superoffice.com/{}/api/", tenant.context_identifier)),
        };
        store.tenants.observe(&tenant, &told).await.unwrap();
    };
    stream::iter(numbers).for_each_concurrent(WRITERS, observe).await;
    puts
}

#[tokio::test]
async fn what_a_tenant_costs_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.db");
    let clock = clock();
    let store = Store::open(&store_settings(format!("sqlite://{}", file.display())), clock.clone()).await.unwrap();
    let (some, all) = (tenants() / 4, tenants());
    let one_by_one = fill(&store, &clock, 0..some, 1).await;
    let together = fill(&store, &clock, some..all, WRITERS).await;
    store.close().await;
    let bytes = fs::metadata(&file).unwrap().len() / all as u64;
    println!(
        "SQLite, {all} tenants: {bytes} bytes each; {one_by_one:.0} puts a second, {together:.0} by {WRITERS} at once"
    );
    assert!(bytes < 2_000, "{bytes}");
}

#[tokio::test]
async fn what_a_tenant_and_its_ticket_cost_postgresql() {
    // As it is installed: each commit reaches the disk.
    let Some(cluster) = Cluster::start(&["fsync = on", "shared_buffers = 128MB"]) else { return };
    let url = cluster.create_database().await;
    let clock = clock();
    let store = Store::open(&store_settings(url.clone()), clock.clone()).await.unwrap();
    let (some, all) = (tenants() / 4, tenants());
    let one_by_one = fill(&store, &clock, 0..some, 1).await;
    let together = fill(&store, &clock, some..all, WRITERS).await;
    let tickets = store.shared_tickets.clone().unwrap();
    let share = async |number: usize| {
        let fence = tickets.claim(tenant(number)).await.unwrap().unwrap().fence;
        let ticket = shared(tenant(number), clock.now());
        assert!(tickets.publish(&ticket, fence, clock.now()).await.unwrap());
    };
    let start = now();
    stream::iter(0..all).for_each_concurrent(WRITERS, share).await;
    let leases = a_second(all, start);

    let mut connection = connect(&cluster, &url).await;
    let mut sizes = Vec::new();
    for table in ["tenants", "tenant_observations", "tenant_changes", "shared_tickets"] {
        let size = format!("SELECT pg_total_relation_size('{table}')");
        let size: i64 = sqlx::query_scalar(AssertSqlSafe(size)).fetch_one(&mut connection).await.unwrap();
        sizes.push((table, size.unsigned_abs() / all as u64));
    }
    let taken = take_by_sql(&mut connection, &url, some).await;
    let bytes: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "PostgreSQL, {all} tenants: {bytes} bytes each with indices, {sizes:?}; {one_by_one:.0} puts a second, {together:.0} \
         by {WRITERS} at once, {taken:.0} handed in by SQL; {leases:.0} leases with their tickets a second"
    );
    assert!(bytes < 5_000, "{bytes}");
}

/// How many tenants a second are taken that one statement hands in. They are registered already, with other tokens.
async fn take_by_sql(connection: &mut sqlx::PgConnection, url: &str, count: usize) -> f64 {
    let hand_in = format!(
        "SELECT ticketd_register_tenant('Cust' || number, 'Another-' || number) \
         FROM generate_series(10000, {}) number",
        10_000 + count - 1
    );
    sqlx::query(AssertSqlSafe(hand_in)).execute(&mut *connection).await.unwrap();
    let mut listening = store_settings(url.to_owned());
    listening.postgres.session_url = Some(url.to_owned());
    let start = now();
    let store = Store::open(&listening, clock()).await.unwrap();
    let waiting = "SELECT count(*) FROM tenant_intake";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *connection).await.unwrap() > 0 {}
    let taken = a_second(count, start);
    store.close().await;
    taken
}

/// As long as a real one.
fn shared(tenant: ContextIdentifier, now: Timestamp) -> SharedTicket {
    let fingerprint: Fingerprint = "0123456789abcdef0123456789abcdef".parse().unwrap();
    SharedTicket {
        context_identifier: tenant,
        ticket: Ticket::new(format!("7T:{}", "QmFzZTY0".repeat(8))),
        fingerprint,
        issued_for: fingerprint,
        issue_time: now,
        expire_time: now + Duration::from_hours(6),
        webapi_url: Some(format!("https://online3.superoffice.com/{tenant}/api/")),
        netserver_url: Some(format!("https://online3.superoffice.com/{tenant}/Remote/Services88/")),
    }
}

async fn connect(cluster: &Cluster, url: &str) -> sqlx::PgConnection {
    let database = url.rsplit_once('/').unwrap().1;
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(cluster.port);
    options.username("postgres").database(database).connect().await.unwrap()
}

#[tokio::test]
async fn what_a_ticket_costs_postgresql_in_statements() {
    let Some(cluster) = Cluster::start(&["log_statement = 'all'"]) else { return };
    let url = cluster.create_database().await;
    let listening = url.clone();
    let world = World::builder()
        .config(move |config| {
            config.store.url.clone_from(&listening);
            config.store.postgres.session_url = Some(listening.clone());
        })
        .start()
        .await;
    let replica = world.replica().await;
    world.ticket("Unknown1").await.unwrap_err();
    replica.ticket("Unknown1").await.unwrap_err();

    let mut log = ServerLog { cluster: &cluster, read: 0 };
    log.settled().await;
    world.ticket(TENANT).await.unwrap();
    let cold = log.settled().await;
    for _ in 0..100 {
        world.ticket(TENANT).await.unwrap();
    }
    let hits = log.settled().await;
    let adopted = replica.ticket(TENANT).await.unwrap();
    let adoption = log.settled().await;
    // The other's ticket is older after this: it is left out of the renewal.
    let due = timestamp(world.ticket(TENANT).await.unwrap().refresh_time);
    world.clock.advance(due.duration_since(world.clock.now()).unsigned_abs());
    eventually("it is kept alive", || world.sandbox.requests(superoffice_sandbox::Endpoint::WebApi) > 0).await;
    let renewal = log.settled().await;
    world.clock.advance(Duration::from_secs(5));
    let look = log.settled().await;
    world.add_tenant("Cust77777").await;
    let put = log.settled().await;
    println!(
        "statements (transactions) of PostgreSQL's: a cold tenant's ticket {cold}, 100 hits {hits}, another replica's first \
         call {adoption}, a renewal with the looks of 2 replicas {renewal}, the looks of 2 replicas {look}, a put with the \
         looks it causes {put}"
    );
    assert_eq!(adopted.fingerprint, world.ticket(TENANT).await.unwrap().fingerprint);
    assert_eq!(hits.statements, 0);
    assert!(cold.transactions <= 16 && adoption.transactions <= 6, "{cold} {adoption}");
}

/// What PostgreSQL was asked.
struct ServerLog<'a> {
    cluster: &'a Cluster,
    read: usize,
}

struct Asked {
    statements: usize,
    transactions: usize,
    writing: usize,
}

impl ServerLog<'_> {
    /// Since the last time.
    fn since(&mut self) -> Asked {
        let log = fs::read_to_string(self.cluster.directory.join("log")).unwrap();
        let asked = &log[self.read..];
        self.read = log.len();
        let count = |what: &str| asked.matches(what).count();
        Asked {
            statements: count("LOG:  statement: ") + count("LOG:  execute "),
            transactions: count(": COMMIT"),
            writing: count(": BEGIN READ WRITE"),
        }
    }

    /// The same, once no more comes.
    async fn settled(&mut self) -> Asked {
        let mut all = Asked { statements: 0, transactions: 0, writing: 0 };
        let mut quiet = 0;
        while quiet < 20 {
            #[expect(clippy::disallowed_methods, reason = "another process writes its log")]
            tokio::time::sleep(Duration::from_millis(10)).await;
            let more = self.since();
            quiet = if more.statements == 0 { quiet + 1 } else { 0 };
            all.statements += more.statements;
            all.transactions += more.transactions;
            all.writing += more.writing;
        }
        all
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({}, {} write)", self.statements, self.transactions, self.writing)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exchanges_cost_in_processor_time() {
    if !is_own_process("scaling::what_exchanges_cost_in_processor_time") {
        return;
    }
    let count = 300;
    let world = World::start().await;
    for number in 0..count {
        world.add_tenant(&tenant(number).to_string()).await;
    }
    let (start, spent) = (now(), processor_time());
    let client = world.tickets();
    let calls = (0..count).map(|number| {
        let mut client = client.clone();
        let request = GetSystemTicketRequest { context_identifier: tenant(number).to_string(), min_validity: None };
        async move { client.get_system_ticket(request).await.unwrap() }
    });
    within(join_all(calls)).await;
    let exchanges = a_second(count, start);
    let each = processor_time().saturating_sub(spent) / u32::try_from(count).unwrap();
    println!(
        "{count} cold tenants at once: {exchanges:.0} exchanges a second, {each:.1?} of processor time each, sandbox included"
    );
    assert_eq!(world.sandbox.total_exchanges(), count as u64);
}
