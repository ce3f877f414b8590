use std::sync::Arc;

use super::{Cluster, open, settings};
use crate::clock::SystemClock;
use crate::crypto::SecretHash;
use crate::identifiers::RefreshToken;
use crate::store::contract::sign_ins::{owner, pending};
use crate::store::contract::{at, named, pin, token};
use crate::store::{self, Grant, Seen, Settings, Store, StoreError, TakenSignIn, Tenant};

async fn all(store: &Store) -> Vec<Tenant> {
    store.tenants.list(None, 10_000).await.unwrap()
}

#[tokio::test]
async fn what_sqlite_holds_is_copied_whole_and_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let from = format!("sqlite://{}/t.db", directory.path().display());
    let source = Store::open(&Settings { ..settings(&from) }, Arc::new(SystemClock)).await.unwrap();
    for number in 0..1203 {
        let tenant = named(&format!("Cust{number}"));
        source.tenants.put(tenant, token(&format!("Blåbær-{number}")), false, at(number)).await.unwrap();
        if number % 3 == 0 {
            pin(&*source.tenants, tenant.as_str(), &number.to_string()).await;
        }
    }
    let grant = Grant {
        context_identifier: named("Cust1"),
        user: "Zoë@example.com".to_owned(),
        refresh_token: RefreshToken::new("r1"),
        associate_id: None,
        create_time: at(1),
        update_time: at(2),
    };
    source.grants.put(&grant).await.unwrap();
    let state = SecretHash::of("s1");
    source.sign_ins.add(state, &pending(600), at(0)).await.unwrap();

    assert_eq!(source.notices.see([7; 32], at(600), None, at(0)).await.unwrap(), Seen::First);

    let url = cluster.create_database().await;
    let copied = store::copy_from_sqlite(&from, &settings(&url)).await.unwrap();
    assert_eq!(
        copied.rows,
        [
            ("tenants", 1203),
            ("tenant_observations", 401),
            ("grants", 1),
            ("pending_sign_ins", 1),
            ("seen_notices", 1),
            ("tenant_intake", 0),
            ("tenant_refusals", 0)
        ]
    );
    let target = open(&url).await;
    assert_eq!(all(&target).await, all(&source).await);
    assert_eq!(target.grants.find(named("Cust1"), &grant.user).await.unwrap(), Some(grant));
    let taken = target.sign_ins.take(state, owner(), at(1)).await.unwrap();
    assert!(matches!(taken, TakenSignIn::Taken(sign_in) if *sign_in == pending(600)));

    assert_eq!(target.notices.see([7; 32], at(600), None, at(0)).await.unwrap(), Seen::Before);

    let refusal = store::copy_from_sqlite(&from, &settings(&url)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal:?}");
    assert_eq!(all(&target).await.len(), 1203);
}

#[tokio::test]
async fn nothing_is_copied_from_a_database_that_is_not_there() {
    let Some(cluster) = Cluster::shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let from = format!("sqlite://{}/t.db", directory.path().display());
    let refusal = store::copy_from_sqlite(&from, &settings(&cluster.create_database().await)).await.unwrap_err();
    assert!(refusal.to_string().contains("t.db"), "{refusal}");
    assert!(!directory.path().join("t.db").exists());
}
