use std::sync::Arc;

use futures_util::future::join_all;

use super::*;
use crate::clock::SystemClock;
use crate::store::contract::grants::grants_contract;
use crate::store::contract::notices::notices_contract;
use crate::store::contract::shared_tickets::shared_tickets_contract;
use crate::store::contract::sign_ins::{owner, pending, sign_ins_contract};
use crate::store::contract::{at, contract, named, pin, sealing, token};
use crate::store::engine::TenantRecords;
use crate::store::{PostgresSettings, Seen, Store, TakenSignIn, Tenants};
use cluster::Cluster;

#[path = "../../../tests/support/cluster.rs"]
mod cluster;
#[path = "../../../tests/support/pgbouncer.rs"]
mod pgbouncer_server;

mod changes;
mod copy;
mod intake;
mod layout;
mod next_layout;
mod pgbouncer;
mod shared_tickets;
mod tls;

async fn open_empty() -> Option<(Arc<dyn Tenants>, Store)> {
    let url = Cluster::shared()?.create_database().await;
    let store = open(&url).await;
    Some((Arc::clone(&store.tenants), store))
}

async fn open_store() -> Option<(Store, ())> {
    Some((open_empty().await?.1, ()))
}

contract!(open_empty);
grants_contract!(open_store);
notices_contract!(open_store);
sign_ins_contract!(open_store);
shared_tickets_contract!(open_store);

#[tokio::test]
async fn two_hundred_writers_lose_nothing() {
    let Some((tenants, _store)) = open_empty().await else { return };
    // Four at a time: more wait longer for a connection than an operation may.
    for batch in 0..50 {
        let writers = (batch * 4..batch * 4 + 4).map(|writer| {
            let tenants = Arc::clone(&tenants);
            tokio::spawn(async move {
                let name = named(&format!("Cust{writer}"));
                tenants.put(name, token(&format!("App-{writer}")), false, at(writer)).await.unwrap();
                pin(&*tenants, name.as_str(), &writer.to_string()).await;
            })
        });
        for outcome in join_all(writers).await {
            outcome.unwrap();
        }
    }
    let found = tenants.list(None, 1000).await.unwrap();
    assert_eq!(found.len(), 200);
    for tenant in found {
        let number = tenant.serial.unwrap();
        assert_eq!(tenant.context_identifier, named(&format!("Cust{number}")));
        assert_eq!(tenant.system_user_token, token(&format!("App-{number}")));
    }
}

#[tokio::test]
async fn of_many_equal_notices_one_is_the_first_and_changes_its_tenant() {
    let Some((store, ())) = open_store().await else { return };
    let mut changes = store.changes();
    let see = |second| store.notices.see([7; 32], at(600), Some(named("Cust1")), at(second));
    let seen: Vec<Seen> = join_all((0..4).map(|_| see(0))).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(seen.iter().filter(|seen| **seen == Seen::First).count(), 1, "{seen:?}");
    assert_eq!(changes.try_recv().unwrap(), named("Cust1"));
    assert!(changes.try_recv().is_err());
    assert_eq!(see(600).await.unwrap(), Seen::First, "it has expired");
}

#[tokio::test]
async fn a_sign_in_without_an_owner_is_nobodys() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let store = open(&url).await;
    let state = crate::crypto::SecretHash::of("s1");
    store.sign_ins.add(state, &pending(600), at(0)).await.unwrap();
    cluster.execute(name_of(&url), "UPDATE pending_sign_ins SET browser = NULL").await;
    assert_eq!(store.sign_ins.take(state, owner(), at(1)).await.unwrap(), TakenSignIn::OtherOwner);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let Some((tenants, store)) = open_empty().await else { return };
    store.close().await;
    assert!(matches!(tenants.find(named("Cust1")).await, Err(StoreError::Closed)));
    assert!(matches!(tenants.delete(named("Cust1")).await, Err(StoreError::Closed)));
    store.close().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_from_one_that_refuses() {
    let Some(cluster) = Cluster::shared() else { return };
    let gone = settings(&format!("postgres://t@127.0.0.1:{}/t", cluster::free_port()));
    let refusal = open_database(&gone).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Unavailable { .. }) && refusal.is_transient(), "{refusal:?}");
    assert!(refusal.to_string().contains("127.0.0.1"), "{refusal}");
    for url in [cluster.url("no_such_database"), format!("postgres://nobody@127.0.0.1:{}/postgres", cluster.port)] {
        let refusal = open_database(&settings(&url)).await.unwrap_err();
        assert!(matches!(refusal, StoreError::Refused { .. }) && !refusal.is_transient(), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_record_that_makes_no_sense_is_an_error_for_one_and_left_out_of_the_list() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let store = open(&url).await;
    let tenants = &store.tenants;
    for name in ["a", "b", "c", "d", "f", "g"] {
        tenants.put(named(name), token("App-1"), false, at(0)).await.unwrap();
    }
    for damage in [
        "UPDATE tenants SET system_user_token = '\\xff' WHERE tenant = 'a'",
        "UPDATE tenants SET system_user_token = 'canary.1' WHERE tenant = 'b'",
        "UPDATE tenants SET context_identifier = 'other' WHERE tenant = 'c'",
        "UPDATE tenants SET create_time = 'yesterday' WHERE tenant = 'd'",
        "UPDATE tenants SET tenant = 'no such/../name' WHERE tenant = 'f'",
    ] {
        cluster.execute(name_of(&url), damage).await;
    }
    for name in ["a", "b", "c", "d"] {
        let refusal = tenants.find(named(name)).await.unwrap_err();
        assert!(matches!(refusal, StoreError::BadRecord { .. }), "{refusal:?}");
        assert!(!format!("{refusal} {refusal:?}").contains("canary"), "{refusal:?}");
    }
    let listed = tenants.list(None, 1).await.unwrap();
    assert_eq!(listed.iter().map(|tenant| tenant.context_identifier.as_str()).collect::<Vec<_>>(), ["g"]);
    for name in ["a", "b", "c", "d"] {
        let repaired = tenants.put(named(name), token("App-2"), false, at(9)).await.unwrap();
        assert_eq!((repaired.create_time, repaired.update_time), (Some(at(9)), Some(at(9))));
        assert_eq!(tenants.find(named(name)).await.unwrap(), Some(repaired));
    }
}

#[tokio::test]
async fn no_output_has_a_secret() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let mut settings = settings(&url);
    settings.postgres.password = Some(crate::identifiers::DatabasePassword::new("canary-password"));
    let store = Store::open(&settings, Arc::new(SystemClock)).await.unwrap();
    let shown = format!("{store:?} {settings:?} {:?}", open_database(&settings).await.unwrap());
    assert!(!shown.contains("canary"), "{shown}");

    // PostgreSQL repeats the whole row in the details of such an error.
    let constraint = "ALTER TABLE tenants ADD CONSTRAINT short CHECK (length(system_user_token) < 9)";
    cluster.execute(name_of(&url), constraint).await;
    let refusal = store.tenants.put(named("Cust1"), token("canary-8k8Q7DmBgo"), false, at(0)).await.unwrap_err();
    let shown = format!("{refusal} {refusal:?}");
    assert!(shown.contains("short") && matches!(refusal, StoreError::Refused { .. }), "{shown}");
    let hexadecimal = "63616e617279";
    assert!(!shown.contains("canary") && !shown.contains(hexadecimal), "{shown}");
}

#[tokio::test]
async fn an_operation_that_is_given_up_frees_its_connection() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let mut settings = settings(&url);
    settings.postgres.max_connections = 1;
    let database = open_database(&settings).await.unwrap();
    let lock = open_database(&settings).await.unwrap().changing().await.unwrap();
    let token = token("App-1");
    for _ in 0..3 {
        let mut put = Box::pin(database.put(named("Cust1"), &token, false, at(0)));
        while futures_util::poll!(&mut put).is_pending() && database.pool.num_idle() == database.pool.size() as usize {
            tokio::task::yield_now().await;
        }
        drop(put);
    }
    let refusal = database.put(named("Cust1"), &token, false, at(0)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Unavailable { .. }), "{refusal:?}");
    drop(lock);
    let put = async { while database.put(named("Cust1"), &token, false, at(0)).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), put).await.expect("the lock and the connections are free again");
}

fn settings(url: &str) -> Settings {
    Settings { url: url.to_owned(), tenants_directory: None, postgres: PostgresSettings::default(), sealing: sealing() }
}

async fn open_database(settings: &Settings) -> Result<Database, StoreError> {
    Database::open(settings, Arc::new(Sealer::open(&settings.sealing).unwrap())).await
}

/// With a connection. An operation waits half a second for one, which the first to a new database may take on a machine
/// that is busy: no test but those of outages is about that.
async fn open(url: &str) -> Store {
    let store = Store::open(&settings(url), Arc::new(SystemClock)).await.unwrap();
    for _ in 0..20 {
        if store.tenants.list(None, 1).await.is_ok() {
            break;
        }
    }
    store
}

fn name_of(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}
