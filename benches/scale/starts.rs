//! How soon a server serves, and how much memory it takes with nothing to do.

use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use ticketd::clock::{Clock, SystemClock};
use ticketd::identifiers::SystemUserToken;

use crate::server::Place;
use crate::setup::Setup;
use crate::{Extent, check, median, registered};

/// A server settles for so long before its memory is looked at.
const REST: Duration = Duration::from_secs(1);

pub(crate) async fn measure(extent: Extent) {
    // One tenant is in the directory.
    let setup = Setup::new(1).await;
    let place = Place::new(&setup, "starts");
    for registered in [0, extent.registered] {
        if registered > 0 {
            fill(&setup, registered).await;
        }
        let (mut starts, mut resident) = (Vec::new(), 0.0);
        for _ in 0..extent.rounds.min(9) {
            let server = place.start().await;
            starts.push(server.start.as_secs_f64() * 1e3);
            if starts.len() == 1 {
                tokio::time::sleep(if extent.is_measured { REST } else { Duration::ZERO }).await;
                resident = server.resident();
            }
        }
        let start = median(&mut starts);
        println!("{registered} tenants in SQLite: serves after {start:.0} ms, {resident:.1} MiB of memory when idle");
        check(extent, start < 500.0, "a start takes too long");
        check(extent, resident < 25.0, "an idle server takes too much memory");
    }
}

/// Registers one tenant, and others beside it without ticketd: nobody opens their tokens.
async fn fill(setup: &Setup, tenants: usize) {
    let store = registered::open(setup, "starts").await;
    let token = SystemUserToken::new("SuperOffice Application-8k8Q7DmBgo");
    store.tenants.put("First1".parse().unwrap(), token, false, SystemClock.now()).await.unwrap();
    store.close().await;

    let file = setup.directory.path().join("starts").join("data").join("ticketd.db");
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let rows = format!(
        "WITH RECURSIVE numbers(number) AS (SELECT 10000 UNION ALL SELECT number + 1 FROM numbers LIMIT {tenants}) \
         INSERT INTO tenants SELECT 'cust' || number, 'Cust' || number, system_user_token, create_time, update_time \
         FROM numbers, (SELECT * FROM tenants WHERE tenant = 'first1')"
    );
    sqlx::query(AssertSqlSafe(rows)).execute(&mut connection).await.unwrap();
}
