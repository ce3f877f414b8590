use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{Database, changes};
use super::{Cluster, open, open_database, settings};
use crate::clock::ManualClock;
use crate::store::contract::{at, named, token};
use crate::store::engine::{ChangeLog, TenantRecords};
use crate::store::{Settings, Store};

#[tokio::test]
async fn with_a_session_changes_reach_another_process_within_a_second() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let mut listening = settings(&url);
    listening.postgres.session_url = Some(url.clone());
    // Its clock stands still: it never looks by itself.
    let store = Store::open(&listening, Arc::new(ManualClock::new(at(0)))).await.unwrap();
    let mut heard = store.changes();
    let other = open(&url).await;
    other.tenants.put(named("first"), token("App-1"), false, at(0)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it is heard of").unwrap();

    let mut longest = Duration::ZERO;
    for number in 0..20 {
        let tenant = named(&format!("Cust{number}"));
        #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
        let start = Instant::now();
        other.tenants.put(tenant, token("App-1"), false, at(0)).await.unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it is heard of");
        assert_eq!(seen.unwrap(), tenant);
        longest = longest.max(start.elapsed());
    }
    println!("20 changes heard of by another process: the longest took {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test]
async fn by_looking_alone_changes_reach_another_process_within_ten_seconds() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let clock = ManualClock::new(at(0));
    let store = Store::open(&settings(&url), Arc::new(clock.clone())).await.unwrap();
    let mut heard = store.changes();
    let other = open(&url).await;
    other.tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(heard.try_recv().is_err());
    clock.advance(Duration::from_secs(5));
    let seen = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it is found");
    assert_eq!(seen.unwrap(), named("Cust1"));
}

#[tokio::test]
async fn a_change_that_is_committed_late_is_not_missed() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = open_database(&settings(&cluster.create_database().await)).await.unwrap();
    let mut early = database.changing().await.unwrap();
    changes::note(&mut early, "early").await.unwrap();
    // It begins later and would be done sooner, if it could have a number of its own.
    let late = tokio::spawn({
        let database = database.clone();
        async move { database.put(named("late"), &token("App-1"), false, at(0)).await }
    });
    while waiting(&database).await == 0 {}
    assert_eq!(database.changes_after(0, 10).await.unwrap(), []);
    early.commit().await.unwrap();
    late.await.unwrap().unwrap();
    let seen = database.changes_after(0, 10).await.unwrap();
    assert_eq!(seen, [(1, Some(named("early"))), (2, Some(named("late")))]);
}

/// How many transactions of the database wait for a lock.
async fn waiting(database: &Database) -> i64 {
    use sqlx::Row;
    let mut transaction = database.reading().await.unwrap();
    let statement =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let row = super::super::query(statement).fetch_one(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    row.get(0)
}

#[tokio::test]
async fn who_looks_while_many_write_misses_none() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let settings: Settings = settings(&url);
            tokio::spawn(async move {
                let database = open_database(&settings).await.unwrap();
                for number in 0..25 {
                    let tenant = named(&format!("Cust{writer}x{number}"));
                    while database.put(tenant, &token("App-1"), false, at(0)).await.is_err() {}
                }
            })
        })
        .collect();
    let database = open_database(&settings(&url)).await.unwrap();
    let (mut last, mut seen) = (0, BTreeSet::new());
    let looking = async {
        while seen.len() < 100 {
            for (revision, tenant) in database.changes_after(last, 3).await.unwrap() {
                last = revision;
                seen.insert(tenant.unwrap());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(50), looking).await.expect("every change is seen");
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn the_change_log_stays_within_its_bound() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let database = open_database(&settings(&url)).await.unwrap();
    database.put(named("old"), &token("App-1"), false, at(0)).await.unwrap();
    cluster.execute(super::name_of(&url), "UPDATE tenant_revision SET revision = 100001").await;
    for text in ["App-1", "App-2", "App-3"] {
        database.put(named("new"), &token(text), false, at(0)).await.unwrap();
    }
    assert_eq!(database.changes_after(0, 100).await.unwrap(), [(100_004, Some(named("new")))]);
    database.put(named("new"), &token("App-3"), false, at(0)).await.unwrap();
    assert_eq!(database.revision().await.unwrap(), 100_004, "the same token is no change");
}

#[tokio::test]
async fn who_listens_is_back_after_the_server_cut_the_connection() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let mut listening = settings(&url);
    listening.postgres.session_url = Some(url.clone());
    let store = Store::open(&listening, Arc::new(ManualClock::new(at(0)))).await.unwrap();
    let mut heard = store.changes();
    let other = open(&url).await;
    for round in 0..2 {
        let tenant = named(&format!("Cust{round}"));
        other.tenants.put(tenant, token("App-1"), false, at(0)).await.unwrap();
        let seen = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it is heard of");
        assert_eq!(seen.unwrap(), tenant, "round {round}");
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND query ILIKE 'LISTEN%'";
        cluster.execute(super::name_of(&url), cut).await;
    }
}

#[tokio::test]
async fn every_tenant_counts_as_changed_when_the_database_is_one_of_the_past() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let clock = ManualClock::new(at(0));
    let store = Store::open(&settings(&url), Arc::new(clock.clone())).await.unwrap();
    for name in ["Cust1", "Cust2"] {
        store.tenants.put(named(name), token("App-1"), false, at(0)).await.unwrap();
    }
    let mut heard = store.changes();
    let restore = "UPDATE tenant_revision SET revision = 1; DELETE FROM tenant_changes WHERE revision > 1";
    cluster.execute(super::name_of(&url), restore).await;
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(5));
    for name in ["Cust1", "Cust2"] {
        let seen = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it is published");
        assert_eq!(seen.unwrap(), named(name));
    }
    open(&url).await.tenants.put(named("Cust3"), token("App-1"), false, at(0)).await.unwrap();
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(5));
    let seen = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it is published");
    assert_eq!(seen.unwrap(), named("Cust3"), "its number is an old one");
}
