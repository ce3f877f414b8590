//! Readiness follows what this replica can do by itself. What all of them miss alike takes none of them away.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::place::{Place, Running, health, pass, ticket};

/// Longer than from one look of ticketd's at itself to the next.
const LOOKS: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn neither_superoffices_outage_nor_the_databases_sends_calls_elsewhere() {
    let place = Place::new().await;
    place.put_tenant().await;
    let server = place.serve().await;
    stays_ready(&server, Duration::ZERO).await;

    place.sandbox.go_down().await.unwrap();
    let mut tickets = server.tickets();
    for _ in 0..3 {
        assert_eq!(ticket(&mut tickets).await.unwrap_err().code(), Code::Unavailable);
    }
    stays_ready(&server, LOOKS).await;
    place.sandbox.come_up().await.unwrap();
    let mut server = server;
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit().await.success());

    // Another one, which remembers no outage: its ticket outlasts the database.
    let server = place.serve().await;
    ticket(&mut server.tickets()).await.unwrap();
    let file = place.path("ticketd.db");
    let mut lock = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut lock).await.unwrap();
    ticket(&mut server.tickets()).await.unwrap();
    stays_ready(&server, LOOKS).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    lock.close().await.unwrap();
}

/// Ready and alive, now and after a while.
async fn stays_ready(server: &Running, after: Duration) {
    pass(after).await;
    for service in ["readiness", "liveness"] {
        assert_eq!(health(server.health_address, service).await.unwrap(), ServingStatus::Serving, "{service}");
    }
}
