use std::time::Duration;

use super::{Cluster, name_of, open, open_database, settings};
use crate::clock::SystemClock;
use crate::store::contract::shared_tickets::{fingerprint, shared};
use crate::store::contract::{at, named, token};
use crate::store::{Lease, Resealed, Store};
use std::sync::Arc;

#[tokio::test]
async fn a_stale_holders_write_is_refused_every_time() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let [stale, other] = [open(&url).await, open(&url).await].map(|store| store.shared_tickets.clone().unwrap());
    let mut refused = 0;
    for round in 0..50 {
        let tenant = named(&format!("Cust{round}"));
        let ticket = |number| shared(tenant.as_str(), number, at(600));
        let fence = stale.claim(tenant).await.unwrap().unwrap().fence;
        assert_eq!(other.claim(tenant).await.unwrap(), None);
        // It is stopped for longer than its lease.
        cluster.execute(name_of(&url), "UPDATE leases SET expire_time = clock_timestamp() - interval '1 ms'").await;
        if round % 3 == 0 {
            // Nobody has taken the lease yet.
            assert!(!stale.publish(&ticket(1), fence, at(0)).await.unwrap());
        }
        let taken_over = other.claim(tenant).await.unwrap().unwrap().fence;
        assert!(taken_over > fence);
        assert!(!stale.renew(tenant, fence).await.unwrap());
        refused += u32::from(!stale.publish(&ticket(1), fence, at(0)).await.unwrap());
        stale.release(tenant, fence).await.unwrap();
        assert!(other.publish(&ticket(2), taken_over, at(0)).await.unwrap());
        refused += u32::from(!stale.publish(&ticket(1), fence, at(0)).await.unwrap());
        assert_eq!(other.find(tenant).await.unwrap().unwrap().fingerprint, fingerprint(2));
    }
    println!("{refused} of 100 writes by stale holders refused");
    assert_eq!(refused, 100);
}

#[tokio::test]
async fn a_lease_that_another_is_taking_or_giving_back_is_held() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let store = open(&url).await;
    let tickets = store.shared_tickets.clone().unwrap();
    let holder = open_database(&settings(&url)).await.unwrap();
    for statement in [
        "INSERT INTO leases VALUES ('cust1', 'another', nextval('lease_fences'), clock_timestamp() + interval '1 h')",
        "DELETE FROM leases",
    ] {
        let mut transaction = holder.writing().await.unwrap();
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
        assert_eq!(tickets.claim(named("Cust1")).await.unwrap(), None, "{statement}");
        transaction.commit().await.unwrap();
    }
    assert!(tickets.claim(named("Cust1")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_closing_store_gives_its_leases_back_and_no_others() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let (closing, other) = (open(&url).await, open(&url).await);
    let tickets = |store: &Store| store.shared_tickets.clone().unwrap();
    let (_lease, _) = Lease::claim(&tickets(&closing), named("Cust1")).await.unwrap().unwrap();
    assert!(tickets(&other).claim(named("Cust2")).await.unwrap().is_some());
    closing.close().await;
    assert!(tickets(&other).claim(named("Cust1")).await.unwrap().is_some());
    assert!(tickets(&other).claim(named("Cust2")).await.unwrap().is_none());
}

#[tokio::test]
async fn news_of_a_tenants_ticket_reaches_who_waits_for_it() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let mut listening = settings(&url);
    listening.postgres.session_url = Some(url.clone());
    let waiting = Store::open(&listening, Arc::new(SystemClock)).await.unwrap();
    let mut heard = waiting.changes();
    let other = open(&url).await;
    other.tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.expect("it listens").unwrap();

    let mut news = waiting.shared_tickets.clone().unwrap().news();
    let other = other.shared_tickets.clone().unwrap();
    let fence = other.claim(named("Cust1")).await.unwrap().unwrap().fence;
    let other_fence = other.claim(named("Cust2")).await.unwrap().unwrap().fence;
    other.publish(&shared("Cust2", 1, at(600)), other_fence, at(0)).await.unwrap();
    let pause = Duration::from_mins(1);
    let early = tokio::time::timeout(Duration::from_millis(300), news.of(named("Cust1"), pause)).await;
    assert!(early.is_err(), "that was another's");
    other.publish(&shared("Cust1", 1, at(600)), fence, at(0)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), news.of(named("Cust1"), pause)).await.expect("it is heard of");
}

#[tokio::test]
async fn a_ticket_of_another_row_or_key_is_not_used_and_all_are_sealed_again() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let store = open(&url).await;
    let tickets = store.shared_tickets.clone().unwrap();
    for (number, tenant) in [(1, "Cust1"), (2, "Cust2")] {
        let fence = tickets.claim(named(tenant)).await.unwrap().unwrap().fence;
        tickets.publish(&shared(tenant, number, at(600)), fence, at(0)).await.unwrap();
    }
    let swap = "UPDATE shared_tickets SET ticket = (SELECT ticket FROM shared_tickets WHERE tenant = 'cust2') \
                WHERE tenant = 'cust1'";
    cluster.execute(name_of(&url), swap).await;
    assert_eq!(tickets.find(named("Cust1")).await.unwrap(), None);
    assert!(tickets.find(named("Cust2")).await.unwrap().is_some());
    assert_eq!(store.count_to_reseal().await.unwrap(), 0);

    // A bit of the ids of their keys is flipped: none of our keys sealed them.
    cluster
        .execute(name_of(&url), "UPDATE shared_tickets SET ticket = set_bit(ticket, 39, 1 - get_bit(ticket, 39))")
        .await;
    assert_eq!(tickets.find(named("Cust2")).await.unwrap(), None);
    assert_eq!(store.count_to_reseal().await.unwrap(), 2);
    let mut outcomes = Vec::new();
    store.reseal(|outcome| outcomes.push(outcome)).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Resealed::Unreadable { .. })), "{outcomes:?}");
    assert_eq!(outcomes.len(), 2);
}
