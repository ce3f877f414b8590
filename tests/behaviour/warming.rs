//! Tenants are found, whoever wrote them, and with `tickets.warm` their tickets are there before anybody asks.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use superoffice_sandbox::{Behaviour, Endpoint, Refusal};
use tempfile::TempDir;
use ticketd::credentials::Settings;
use tokio::task::JoinHandle;

use crate::browser::{administrator, to_any_tenant};
use crate::cluster::Cluster;
use crate::fleet::go_by;
use crate::lapse::lapse_by_requests;
use crate::world::{ReplicaParts, TENANT, World, WorldBuilder, eventually, within};

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
    Instant::now()
}

/// Ends with what it is for.
struct GoingBy(JoinHandle<()>);

impl GoingBy {
    fn of(world: &World) -> Self {
        Self(tokio::spawn(go_by(world.clock.clone())))
    }
}

impl Drop for GoingBy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for the tenant's first ticket, which nobody has asked for, and asks then. Answers how long it took.
async fn is_ready(world: &World, writer: &str, tenant: &str, written: Instant) -> Duration {
    eventually("its ticket is got", || world.sandbox.exchanges(tenant) == 1).await;
    let took = written.elapsed();
    world.ticket(tenant).await.unwrap();
    assert_eq!(world.sandbox.exchanges(tenant), 1, "{writer}");
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_a_tenant_its_ticket_is_there_before_its_first_caller() {
    let mount = TempDir::new().unwrap();
    let path = mount.path().to_owned();
    let world = World::builder()
        .config(move |config| {
            config.tickets.warm = true;
            config.store.tenants_directory = Some(path.clone());
        })
        .start()
        .await;
    let _going_by = GoingBy::of(&world);
    let sandbox = &world.sandbox;

    let written = now();
    world.add_tenant("Grpc1").await;
    let by_grpc = is_ready(&world, "a gRPC call", "Grpc1", written).await;

    sandbox.add_tenant("SignIn1");
    let written = now();
    world.sign_in(to_any_tenant(), &administrator("SignIn1")).await.unwrap();
    let by_sign_in = is_ready(&world, "a sign-in", "SignIn1", written).await;

    let token = sandbox.add_tenant("Sql1").system_user_token;
    let url = world.config().store.url;
    let mut connection =
        SqliteConnectOptions::new().filename(url.strip_prefix("sqlite://").unwrap()).connect().await.unwrap();
    let written = now();
    sqlx::query("INSERT INTO tenant_intake (context_identifier, system_user_token) VALUES ('Sql1', ?1)")
        .bind(token)
        .execute(&mut connection)
        .await
        .unwrap();
    let by_sql = is_ready(&world, "SQL on SQLite", "Sql1", written).await;

    let token = sandbox.add_tenant("File1").system_user_token;
    let written = now();
    fs::write(mount.path().join("File1"), token).unwrap();
    let by_file = is_ready(&world, "a file in the directory", "File1", written).await;
    println!(
        "the ticket nobody asked for was exchanged so long after its tenant was written: by gRPC {by_grpc:.2?}, a sign-in \
         {by_sign_in:.2?}, SQL on SQLite {by_sql:.2?}, a file {by_file:.2?}"
    );
    // A look at the directory is due once a second. The machine is busy with other tests.
    assert!(by_grpc.max(by_sign_in).max(by_sql) < Duration::from_secs(2) && by_file < Duration::from_secs(4));

    let other = sandbox.add_tenant_with_token("Grpc1", "Another-0000000001").system_user_token;
    world.put_tenant("Grpc1", &other, false).await;
    eventually("a replaced token is exchanged", || sandbox.exchanges("Grpc1") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_an_operators_sql_hands_in_is_ready_on_every_replica_for_one_exchange() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, database) = on(cluster).await;
    let world = builder.config(|config| config.tickets.warm = true).start().await;
    let replica = world.replica().await;
    let _going_by = GoingBy::of(&world);
    let role = format!("registrar_of_{database}");
    let grant = format!("CREATE ROLE {role} LOGIN; GRANT EXECUTE ON FUNCTION ticketd_register_tenant TO {role}");
    cluster.execute(&database, &grant).await;
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(cluster.port);
    let mut connection = options.username(&role).database(&database).connect().await.unwrap();
    for number in 0..3 {
        let tenant = format!("Sql{number}");
        let token = world.sandbox.add_tenant(&tenant).system_user_token;
        let written = now();
        let request = sqlx::query("SELECT ticketd_register_tenant($1, $2)").bind(&tenant).bind(token);
        request.execute(&mut connection).await.unwrap();
        let took = is_ready(&world, "SQL on PostgreSQL", &tenant, written).await;
        println!("SQL on PostgreSQL: the ticket was exchanged {took:.2?} after its tenant was handed in");
        assert!(took < Duration::from_secs(2), "{took:?}");
        let (here, there) = (world.ticket(&tenant).await.unwrap(), replica.ticket(&tenant).await.unwrap());
        assert_eq!(here.fingerprint, there.fingerprint);
        assert_eq!(world.sandbox.exchanges(&tenant), 1);
    }
    connection.close().await.unwrap();
    let written = now();
    world.add_tenant("Other1").await;
    let took = is_ready(&world, "another replica", "Other1", written).await;
    println!("two replicas: the ticket was exchanged {took:.2?} after its tenant was put");
    assert_eq!(replica.ticket("Other1").await.unwrap().fingerprint, world.ticket("Other1").await.unwrap().fingerprint);
    assert_eq!(world.sandbox.exchanges("Other1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_tenants_are_warmed_at_the_start_a_few_at_once_while_calls_are_served() {
    let mounted = Mounted::start(500, |_| {}).await;
    mounted.world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(20)).at(Endpoint::Exchange));
    let start = now();
    let mounted = mounted.warmed_from_now_on().await;
    let (sandbox, ready) = (&mounted.world.sandbox, start.elapsed());
    let at_ready = sandbox.total_exchanges();
    let _going_by = GoingBy::of(&mounted.world);
    mounted.world.ticket(TENANT).await.unwrap();
    eventually("all are warm", || sandbox.total_exchanges() == 501).await;
    let (took, at_once) = (start.elapsed(), sandbox.peak_concurrency_at(Endpoint::Exchange));
    println!(
        "501 tenants warmed in {took:.1?} after a start that took {ready:.1?} ({at_ready} done by then); at most \
         {at_once} exchanges at once, one of them a caller's"
    );
    assert!(at_ready < 501, "readiness waits for nothing");
    assert!(at_once <= 5, "{at_once}");
    for tenant in ["Warm0", "Warm250", "Warm499"] {
        mounted.world.ticket(tenant).await.unwrap();
    }
    assert_eq!(sandbox.total_exchanges(), 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_stops_short_of_a_full_cache_and_displaces_nothing() {
    let mounted = Mounted::start(100, |settings| settings.capacity = 50).await.warmed_from_now_on().await;
    let world = &mounted.world;
    eventually("no more are warmed", || world.sandbox.total_exchanges() >= 46).await;
    world.pass(Duration::from_mins(10), Duration::from_secs(1)).await;
    let warmed = world.sandbox.total_exchanges();
    println!("a cache for 50 tickets, 101 tenants: {warmed} warmed");
    assert!((46..=50).contains(&warmed), "{warmed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_pauses_warming_and_an_outage_costs_a_few_requests() {
    for (what, behaviour, most) in
        [("429 with Retry-After: 30", Behaviour::Throttled("30".to_owned()), 60), ("503", Behaviour::Status(503), 160)]
    {
        let mounted = Mounted::start(100, |_| {}).await;
        let trouble = mounted.world.sandbox.set_behaviour(behaviour.at(Endpoint::Exchange));
        let mounted = mounted.warmed_from_now_on().await;
        let world = &mounted.world;
        lapse_by_requests(world, Duration::from_mins(10), Duration::from_millis(500)).await;
        let sent = world.sandbox.requests(Endpoint::Exchange);
        println!("100 tenants to warm while SuperOffice answers {what} for 10 min: {sent} requests");
        assert!((1..=most).contains(&sent), "{what}: {sent}");
        world.sandbox.clear_behaviour(trouble);
        let ended = world.clock_now();
        while world.sandbox.total_exchanges() < 101 && world.clock_now() < ended + Duration::from_mins(10) {
            lapse_by_requests(world, Duration::from_secs(10), Duration::from_millis(500)).await;
        }
        let (warmed, took) = (world.sandbox.total_exchanges(), world.clock_now().duration_since(ended));
        println!("{took:#} after its end {warmed} of 101 are warm");
        assert!(warmed >= 80, "{what}: {warmed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_asked_for_again() {
    let mounted = Mounted::start(50, |_| {}).await;
    let revoked = Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange);
    mounted.world.sandbox.set_behaviour(revoked);
    let mounted = mounted.warmed_from_now_on().await;
    let world = &mounted.world;
    eventually("each was asked for", || world.sandbox.requests(Endpoint::Exchange) >= 51).await;
    world.pass(Duration::from_mins(10), Duration::from_secs(1)).await;
    let sent = world.sandbox.requests(Endpoint::Exchange);
    println!("51 tenants whose authorization was withdrawn: {sent} requests in 10 min");
    assert_eq!(sent, 51);
}

#[tokio::test]
async fn a_warm_ticket_that_nobody_asks_for_lapses() {
    let world = World::builder().config(|config| config.tickets.warm = true).start().await;
    let warming = async {
        while world.sandbox.exchanges(TENANT) == 0 {
            world.pass(Duration::from_millis(100), Duration::from_millis(100)).await;
        }
    };
    within(warming).await;
    // The answer is on its way, and is not to be hours old when it comes.
    world.pass(Duration::from_secs(4), Duration::from_millis(5)).await;
    world.pass(Duration::from_hours(24), Duration::from_mins(5)).await;
    let (rows, uses) = (world.sandbox.exchanges(TENANT), world.sandbox.requests(Endpoint::WebApi));
    println!("a warm ticket nobody asked for, a day later: {rows} row, {uses} keep-alives");
    assert_eq!((rows, uses), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_exchange_once_a_tenant_and_a_restart_exchanges_nothing() {
    let Some(cluster) = Cluster::shared() else { return };
    let (builder, _) = on(cluster).await;
    let warm = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&warm);
    let world = builder.config(move |config| config.tickets.warm = switch.load(Ordering::Relaxed)).start().await;
    for number in 0..100 {
        world.add_tenant(&format!("Warm{number}")).await;
    }
    warm.store(true, Ordering::Relaxed);
    world.sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(20)).at(Endpoint::Exchange));
    let parts = [world.parts_of_a_replica(), world.parts_of_a_replica()];
    let [one, other] = parts.map(ReplicaParts::start);
    let (one, other) = tokio::join!(one, other);
    let warming = async {
        while world.sandbox.total_exchanges() < 101 {
            world.pass(Duration::from_millis(100), Duration::from_millis(10)).await;
        }
    };
    within(warming).await;
    world.pass(Duration::from_secs(5), Duration::from_millis(100)).await;
    let together = world.sandbox.total_exchanges();
    let third = world.replica().await;
    world.pass(Duration::from_secs(10), Duration::from_millis(100)).await;
    for replica in [&one, &other, &third] {
        replica.ticket("Warm50").await.unwrap();
    }
    let (all, at_once) = (world.sandbox.total_exchanges(), world.sandbox.peak_concurrency_at(Endpoint::Exchange));
    println!(
        "2 replicas warm 101 tenants: {together} exchanges, {at_once} at once; a third starts: {} more",
        all - together
    );
    assert_eq!((together, all), (101, 101));
}

/// A world on PostgreSQL whose servers hear of each other, and its database's name.
async fn on(cluster: &Cluster) -> (WorldBuilder, String) {
    let url = cluster.create_database().await;
    let name = url.rsplit_once('/').unwrap().1.to_owned();
    let builder = World::builder().config(move |config| {
        config.store.url.clone_from(&url);
        config.store.postgres.session_url = Some(url.clone());
    });
    (builder, name)
}

/// A world with many tenants in a directory, not warmed yet.
struct Mounted {
    world: World,
    warm: Arc<AtomicBool>,
    _mount: TempDir,
}

impl Mounted {
    async fn start(tenants: usize, change: impl Fn(&mut Settings) + Send + Sync + 'static) -> Self {
        let mount = TempDir::new().unwrap();
        let path: PathBuf = mount.path().to_owned();
        let names: Vec<_> =
            (0..tenants).map(|number| (format!("Warm{number}"), format!("Warm-{number:010}"))).collect();
        for (tenant, token) in &names {
            fs::write(path.join(tenant), token).unwrap();
        }
        let warm = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&warm);
        let world = World::builder()
            .config(move |config| {
                config.store.tenants_directory = Some(path.clone());
                config.tickets.warm = switch.load(Ordering::Relaxed);
                change(&mut config.tickets);
            })
            .start()
            .await;
        for (tenant, token) in &names {
            world.sandbox.add_tenant_with_token(tenant, token);
        }
        Self { world, warm, _mount: mount }
    }

    /// Restarts the server, which warms them.
    async fn warmed_from_now_on(self) -> Self {
        self.warm.store(true, Ordering::Relaxed);
        Self { world: self.world.restart().await, ..self }
    }
}
