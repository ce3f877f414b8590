//! A later release changes the database's layout while this one runs.

use std::time::Duration;

use sqlx::Executor;

use crate::fleet::{Fleet, ticket};
use crate::place::{finish, until};

/// What a later release adds at first, and what it takes away in the release after.
pub(crate) const EXPAND: &str = include_str!("../fixtures/next_layout.sql");
const CONTRACT: &str = "INSERT INTO ticketd_layouts (version, description, checksum, compatible_from) \
                        SELECT max(version) + 1, 'fewer things', '\\x00', max(version) FROM ticketd_layouts";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_run_and_start_on_the_layout_of_the_next_release_and_not_on_that_after() {
    let Some(fleet) = Fleet::new().await else { return };
    fleet.place.configure("renewal", "\"exchange\"");
    for (key, value) in
        [("lifetime", "4s"), ("renew_before_min", "2s"), ("renew_before_max", "3s"), ("wait_before_expiry", "1s")]
    {
        fleet.place.configure(key, &format!("{value:?}"));
    }
    fleet.place.sandbox.change_settings(|settings| settings.ticket_life = Duration::from_secs(4));
    let running = fleet.start().await;
    fleet.register(&running, &["Before".to_owned()]).await;
    let first = ticket(&mut running.tickets(), "Before").await.unwrap();

    // The next release is rolled out, and this one goes on beside it: started before, and started after.
    fleet.pool.execute(EXPAND).await.unwrap();
    let started = fleet.start().await;
    fleet.register(&running, &["Along".to_owned()]).await;
    fleet.register(&started, &["After".to_owned()]).await;
    for replica in [&running, &started] {
        for tenant in ["Before", "Along", "After"] {
            ticket(&mut replica.tickets(), tenant).await.unwrap();
        }
    }
    for replica in [&running, &started] {
        until(async || ticket(&mut replica.tickets(), "Before").await.unwrap().fingerprint != first.fingerprint).await;
    }

    // The release after that takes away what this one needs, and says so. What runs has had its time to end.
    fleet.pool.execute(CONTRACT).await.unwrap();
    let refused = finish(fleet.place.ticketd(["serve"])).await;
    assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    assert!(refused.errors.contains("newer ticketd"), "{refused:?}");
    let renewed = ticket(&mut running.tickets(), "Before").await.unwrap();
    assert_ne!(renewed.fingerprint, first.fingerprint);
    println!("two replicas of this release served and renewed on the next one's layout; the one after that refuses it");
}
