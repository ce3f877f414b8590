//! What every backend of [`PendingSignIns`](crate::store::PendingSignIns) does.

use super::{at, named};
use crate::crypto::SecretHash;
use crate::identifiers::{CodeVerifier, Nonce};
use crate::store::{PendingSignIn, Store, TakenSignIn};

/// The owner of [`pending`] ones.
const OWNER: &str = "b1";

/// A test for each clause. `$open` answers an empty store and what must outlive it, or nothing.
macro_rules! sign_ins_contract {
    ($open:path: $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let Some((store, _keep)) = Option::from($open().await) else { return };
                $crate::store::contract::sign_ins::$clause(&store).await;
            }
        )*
    };
    ($open:path) => {
        $crate::store::contract::sign_ins::sign_ins_contract!(
            $open:
            a_sign_in_is_taken_as_it_was_added_and_once,
            of_many_who_take_it_one_gets_it,
            another_owner_gets_nothing_and_takes_nothing,
            an_expired_sign_in_is_gone,
        );
    };
}
pub(in crate::store) use sign_ins_contract;

pub(in crate::store) fn pending(second: i64) -> PendingSignIn {
    PendingSignIn {
        redirect_uri: "https://app.example.com/signed-in".to_owned(),
        nonce: Nonce::new("nonce-1"),
        code_verifier: CodeVerifier::new("verifier-1"),
        tenant: Some(named("Cust1")),
        login_hint: Some("Zoë@x".to_owned()),
        owner: hash(OWNER),
        expire_time: at(second),
    }
}

/// Whose sign-ins these are.
pub(in crate::store) fn owner() -> SecretHash {
    hash(OWNER)
}

fn hash(text: &str) -> SecretHash {
    SecretHash::of(text)
}

pub(in crate::store) async fn a_sign_in_is_taken_as_it_was_added_and_once(store: &Store) {
    let bare = PendingSignIn { tenant: None, login_hint: None, ..pending(600) };
    for (state, sign_in) in [("s1", &pending(600)), ("s2", &bare)] {
        store.sign_ins.add(hash(state), sign_in, at(0)).await.unwrap();
        let taken = store.sign_ins.take(hash(state), hash(OWNER), at(1)).await.unwrap();
        assert_eq!(taken, TakenSignIn::Taken(Box::new(sign_in.clone())));
        assert_eq!(store.sign_ins.take(hash(state), hash(OWNER), at(1)).await.unwrap(), TakenSignIn::Nothing);
    }
    assert_eq!(store.sign_ins.take(hash("s3"), hash(OWNER), at(1)).await.unwrap(), TakenSignIn::Nothing);
}

pub(in crate::store) async fn of_many_who_take_it_one_gets_it(store: &Store) {
    for round in 0..20 {
        let state = hash(&format!("s{round}"));
        store.sign_ins.add(state, &pending(600), at(0)).await.unwrap();
        let takers = (0..20).map(|_| {
            let sign_ins = store.sign_ins.clone();
            tokio::spawn(async move { sign_ins.take(state, hash(OWNER), at(1)).await.unwrap() })
        });
        let taken = futures_util::future::join_all(takers).await;
        let winners = taken.iter().filter(|taken| matches!(taken, Ok(TakenSignIn::Taken(_))));
        assert_eq!(winners.count(), 1);
    }
}

pub(in crate::store) async fn another_owner_gets_nothing_and_takes_nothing(store: &Store) {
    store.sign_ins.add(hash("s1"), &pending(600), at(0)).await.unwrap();
    assert_eq!(store.sign_ins.take(hash("s1"), hash("b2"), at(1)).await.unwrap(), TakenSignIn::OtherOwner);
    let taken = store.sign_ins.take(hash("s1"), hash(OWNER), at(1)).await.unwrap();
    assert_eq!(taken, TakenSignIn::Taken(Box::new(pending(600))));
}

pub(in crate::store) async fn an_expired_sign_in_is_gone(store: &Store) {
    store.sign_ins.add(hash("s1"), &pending(600), at(0)).await.unwrap();
    store.sign_ins.add(hash("s2"), &pending(601), at(1)).await.unwrap();
    assert_eq!(store.sign_ins.take(hash("s1"), hash(OWNER), at(600)).await.unwrap(), TakenSignIn::Nothing);
    // The clock is set back: what is gone stays gone.
    assert_eq!(store.sign_ins.take(hash("s1"), hash(OWNER), at(0)).await.unwrap(), TakenSignIn::Nothing);
    assert!(matches!(store.sign_ins.take(hash("s2"), hash(OWNER), at(600)).await.unwrap(), TakenSignIn::Taken(_)));
}
