//! Tenants that an operator hands in with any SQLite client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use super::Database;
use crate::clock::{ManualClock, SystemClock};
use crate::store::contract::intake::{Operator, each_tenant_is_taken_once, intake_contract};
use crate::store::contract::{at, named, sealing, token};
use crate::store::intake::IntakeRecords;
use crate::store::sealer::Sealer;
use crate::store::{PostgresSettings, Settings, Store};

struct Client(PathBuf);

impl Client {
    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(&self.0).connect().await.unwrap()
    }
}

#[async_trait]
impl Operator for Client {
    async fn hand_in(&self, context_identifier: &str, system_user_token: &str) {
        let mut connection = self.connect().await;
        sqlx::query("INSERT INTO tenant_intake (context_identifier, system_user_token) VALUES (?1, ?2)")
            .bind(context_identifier)
            .bind(system_user_token)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    async fn refusals(&self) -> Vec<(Option<String>, String)> {
        let refusals = "SELECT context_identifier, reason FROM tenant_refusals ORDER BY request";
        sqlx::query_as(refusals).fetch_all(&mut self.connect().await).await.unwrap()
    }

    async fn waiting(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM tenant_intake").fetch_one(&mut self.connect().await).await.unwrap()
    }
}

fn settings(directory: &Path) -> Settings {
    Settings {
        url: format!("sqlite://{}/t.db", directory.display()),
        tenants_directory: None,
        postgres: PostgresSettings::default(),
        sealing: sealing(),
    }
}

async fn open() -> (Store, Client, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&settings(directory.path()), Arc::new(SystemClock)).await.unwrap();
    let client = Client(directory.path().join("t.db"));
    (store, client, directory)
}

intake_contract!(open);

#[tokio::test]
async fn of_several_processes_one_takes_a_tenant() {
    let directory = TempDir::new().unwrap();
    let mut takers: Vec<Arc<dyn IntakeRecords>> = Vec::new();
    for _ in 0..3 {
        let sealer = Arc::new(Sealer::open(&sealing()).unwrap());
        takers.push(Arc::new(Database::open(&settings(directory.path()).url, sealer).await.unwrap()));
    }
    each_tenant_is_taken_once(takers, &Client(directory.path().join("t.db")), 60).await;
}

#[tokio::test]
async fn nothing_of_the_token_stays_in_the_files_in_plain() {
    let (store, client, directory) = open().await;
    let mut changes = store.changes();
    for number in 0..3 {
        let tenant = format!("Cust{number}");
        client.hand_in(&tenant, "Canary-8k8Q7DmBgo").await;
        client.hand_in("Canary-8k8Q7DmBgo", &tenant).await;
        assert_eq!(changes.recv().await.unwrap(), named(&tenant));
    }
    while client.waiting().await > 0 {}
    // The last look's checkpoint may not be done when its changes are seen.
    store.close().await;
    let store = Store::open(&settings(directory.path()), Arc::new(ManualClock::new(at(0)))).await.unwrap();
    assert_eq!(
        store.tenants.find(named("Cust2")).await.unwrap().unwrap().system_user_token,
        token("Canary-8k8Q7DmBgo")
    );
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap().path();
        let content = std::fs::read(&file).unwrap();
        assert!(!content.windows(6).any(|window| window == b"Canary"), "{}", file.display());
    }
}

#[tokio::test]
async fn the_write_ahead_log_is_emptied_once_a_tenant_is_taken() {
    let directory = TempDir::new().unwrap();
    let sealer = Arc::new(Sealer::open(&sealing()).unwrap());
    let database = Database::open(&settings(directory.path()).url, sealer).await.unwrap();
    let client = Client(directory.path().join("t.db"));
    client.hand_in("Cust1", "Canary-8k8Q7DmBgo").await;
    let log = directory.path().join("t.db-wal");
    assert!(std::fs::read(&log).unwrap().windows(6).any(|window| window == b"Canary"));
    let verdicts = database.take_handed_in(&|_| Ok(named("Cust1")), 20, at(0)).await.unwrap();
    assert_eq!(verdicts, [Ok(named("Cust1"))]);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    let content = std::fs::read(directory.path().join("t.db")).unwrap();
    assert!(!content.windows(6).any(|window| window == b"Canary"));
}

#[tokio::test]
async fn what_is_no_text_is_refused_and_holds_up_nothing() {
    let (store, client, _directory) = open().await;
    let mut changes = store.changes();
    for values in [
        "CAST(x'ff' AS TEXT), 'App-1'",
        "'Cust1', CAST(x'41ff' AS TEXT)",
        "'Cust2' || char(0), 'App-1'",
        "'Good1', 'App-1'",
    ] {
        let insert = format!("INSERT INTO tenant_intake (context_identifier, system_user_token) VALUES ({values})");
        sqlx::query(AssertSqlSafe(insert)).execute(&mut client.connect().await).await.unwrap();
    }
    assert_eq!(changes.recv().await.unwrap(), named("Good1"));
    let names: Vec<_> = client.refusals().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [None, Some("Cust1".to_owned()), None]);
}

#[tokio::test]
async fn refusals_are_bounded() {
    let directory = TempDir::new().unwrap();
    let sealer = Arc::new(Sealer::open(&sealing()).unwrap());
    let database = Database::open(&settings(directory.path()).url, sealer).await.unwrap();
    let client = Client(directory.path().join("t.db"));
    let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000) \
                INSERT INTO tenant_refusals (request, reason, submit_time, refuse_time) SELECT n, '', '', '' FROM numbers";
    sqlx::query(fill).execute(&mut client.connect().await).await.unwrap();
    client.hand_in("Cust1", "Canary-8k8Q7DmBgo").await;
    let refuse = |_: &_| Err(crate::store::intake::Refusal { context_identifier: None, reason: "new".to_owned() });
    database.take_handed_in(&refuse, 20, at(0)).await.unwrap();
    let refusals = client.refusals().await;
    assert_eq!(refusals.len(), 10_000);
    assert!(refusals.iter().any(|(_, reason)| reason == "new"), "the oldest go");
}
