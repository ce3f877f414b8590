//! What every backend of [`Tenants`] does. A backend's tests call [`contract!`] with a function that opens an empty one and
//! answers it with what must outlive it, or nothing where the backend is not installed. [`grants`], [`intake`], [`notices`] and
//! [`sign_ins`] have clauses on the rest of a store.

pub(super) mod grants;
pub(super) mod intake;
pub(super) mod notices;
pub(super) mod shared_tickets;
pub(super) mod sign_ins;

use jiff::Timestamp;

use super::{Observations, Sealing, StoreError, Tenant, TenantSource, Tenants, TokenProblem};
use crate::identifiers::{ApplicationId, ContextIdentifier, Environment, SystemUserToken};

/// A test for each clause.
macro_rules! contract {
    ($open:path: $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let Some((tenants, _keep)) = Option::from($open().await) else { return };
                $crate::store::contract::$clause(&*tenants).await;
            }
        )*
    };
    ($open:path) => {
        $crate::store::contract::contract!(
            $open:
            a_tenant_that_was_put_is_found_in_any_spelling,
            putting_again_replaces_the_token_and_keeps_the_rest,
            putting_the_same_token_changes_no_time,
            what_is_no_token_is_refused_and_changes_nothing,
            deleting_leaves_nothing,
            the_first_serial_stays_until_another_is_accepted,
            of_many_first_serials_one_wins,
            an_address_is_replaced_and_goes_with_its_serial,
            nothing_is_noted_about_a_tenant_that_is_not_registered,
            only_texts_of_a_sensible_length_are_noted,
            pages_are_ordered_and_complete,
        );
    };
}
pub(super) use contract;

pub(super) fn named(name: &str) -> ContextIdentifier {
    name.parse().unwrap()
}

pub(super) fn token(text: &str) -> SystemUserToken {
    SystemUserToken::new(text)
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn put(tenants: &dyn Tenants, name: &str, text: &str, second: i64) -> Tenant {
    tenants.put(named(name), token(text), false, at(second)).await.unwrap()
}

pub(super) async fn a_tenant_that_was_put_is_found_in_any_spelling(tenants: &dyn Tenants) {
    assert_eq!(tenants.find(named("Cust1")).await.unwrap(), None);
    let now: Timestamp = "2026-03-04T05:06:07.123456789Z".parse().unwrap();
    let tenant = tenants.put(named("Cust1"), token("Blåbær App-8k8Q7DmBgo"), false, now).await.unwrap();
    assert_eq!(tenant.context_identifier.as_str(), "Cust1");
    assert_eq!(tenant.system_user_token, token("Blåbær App-8k8Q7DmBgo"));
    assert_eq!(tenant.source, TenantSource::Database);
    assert_eq!((tenant.create_time, tenant.update_time), (Some(now), Some(now)));
    assert_eq!((&tenant.serial, &tenant.webapi_url), (&None, &None));

    let found = tenants.find(named("cUST1")).await.unwrap().unwrap();
    assert_eq!(found, tenant);
    assert_eq!(found.context_identifier.as_str(), "Cust1", "the registered spelling is kept");
    assert_eq!(tenants.find(named("Cust11")).await.unwrap(), None);
}

pub(super) async fn putting_again_replaces_the_token_and_keeps_the_rest(tenants: &dyn Tenants) {
    put(tenants, "Cust1", "App-1", 100).await;
    pin(tenants, "Cust1", "1234567890").await;
    locate(tenants, "Cust1", "https://sod2.superoffice.com/Cust1/api/").await;
    let tenant = put(tenants, "CUST1", "App-2", 200).await;
    assert_eq!(tenant.system_user_token, token("App-2"));
    assert_eq!(tenant.context_identifier.as_str(), "CUST1");
    assert_eq!((tenant.create_time, tenant.update_time), (Some(at(100)), Some(at(200))));
    assert_eq!(tenant.serial.as_deref(), Some("1234567890"));
    assert_eq!(tenant.webapi_url.as_deref(), Some("https://sod2.superoffice.com/Cust1/api/"));
    assert_eq!(tenants.find(named("Cust1")).await.unwrap().unwrap(), tenant);
    assert_eq!(tenants.list(None, 10).await.unwrap(), [tenant]);
}

pub(super) async fn putting_the_same_token_changes_no_time(tenants: &dyn Tenants) {
    put(tenants, "Cust1", "App-1", 100).await;
    let tenant = put(tenants, "cust1", "App-1", 200).await;
    assert_eq!((tenant.create_time, tenant.update_time), (Some(at(100)), Some(at(100))));
    assert_eq!(tenant.context_identifier.as_str(), "cust1");
}

pub(super) async fn what_is_no_token_is_refused_and_changes_nothing(tenants: &dyn Tenants) {
    let before = put(tenants, "Cust1", "App-1", 100).await;
    let refusal = tenants.put(named("Cust1"), token("App-1.202611220106.c2ln"), true, at(200)).await;
    assert!(matches!(refusal, Err(StoreError::InvalidToken { reason: TokenProblem::Dot })), "{refusal:?}");
    let refusal = tenants.put(named("Cust2"), token(""), false, at(200)).await;
    assert!(matches!(refusal, Err(StoreError::InvalidToken { reason: TokenProblem::Empty })), "{refusal:?}");
    assert_eq!(tenants.list(None, 10).await.unwrap(), [before]);
}

pub(super) async fn deleting_leaves_nothing(tenants: &dyn Tenants) {
    put(tenants, "Cust1", "App-1", 100).await;
    let other = put(tenants, "Cust2", "App-2", 100).await;
    pin(tenants, "Cust1", "1").await;
    locate(tenants, "Cust1", "https://sod.superoffice.com/Cust1/").await;
    assert!(tenants.delete(named("CUST1")).await.unwrap());
    assert!(!tenants.delete(named("CUST1")).await.unwrap());
    assert_eq!(tenants.find(named("Cust1")).await.unwrap(), None);
    assert_eq!(tenants.list(None, 10).await.unwrap(), [other]);
    let again = put(tenants, "Cust1", "App-1", 300).await;
    assert_eq!((again.serial, again.webapi_url, again.create_time), (None, None, Some(at(300))));
}

pub(super) async fn the_first_serial_stays_until_another_is_accepted(tenants: &dyn Tenants) {
    put(tenants, "Cust1", "App-1", 100).await;
    assert_eq!(pin(tenants, "Cust1", "1111").await, "1111");
    assert_eq!(pin(tenants, "cust1", "2222").await, "1111");
    assert_eq!(put(tenants, "Cust1", "App-2", 200).await.serial.as_deref(), Some("1111"));
    let tenant = tenants.put(named("Cust1"), token("App-2"), true, at(300)).await.unwrap();
    assert_eq!(tenant.serial, None);
    assert_eq!(tenant.update_time, Some(at(200)), "the token is the same");
    assert_eq!(pin(tenants, "Cust1", "2222").await, "2222");
    assert_eq!(tenants.find(named("Cust1")).await.unwrap().unwrap().serial.as_deref(), Some("2222"));
}

pub(super) async fn of_many_first_serials_one_wins(tenants: &dyn Tenants) {
    let tenant = put(tenants, "Cust1", "App-1", 100).await;
    let told: Vec<_> =
        (0..20).map(|number| observations(&number.to_string(), &format!("https://sod{number}/"))).collect();
    let kept = told.iter().map(|told| tenants.observe(&tenant, told));
    let kept: Vec<_> = futures_util::future::join_all(kept).await.into_iter().map(Result::unwrap).collect();
    let winner = &kept[0];
    assert!(told.contains(winner), "{winner:?}: the address is the one that came with the serial");
    assert!(kept.iter().all(|kept| kept == winner), "{kept:?}");
    let found = tenants.find(named("Cust1")).await.unwrap().unwrap();
    assert_eq!((found.serial, found.webapi_url), (winner.serial.clone(), winner.webapi_url.clone()));
}

pub(super) async fn an_address_is_replaced_and_goes_with_its_serial(tenants: &dyn Tenants) {
    let first = put(tenants, "Cust1", "App-1", 100).await;
    locate(tenants, "Cust1", "https://sod1/").await;
    assert_eq!(pin(tenants, "Cust1", "1111").await, "1111");
    let found = tenants.find(named("Cust1")).await.unwrap().unwrap();
    assert_eq!(found.webapi_url.as_deref(), Some("https://sod1/"), "pinning leaves it");
    for tenant in [&first, &found] {
        let kept = tenants.observe(tenant, &observations("2222", "https://elsewhere/")).await.unwrap();
        assert_eq!(kept, observations("1111", "https://sod1/"));
        let kept = tenants.observe(tenant, &observations("1111", "https://sod2/")).await.unwrap();
        assert_eq!(kept, observations("1111", "https://sod2/"));
        locate(tenants, "Cust1", "https://sod1/").await;
    }
    let found = tenants.find(named("Cust1")).await.unwrap().unwrap();
    assert_eq!((found.serial.as_deref(), found.webapi_url.as_deref()), (Some("1111"), Some("https://sod1/")));
}

pub(super) async fn nothing_is_noted_about_a_tenant_that_is_not_registered(tenants: &dyn Tenants) {
    let gone = put(tenants, "Cust1", "App-1", 100).await;
    assert!(tenants.delete(named("Cust1")).await.unwrap());
    let refusal = tenants.observe(&gone, &observations("1", "https://sod.superoffice.com/Cust1/")).await;
    assert!(matches!(refusal, Err(StoreError::NotRegistered { .. })), "{refusal:?}");
    let tenant = put(tenants, "Cust1", "App-1", 100).await;
    assert_eq!((tenant.serial, tenant.webapi_url), (None, None));
}

pub(super) async fn only_texts_of_a_sensible_length_are_noted(tenants: &dyn Tenants) {
    let tenant = put(tenants, "Cust1", "App-1", 100).await;
    for text in [String::new(), "x".repeat(1025)] {
        for told in [observations(&text, "https://sod/"), observations("1", &text)] {
            let refusal = tenants.observe(&tenant, &told).await;
            assert!(matches!(refusal, Err(StoreError::InvalidLength { .. })), "{refusal:?}");
        }
    }
    locate(tenants, "Cust1", &"x".repeat(1024)).await;
}

pub(super) async fn pages_are_ordered_and_complete(tenants: &dyn Tenants) {
    for name in ["Cust2", "a", "cust10", "B", "Cust1"] {
        put(tenants, name, "App-1", 100).await;
    }
    let names =
        |page: Vec<Tenant>| page.into_iter().map(|tenant| tenant.context_identifier.to_string()).collect::<Vec<_>>();
    let all = ["a", "B", "Cust1", "cust10", "Cust2"];
    assert_eq!(names(tenants.list(None, 10).await.unwrap()), all);
    assert_eq!(names(tenants.list(None, u32::MAX).await.unwrap()), all);
    assert!(tenants.list(None, 0).await.unwrap().is_empty());
    assert_eq!(names(tenants.list(Some(named("CUST1")), 2).await.unwrap()), ["cust10", "Cust2"]);
    assert_eq!(names(tenants.list(Some(named("C")), 1).await.unwrap()), ["Cust1"]);
    assert!(tenants.list(Some(named("Cust2")), 10).await.unwrap().is_empty());
}

/// What an exchange tells.
pub(super) fn observations(serial: &str, webapi_url: &str) -> Observations {
    Observations { serial: Some(serial.to_owned()), webapi_url: Some(webapi_url.to_owned()) }
}

/// Tells a tenant's serial, and answers the pinned one.
pub(super) async fn pin(tenants: &dyn Tenants, name: &str, serial: &str) -> String {
    let told = Observations { serial: Some(serial.to_owned()), webapi_url: None };
    let tenant = tenants.find(named(name)).await.unwrap().unwrap();
    tenants.observe(&tenant, &told).await.unwrap().serial.unwrap()
}

/// Tells a tenant's address.
pub(super) async fn locate(tenants: &dyn Tenants, name: &str, url: &str) {
    let told = Observations { serial: None, webapi_url: Some(url.to_owned()) };
    let tenant = tenants.find(named(name)).await.unwrap().unwrap();
    let kept = tenants.observe(&tenant, &told).await.unwrap();
    assert_eq!(kept.webapi_url.as_deref(), Some(url));
}

/// With the key that every test uses.
pub(super) fn sealing() -> Sealing {
    Sealing {
        key_files: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key").into()],
        environment: Environment::Sod,
        application: ApplicationId::new("app"),
    }
}
