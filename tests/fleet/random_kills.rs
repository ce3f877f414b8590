//! Replicas are killed at random under load.

mod load;

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use ticketd::clock::SystemClock;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use ticketd::random::{Random, SeededRandom};
use ticketd::store::{self, Store};
use tonic::Code;
use tonic::transport::Channel;

use crate::fleet::{Fleet, now, ticket};
use crate::place::{Running, pass, until};
use crate::{MACHINE, full};
use load::Load;

const REPLICAS: usize = 3;
const WRITERS: usize = 2;
const READERS: usize = 4;

const ALL: &str = "SELECT tenant, fence FROM leases";
const HELD: &str = "SELECT tenant, fence FROM leases WHERE expire_time > clock_timestamp()";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_at_random_lose_no_tenant_and_leave_no_lease() {
    let alone = MACHINE.write().await;
    let Some(fleet) = Fleet::new().await else { return };
    let kills = if full() { 200 } else { 20 };
    for (key, value) in
        [("lifetime", "10s"), ("renew_before_min", "4s"), ("renew_before_max", "8s"), ("wait_before_expiry", "1s")]
    {
        fleet.place.configure(key, &format!("{value:?}"));
    }
    fleet.place.configure("renewal", "\"exchange\"");
    fleet.place.sandbox.change_settings(|settings| settings.ticket_life = Duration::from_secs(10));
    let mut replicas = fleet.serve(REPLICAS).await;
    let load = Load::new(&fleet.place.sandbox, &replicas);
    let killing = async {
        let random = SeededRandom::new(5);
        for _ in 0..kills {
            pass(random.between(Duration::ZERO, Duration::from_millis(200))).await;
            let replica = load.any(REPLICAS);
            replicas.swap_remove(replica).kill().await;
            replicas.push(fleet.start().await);
            replicas.swap(replica, REPLICAS - 1);
            load.replace(replica, &replicas[replica]);
        }
        load.end();
    };
    let writing = join_all((0..WRITERS).map(|_| load.write()));
    tokio::join!(killing, writing, join_all((0..READERS).map(|_| load.read())));

    // From here on it waits for the leases of those that were killed.
    let _waiting = alone.downgrade();
    let acknowledged = load.acknowledged();
    println!("{kills} kills of {REPLICAS} replicas under load: {load}");
    let tenants: Vec<_> = acknowledged.iter().map(|(tenant, _)| tenant.as_str()).collect();
    let left = sqlx::query_as(ALL).fetch_all(&fleet.pool).await.unwrap();
    all_are_there(&fleet, &acknowledged).await;
    all_get_tickets(&replicas, &tenants).await;
    no_lease_stays(&fleet, &replicas, left).await;
    assert!(load.failures().keys().all(|code| may_be_a_kill(Code::from(*code))), "{load}");
}

/// How a call may fail whose replica is killed, or that is for a tenant whose lease a killed one had.
fn may_be_a_kill(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled)
}

/// Every tenant that a replica acknowledged is registered with its token.
async fn all_are_there(fleet: &Fleet, acknowledged: &[(String, String)]) {
    let settings = store::Settings {
        url: fleet.url.clone(),
        tenants_directory: None,
        postgres: store::PostgresSettings::default(),
        sealing: fleet.place.sealing(),
    };
    let store = Store::open(&settings, std::sync::Arc::new(SystemClock)).await.unwrap();
    for (tenant, token) in acknowledged {
        let found = store.tenants.find(tenant.parse().unwrap()).await.unwrap();
        assert_eq!(found.unwrap_or_else(|| panic!("{tenant} is lost")).system_user_token.expose(), token);
    }
    store.close().await;
}

/// Every replica that is left hands out every tenant's ticket.
async fn all_get_tickets(replicas: &[Running], tenants: &[&str]) {
    let start = now();
    let clients: Vec<TicketServiceClient<Channel>> = replicas.iter().map(Running::tickets).collect();
    let calls = stream::iter(tenants).flat_map(|tenant| stream::iter(&clients).map(move |client| (*tenant, client)));
    let calls = calls.map(|(tenant, client)| {
        let mut client = client.clone();
        async move { ticket(&mut client, tenant).await.unwrap_or_else(|status| panic!("{tenant}: {status:?}")) }
    });
    let tickets = calls.buffer_unordered(12).count().await;
    println!(
        "{tickets} tickets of {} tenants from {} survivors in {:.1?}",
        tenants.len(),
        clients.len(),
        start.elapsed()
    );
}

/// No lease outlives its time: one that nobody ends lapses, and is removed when the next ticket is put.
async fn no_lease_stays(fleet: &Fleet, replicas: &[Running], left: Vec<(String, i64)>) {
    let left_of = async |leases| -> Vec<_> {
        let leases: Vec<(String, i64)> = sqlx::query_as(leases).fetch_all(&fleet.pool).await.unwrap();
        leases.into_iter().filter(|lease| left.contains(lease)).collect()
    };
    until(async || left_of(HELD).await.is_empty()).await;
    let lapsed = left_of(ALL).await.len();
    fleet.register(&replicas[0], &["Last".to_owned()]).await;
    ticket(&mut replicas[0].tickets(), "Last").await.unwrap();
    println!("{} leases when the last replica was killed, {lapsed} lapsed and not yet removed", left.len());
    assert_eq!(left_of(ALL).await, []);
}
