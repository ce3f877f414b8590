//! PostgreSQL goes away, is slow, comes back and moves: what is cached is served, the rest is told at once, nothing that
//! was given is lost.

use std::time::{Duration, Instant};

use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cluster::{Cluster, free_port};
use crate::proxy::Proxy;
use crate::world::{TENANT, World, WorldBuilder, reason, within};

/// A tenant that is registered and has no ticket.
const COLD: &str = "Cust77777";

fn world_on(url: String) -> WorldBuilder {
    World::builder().config(move |config| config.store.url.clone_from(&url))
}

/// A world on a database behind a proxy, with a ticket for [`TENANT`] and none for [`COLD`].
async fn behind_a_proxy(cluster: &Cluster) -> (World, Proxy) {
    let proxy = Proxy::start(cluster.port).await;
    let url = cluster.create_database().await.replace(&cluster.port.to_string(), &proxy.address.port().to_string());
    let world = world_on(url).start().await;
    world.ticket(TENANT).await.unwrap();
    world.add_tenant(COLD).await;
    (world, proxy)
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
    Instant::now()
}

/// How long a thing took, and what came of it.
async fn timed<T>(what: impl Future<Output = T>) -> (Duration, T) {
    let start = now();
    let outcome = within(what).await;
    (start.elapsed(), outcome)
}

/// How long it takes until `attempt` succeeds.
async fn until<T>(mut attempt: impl AsyncFnMut() -> Result<T, Status>) -> Duration {
    let tries = async { while attempt().await.is_err() {} };
    timed(tries).await.0
}

/// The slowest but 1 in 100 of so many hits, all of which succeed.
async fn hits(world: &World, count: usize) -> Duration {
    let mut tickets = world.tickets();
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let request =
            ticketd::grpc::proto::GetSystemTicketRequest { context_identifier: TENANT.to_owned(), min_validity: None };
        let (time, answer) = timed(tickets.get_system_ticket(request)).await;
        answer.unwrap();
        times.push(time);
    }
    times.sort_unstable();
    times[count * 99 / 100]
}

fn assert_store_unavailable(status: &Status) {
    assert_eq!(reason(status), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()), "{status:?}");
}

#[tokio::test]
async fn a_server_waits_for_its_database_and_is_ready_soon_after() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.create_database().await;
    cluster.stop();
    let health_port = free_port();
    let builder = world_on(url.clone()).config(move |config| {
        config.store.url.clone_from(&url);
        config.server.health_address.set_port(health_port);
    });
    let clock = builder.clock();
    let starting = tokio::spawn(builder.start());

    let readiness = async || {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{health_port}")).unwrap();
        let mut health = HealthClient::new(endpoint.connect().await.ok()?);
        let status = |service: &str| HealthCheckRequest { service: service.to_owned() };
        let alive = health.check(status("liveness")).await.ok()?.into_inner().status();
        assert_eq!(alive, ServingStatus::Serving);
        Some(health.check(status("readiness")).await.ok()?.into_inner().status())
    };
    let mut answers = 0;
    while answers < 50 {
        clock.advance(Duration::from_millis(200));
        answers += u32::from(within(readiness()).await == Some(ServingStatus::NotServing));
    }
    assert!(!starting.is_finished(), "it waits");

    cluster.start_again();
    let start = now();
    let mut passed = Duration::ZERO;
    let ready = async {
        while readiness().await != Some(ServingStatus::Serving) {
            // The server's clock keeps up with the machine's.
            clock.advance(start.elapsed().saturating_sub(passed));
            passed = start.elapsed();
        }
    };
    let (time, ()) = timed(ready).await;
    let world = within(starting).await.unwrap();
    world.ticket(TENANT).await.unwrap();
    println!("down at the start: {answers} times alive and not ready, then ready {time:?} after the database's return");
    assert!(time < Duration::from_secs(5), "{time:?}");
}

#[tokio::test]
async fn while_the_database_is_down_what_is_cached_is_served_and_nothing_is_lost() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let world = world_on(cluster.create_database().await).start().await;
    world.ticket(TENANT).await.unwrap();
    world.add_tenant(COLD).await;
    cluster.stop();

    hits(&world, 500).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let (time, refusal) = timed(world.ticket(COLD)).await;
        assert_store_unavailable(&refusal.unwrap_err());
        let token = world.sandbox.add_tenant("Cust88888").system_user_token;
        let (put_time, refusal) = timed(world.try_put_tenant("Cust88888", &token)).await;
        assert_store_unavailable(&refusal.unwrap_err());
        slowest = slowest.max(time).max(put_time);
        world.clock.advance(Duration::from_secs(2));
    }
    cluster.start_again();
    let recovery = until(async || {
        world.clock.advance(Duration::from_secs(1));
        world.ticket(COLD).await
    })
    .await;
    for tenant in [TENANT, COLD] {
        world.ticket(tenant).await.unwrap();
    }
    println!("down: 500 of 500 hits served, a miss refused within {slowest:?}; back {recovery:?} after the database");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(recovery < Duration::from_secs(10), "{recovery:?}");
}

#[tokio::test]
async fn a_hit_never_reaches_the_database_and_does_not_feel_that_it_is_slow() {
    let Some(cluster) = Cluster::shared() else { return };
    let (world, proxy) = behind_a_proxy(cluster).await;
    // The pool tests a connection that comes back: let that pass.
    let mut before = proxy.bytes();
    while hits(&world, 200).await > Duration::ZERO && proxy.bytes() != before {
        before = proxy.bytes();
    }
    let quick = hits(&world, 1000).await;
    assert_eq!(proxy.bytes(), before, "a hit asks the database");

    proxy.delay(Duration::from_secs(5));
    let (miss, refusal) = timed(world.ticket(COLD)).await;
    assert_store_unavailable(&refusal.unwrap_err());
    let slow = hits(&world, 1000).await;
    println!(
        "database slow by 5 s: 99 of 100 hits within {slow:?} (before: {quick:?}), a miss refused within {miss:?}"
    );
    assert!(miss < Duration::from_secs(3), "{miss:?}");
    assert!(slow < quick * 3 + Duration::from_millis(10), "{slow:?}, before {quick:?}");

    proxy.delay(Duration::ZERO);
    let recovery = until(async || {
        world.clock.advance(Duration::from_secs(1));
        world.ticket(COLD).await
    })
    .await;
    println!("back {recovery:?} after the database is quick again");
    assert!(recovery < Duration::from_secs(10), "{recovery:?}");
}

#[tokio::test]
async fn a_restart_of_the_database_is_over_within_ten_seconds() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let world = world_on(cluster.create_database().await).start().await;
    for round in 0..3 {
        cluster.stop();
        cluster.start_again();
        let tenant = format!("Cust9000{round}");
        let token = world.sandbox.add_tenant(&tenant).system_user_token;
        let recovery = until(async || world.try_put_tenant(&tenant, &token).await).await;
        println!("restart {round}: a tenant is registered {recovery:?} after it");
        assert!(recovery < Duration::from_secs(10), "{recovery:?}");
    }
}

#[tokio::test]
async fn a_failover_is_over_within_ten_seconds_and_a_standby_is_read_from() {
    let Some(primary) = Cluster::start(&[]) else { return };
    let (world, proxy) = behind_a_proxy(&primary).await;
    let Some(standby) = primary.standby() else { return };
    standby.has_caught_up_with(&primary).await;
    primary.stop();
    proxy.lead_to(standby.port);

    let read = until(async || {
        world.clock.advance(Duration::from_secs(1));
        world.find_tenant(COLD).await
    })
    .await;
    let token = world.sandbox.add_tenant("Cust88888").system_user_token;
    assert_store_unavailable(&world.try_put_tenant("Cust88888", &token).await.unwrap_err());
    standby.promote();
    let recovery = until(async || world.try_put_tenant("Cust88888", &token).await).await;
    for tenant in [TENANT, COLD, "Cust88888"] {
        world.clock.advance(Duration::from_secs(31));
        world.ticket(tenant).await.unwrap();
    }
    println!("failover: read-only within {read:?}, writable {recovery:?} after the promotion, every tenant there");
    assert!(read < Duration::from_secs(10) && recovery < Duration::from_secs(10), "{read:?} {recovery:?}");
}

#[tokio::test]
async fn tenants_that_sql_hands_in_are_taken_however_far_away_the_database_is() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (world, proxy) = behind_a_proxy(&cluster).await;
    let url = world.config().store.url;
    let database = url.rsplit('/').next().unwrap();
    // Twenty in one transaction would take longer than any may.
    proxy.delay(Duration::from_millis(10));
    let handing_in =
        "SELECT ticketd_register_tenant('Cust' || number, 'App-' || number) FROM generate_series(1, 20) number";
    cluster.execute(database, handing_in).await;
    let (time, ()) = timed(async {
        while world.find_tenant("Cust1").await.is_err() {
            world.clock.advance(Duration::from_secs(5));
        }
    })
    .await;
    println!("20 tenants handed in at once, with a database 20 ms away: the first were registered after {time:?}");
}
