//! What becomes of tenants that operators hand in by SQL, on every engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{at, named, pin, token};
use crate::identifiers::ContextIdentifier;
use crate::store::Store;
use crate::store::intake::{IntakeRecords, Verdict};

/// An operator with the documented SQL at hand, and no other rights where the engine has any.
#[async_trait]
pub(in crate::store) trait Operator: Send + Sync {
    /// Hands a tenant in.
    async fn hand_in(&self, context_identifier: &str, system_user_token: &str);

    /// Whose tenants were refused, and why.
    async fn refusals(&self) -> Vec<(Option<String>, String)>;

    /// How many wait.
    async fn waiting(&self) -> i64;
}

/// A test for each clause. `$open` answers an empty store that looks for what is handed in, an operator and what must outlive
/// them, or nothing.
macro_rules! intake_contract {
    ($open:path: $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let Some((store, operator, _keep)) = Option::from($open().await) else { return };
                $crate::store::contract::intake::$clause(&store, &operator).await;
            }
        )*
    };
    ($open:path) => {
        $crate::store::contract::intake::intake_contract!(
            $open:
            a_tenant_that_is_handed_in_is_registered_within_a_second,
            what_is_wrong_is_noted_without_the_token_and_holds_up_nothing,
            of_several_for_one_tenant_the_last_counts,
            a_tenant_that_is_registered_gets_the_token_and_keeps_the_rest,
        );
    };
}
pub(in crate::store) use intake_contract;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("this takes too long")
}

async fn all_taken(operator: &dyn Operator) {
    within(async { while operator.waiting().await > 0 {} }).await;
}

pub(in crate::store) async fn a_tenant_that_is_handed_in_is_registered_within_a_second(
    store: &Store,
    operator: &dyn Operator,
) {
    let mut changes = store.changes();
    // Whoever listens may not do so yet.
    operator.hand_in("Cust0", "Blåbær App-8k8Q7DmBgo").await;
    assert_eq!(within(changes.recv()).await.unwrap(), named("Cust0"));
    let mut longest = Duration::ZERO;
    for number in 1..6 {
        let tenant = format!("Cust{number}");
        #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
        let start = Instant::now();
        operator.hand_in(&tenant, "Blåbær App-8k8Q7DmBgo").await;
        assert_eq!(within(changes.recv()).await.unwrap(), named(&tenant));
        longest = longest.max(start.elapsed());
        let registered = store.tenants.find(named(&tenant)).await.unwrap().unwrap();
        assert_eq!(registered.system_user_token, token("Blåbær App-8k8Q7DmBgo"));
        assert_eq!(registered.context_identifier.as_str(), tenant);
    }
    println!("5 tenants handed in by SQL: the longest was found and published after {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_eq!((operator.waiting().await, operator.refusals().await), (0, Vec::new()));
}

pub(in crate::store) async fn what_is_wrong_is_noted_without_the_token_and_holds_up_nothing(
    store: &Store,
    operator: &dyn Operator,
) {
    let long = "Canary-".repeat(1000);
    let wrong = [
        ("", "Canary-8k8Q7DmBgo", None),
        ("Canary App-8k8Q7DmBgo", "Cust1", None),
        (&*long, "Canary-8k8Q7DmBgo", None),
        ("Cust1'; DROP TABLE tenants; --", "Canary-8k8Q7DmBgo", None),
        ("Cust1", "", Some("Cust1")),
        ("Cust2", "Canary-1.202611220106.c2ln", Some("Cust2")),
        ("Cust3", &*long, Some("Cust3")),
        ("Cust4", "Canary-1\n", Some("Cust4")),
    ];
    for (name, token, _) in wrong {
        operator.hand_in(name, token).await;
    }
    operator.hand_in("Good1", "App-1").await;
    all_taken(operator).await;
    let refusals = operator.refusals().await;
    let names: Vec<_> = refusals.iter().map(|(name, _)| name.as_deref()).collect();
    assert_eq!(names, wrong.map(|(_, _, name)| name), "{refusals:?}");
    assert!(!format!("{refusals:?}").contains("anary"), "{refusals:?}");
    assert!(refusals.iter().all(|(name, reason)| reason.contains(if name.is_some() { "token" } else { "Identifier" })));
    let registered = store.tenants.list(None, 10).await.unwrap();
    let registered: Vec<_> = registered.iter().map(|tenant| tenant.context_identifier.as_str()).collect();
    assert_eq!(registered, ["Good1"]);
}

pub(in crate::store) async fn of_several_for_one_tenant_the_last_counts(store: &Store, operator: &dyn Operator) {
    for number in 0..50 {
        operator.hand_in(&format!("Cust{}", number % 2), &format!("App-{number}")).await;
    }
    all_taken(operator).await;
    for (name, last) in [("Cust0", "App-48"), ("Cust1", "App-49")] {
        let tenant = store.tenants.find(named(name)).await.unwrap().unwrap();
        assert_eq!(tenant.system_user_token, token(last));
    }
}

pub(in crate::store) async fn a_tenant_that_is_registered_gets_the_token_and_keeps_the_rest(
    store: &Store,
    operator: &dyn Operator,
) {
    let before = store.tenants.put(named("Cust1"), token("App-1"), false, at(100)).await.unwrap();
    pin(&*store.tenants, "Cust1", "1234567890").await;
    let mut changes = store.changes();
    operator.hand_in("CUST1", "App-1").await;
    all_taken(operator).await;
    let same = store.tenants.find(named("Cust1")).await.unwrap().unwrap();
    assert_eq!((same.create_time, same.update_time), (before.create_time, before.update_time));
    operator.hand_in("Cust1", "App-2").await;
    assert_eq!(within(changes.recv()).await.unwrap(), named("Cust1"));
    assert!(changes.try_recv().is_err(), "the same token is no change");
    let tenant = store.tenants.find(named("Cust1")).await.unwrap().unwrap();
    assert_eq!((tenant.create_time, tenant.serial.as_deref()), (before.create_time, Some("1234567890")));
    assert_eq!(tenant.system_user_token, token("App-2"));
}

/// What is handed in is there, and each of the takers takes as much as it can at once.
pub(in crate::store) async fn each_tenant_is_taken_once(
    takers: Vec<Arc<dyn IntakeRecords>>,
    operator: &dyn Operator,
    tenants: usize,
) {
    for number in 0..tenants {
        operator.hand_in(&format!("Cust{number}"), "App-1").await;
    }
    let taking = takers.into_iter().map(|taker| {
        tokio::spawn(async move {
            let mut taken: Vec<ContextIdentifier> = Vec::new();
            loop {
                let judge = |handed_in: &crate::store::intake::HandedIn| -> Verdict {
                    Ok(handed_in.context_identifier.parse().unwrap())
                };
                let verdicts = match taker.take_handed_in(&judge, 3, at(0)).await {
                    Ok(verdicts) => verdicts,
                    // On a slow machine one waits too long for its turn.
                    Err(error) if error.is_transient() => continue,
                    Err(error) => panic!("{error:?}"),
                };
                if verdicts.is_empty() {
                    return taken;
                }
                taken.extend(verdicts.into_iter().map(Result::unwrap));
            }
        })
    });
    let taken: Vec<Vec<_>> = join_all(taking).await.into_iter().map(Result::unwrap).collect();
    let shares: Vec<_> = taken.iter().map(Vec::len).collect();
    let mut all = taken.concat();
    println!("{tenants} tenants handed in, {shares:?} taken by {} processes", shares.len());
    assert_eq!(all.len(), tenants);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), tenants);
    assert_eq!(operator.waiting().await, 0);
}
