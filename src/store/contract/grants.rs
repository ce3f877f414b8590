//! What every backend of [`Grants`](crate::store::Grants) does.

use super::{at, named, token};
use crate::identifiers::{ContextIdentifier, RefreshToken};
use crate::store::{Grant, Store, user_key};

/// A test for each clause. `$open` answers an empty store and what must outlive it, or nothing.
macro_rules! grants_contract {
    ($open:path: $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let Some((store, _keep)) = Option::from($open().await) else { return };
                $crate::store::contract::grants::$clause(&store).await;
            }
        )*
    };
    ($open:path) => {
        $crate::store::contract::grants::grants_contract!(
            $open:
            a_grant_is_found_by_its_user_in_any_case,
            another_sign_in_replaces_the_grant_and_keeps_its_first_time,
            a_refresh_token_is_replaced_only_if_it_is_the_expected_one,
            of_many_replacements_one_wins,
            a_refused_grant_is_removed_only_if_it_is_the_expected_one,
            a_tenants_grants_go_with_it_and_no_others,
            deleting_a_grant_is_a_change_of_its_tenant,
            grants_are_paged_in_the_order_of_their_users,
        );
    };
}
pub(in crate::store) use grants_contract;

fn grant(tenant: &str, user: &str, refresh_token: &str, second: i64) -> Grant {
    Grant {
        context_identifier: named(tenant),
        user: user.to_owned(),
        refresh_token: RefreshToken::new(refresh_token),
        associate_id: Some("10".to_owned()),
        create_time: at(second),
        update_time: at(second),
    }
}

fn cust1() -> ContextIdentifier {
    named("Cust1")
}

async fn kept(store: &Store, user: &str) -> Option<String> {
    let grant = store.grants.find(cust1(), user).await.unwrap();
    grant.map(|grant| grant.refresh_token.expose().to_owned())
}

pub(in crate::store) async fn a_grant_is_found_by_its_user_in_any_case(store: &Store) {
    let zoë = grant("Cust1", "Zoë.Ünlaut@Example.com", "r1", 1);
    store.grants.put(&zoë).await.unwrap();
    assert_eq!(store.grants.find(named("CUST1"), "zOË.üNLAUT@example.COM").await.unwrap(), Some(zoë));
    assert_eq!(store.grants.find(named("Cust11"), "zoë.ünlaut@example.com").await.unwrap(), None);
    assert_eq!(kept(store, "zoë.ünlaut@example.co").await, None);
}

pub(in crate::store) async fn another_sign_in_replaces_the_grant_and_keeps_its_first_time(store: &Store) {
    store.grants.put(&grant("Cust1", "A@x", "r1", 1)).await.unwrap();
    let again = Grant { associate_id: None, ..grant("Cust1", "a@x", "r2", 2) };
    store.grants.put(&again).await.unwrap();
    let found = store.grants.find(cust1(), "A@X").await.unwrap().unwrap();
    assert_eq!(found, Grant { create_time: at(1), ..again });
}

pub(in crate::store) async fn a_refresh_token_is_replaced_only_if_it_is_the_expected_one(store: &Store) {
    let [r1, r2, r3] = ["r1", "r2", "r3"].map(RefreshToken::new);
    assert!(!store.grants.replace(cust1(), "a@x", &r1, &r2, at(2)).await.unwrap(), "there is none");
    store.grants.put(&grant("Cust1", "a@x", "r1", 1)).await.unwrap();
    assert!(store.grants.replace(cust1(), "A@X", &r1, &r2, at(2)).await.unwrap());
    assert!(!store.grants.replace(cust1(), "a@x", &r1, &r3, at(3)).await.unwrap());
    let found = store.grants.find(cust1(), "a@x").await.unwrap().unwrap();
    assert_eq!(found, Grant { create_time: at(1), ..grant("Cust1", "a@x", "r2", 2) });
}

pub(in crate::store) async fn of_many_replacements_one_wins(store: &Store) {
    store.grants.put(&grant("Cust1", "a@x", "r0", 1)).await.unwrap();
    let first = RefreshToken::new("r0");
    let replacements = (1..=50).map(|number| {
        let (grants, first) = (store.grants.clone(), first.clone());
        let new = RefreshToken::new(format!("r{number}"));
        tokio::spawn(async move { grants.replace(cust1(), "a@x", &first, &new, at(2)).await.unwrap() })
    });
    let won = futures_util::future::join_all(replacements).await.into_iter().filter(|won| *won.as_ref().unwrap());
    assert_eq!(won.count(), 1);
}

pub(in crate::store) async fn a_refused_grant_is_removed_only_if_it_is_the_expected_one(store: &Store) {
    store.grants.put(&grant("Cust1", "a@x", "r1", 1)).await.unwrap();
    assert!(!store.grants.remove_refused(cust1(), "a@x", &RefreshToken::new("r0")).await.unwrap());
    assert_eq!(kept(store, "a@x").await.as_deref(), Some("r1"));
    assert!(store.grants.remove_refused(cust1(), "A@x", &RefreshToken::new("r1")).await.unwrap());
    assert_eq!(kept(store, "a@x").await, None);
}

pub(in crate::store) async fn a_tenants_grants_go_with_it_and_no_others(store: &Store) {
    for name in ["Cust1", "Cust2"] {
        store.tenants.put(named(name), token("App-1"), false, at(0)).await.unwrap();
        store.grants.put(&grant(name, "a@x", "r1", 1)).await.unwrap();
    }
    store.tenants.put(cust1(), token("App-2"), true, at(1)).await.unwrap();
    assert!(kept(store, "a@x").await.is_some(), "another system user token takes no grant away");
    store.tenants.delete(named("CUST1")).await.unwrap();
    assert_eq!(kept(store, "a@x").await, None);
    assert!(store.grants.find(named("Cust2"), "a@x").await.unwrap().is_some());
}

pub(in crate::store) async fn deleting_a_grant_is_a_change_of_its_tenant(store: &Store) {
    store.grants.put(&grant("Cust1", "a@x", "r1", 1)).await.unwrap();
    let before = store.engine.revision().await.unwrap();
    assert!(!store.grants.delete(cust1(), "b@x").await.unwrap());
    assert_eq!(store.engine.revision().await.unwrap(), before);
    assert!(store.grants.delete(named("CUST1"), "A@X").await.unwrap());
    assert_eq!(kept(store, "a@x").await, None);
    let changes = store.engine.changes_after(before, 10).await.unwrap();
    assert_eq!(changes.into_iter().map(|(_, tenant)| tenant).collect::<Vec<_>>(), [Some(cust1())]);
}

pub(in crate::store) async fn grants_are_paged_in_the_order_of_their_users(store: &Store) {
    for user in ["C@x", "a@x", "B@x"] {
        store.grants.put(&grant("Cust1", user, "r1", 1)).await.unwrap();
    }
    store.grants.put(&grant("Cust2", "d@x", "r1", 1)).await.unwrap();
    let list = async |after: Option<&str>, limit| {
        let grants = store.grants.list(cust1(), after, limit).await.unwrap();
        grants.into_iter().map(|grant| grant.user).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ["a@x", "B@x", "C@x"]);
    assert_eq!(list(None, 2).await, ["a@x", "B@x"]);
    assert_eq!(list(Some(&user_key("B@x")), 10).await, ["C@x"]);
    assert!(list(Some("c@x"), 10).await.is_empty());
}
