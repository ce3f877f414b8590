//! What every backend of [`SeenNotices`](crate::store::SeenNotices) does.

use futures_util::future::join_all;

use super::{at, named};
use crate::store::{Seen, Store};

/// A test for each clause. `$open` answers an empty store and what must outlive it.
macro_rules! notices_contract {
    ($open:path: $($clause:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let Some((store, _keep)) = Option::from($open().await) else { return };
                $crate::store::contract::notices::$clause(&store).await;
            }
        )*
    };
    ($open:path) => {
        $crate::store::contract::notices::notices_contract!(
            $open:
            a_notice_is_the_first_once_until_its_token_expires,
            of_many_with_the_same_token_one_is_the_first,
            a_change_is_published_with_the_first_and_no_other,
        );
    };
}
pub(in crate::store) use notices_contract;

async fn see(store: &Store, token: u8, second: i64) -> Seen {
    store.notices.see([token; 32], at(600), None, at(second)).await.unwrap()
}

pub(in crate::store) async fn a_notice_is_the_first_once_until_its_token_expires(store: &Store) {
    assert_eq!(see(store, 1, 0).await, Seen::First);
    assert_eq!(see(store, 2, 0).await, Seen::First);
    assert_eq!(see(store, 1, 1).await, Seen::Before);
    assert_eq!(see(store, 1, 599).await, Seen::Before);
    assert_eq!(see(store, 1, 600).await, Seen::First, "its token verifies no longer: nobody needs to remember it");
}

pub(in crate::store) async fn of_many_with_the_same_token_one_is_the_first(store: &Store) {
    for token in 0..20 {
        let seen = join_all((0..8).map(|_| see(store, token, 0))).await;
        assert_eq!(seen.iter().filter(|seen| **seen == Seen::First).count(), 1, "{seen:?}");
        assert!(!seen.contains(&Seen::Full), "{seen:?}");
    }
}

pub(in crate::store) async fn a_change_is_published_with_the_first_and_no_other(store: &Store) {
    let mut changes = store.changes();
    see(store, 1, 0).await;
    assert!(changes.try_recv().is_err(), "nothing was said to change");
    for expected in [Seen::First, Seen::Before] {
        let seen = store.notices.see([2; 32], at(600), Some(named("Cust1")), at(0)).await.unwrap();
        assert_eq!(seen, expected);
    }
    assert_eq!(changes.try_recv().unwrap(), named("Cust1"));
    assert!(changes.try_recv().is_err());
}
