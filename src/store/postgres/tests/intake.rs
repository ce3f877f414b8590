//! Tenants that an operator hands in through `ticketd_register_tenant`, as a role that can do nothing else.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use super::cluster::{as_user, is_installed, missing, must};
use super::pgbouncer_server::PgBouncer;
use super::{Cluster, name_of, open_database, settings};
use crate::clock::{ManualClock, SystemClock};
use crate::store::Store;
use crate::store::contract::intake::{Operator, each_tenant_is_taken_once, intake_contract};
use crate::store::contract::{at, named, token};
use crate::store::intake::IntakeRecords;

/// Who may hand in tenants and read what was refused.
struct Registrar {
    cluster: &'static Cluster,
    database: String,
    role: String,
}

impl Registrar {
    /// A role as docs/postgres.md makes it.
    async fn new(cluster: &'static Cluster, url: &str) -> Self {
        let database = name_of(url).to_owned();
        let role = format!("registrar_of_{database}");
        let statements = format!(
            "CREATE ROLE {role} LOGIN; GRANT EXECUTE ON FUNCTION ticketd_register_tenant TO {role}; \
             GRANT SELECT ON tenant_refusals TO {role}"
        );
        cluster.execute(&database, &statements).await;
        Self { cluster, database, role }
    }

    async fn connect(&self, role: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.cluster.port);
        options.username(role).database(&self.database).connect().await.unwrap()
    }
}

#[async_trait]
impl Operator for Registrar {
    async fn hand_in(&self, context_identifier: &str, system_user_token: &str) {
        let mut connection = self.connect(&self.role).await;
        let request: i64 = sqlx::query_scalar("SELECT ticketd_register_tenant($1, $2)")
            .bind(context_identifier)
            .bind(system_user_token)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert!(request > 0);
        connection.close().await.unwrap();
    }

    async fn refusals(&self) -> Vec<(Option<String>, String)> {
        let refusals = "SELECT context_identifier, reason FROM tenant_refusals ORDER BY request";
        sqlx::query_as(refusals).fetch_all(&mut self.connect(&self.role).await).await.unwrap()
    }

    async fn waiting(&self) -> i64 {
        let mut connection = self.connect("postgres").await;
        let waiting =
            sqlx::query_scalar("SELECT count(*) FROM tenant_intake").fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        waiting
    }
}

async fn open() -> Option<(Store, Registrar, ())> {
    let cluster = Cluster::shared()?;
    let url = cluster.create_database().await;
    let mut settings = settings(&url);
    settings.postgres.session_url = Some(url.clone());
    // Its clock stands still: all is heard, nothing found by looking.
    let store = Store::open(&settings, Arc::new(ManualClock::new(at(0)))).await.unwrap();
    Some((store, Registrar::new(cluster, &url).await, ()))
}

intake_contract!(open);

mod through_pgbouncer {
    use super::*;

    async fn open() -> Option<(Store, Registrar, PgBouncer)> {
        let cluster = Cluster::shared()?;
        let bouncer = PgBouncer::start(cluster)?;
        let url = cluster.create_database().await;
        let mut settings = settings(&bouncer.through(&url));
        settings.postgres.session_url = Some(url.clone());
        let store = Store::open(&settings, Arc::new(ManualClock::new(at(0)))).await.unwrap();
        Some((store, Registrar::new(cluster, &url).await, bouncer))
    }

    intake_contract!(open);
}

#[tokio::test]
async fn of_several_processes_one_takes_a_tenant() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let mut takers: Vec<Arc<dyn IntakeRecords>> = Vec::new();
    for _ in 0..3 {
        takers.push(Arc::new(open_database(&settings(&url)).await.unwrap()));
    }
    each_tenant_is_taken_once(takers, &Registrar::new(cluster, &url).await, 60).await;
}

#[tokio::test]
async fn without_a_session_it_is_found_by_looking() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let clock = ManualClock::new(at(0));
    let store = Store::open(&settings(&url), Arc::new(clock.clone())).await.unwrap();
    let mut changes = store.changes();
    // One of them looks for changed sealing keys.
    while clock.sleepers() < 2 {
        tokio::task::yield_now().await;
    }
    Registrar::new(cluster, &url).await.hand_in("Cust1", "App-1").await;
    clock.advance(std::time::Duration::from_secs(5));
    let heard = tokio::time::timeout(std::time::Duration::from_secs(20), changes.recv()).await;
    assert_eq!(heard.expect("it is found").unwrap(), named("Cust1"));
}

#[tokio::test]
async fn a_role_that_may_hand_in_can_read_and_write_nothing_else() {
    let Some((_store, registrar, ())) = open().await else { return };
    registrar.hand_in("Cust1", "App-1").await;
    let mut connection = registrar.connect(&registrar.role).await;
    for statement in [
        "SELECT * FROM tenants",
        "SELECT * FROM tenant_intake",
        "INSERT INTO tenant_intake (context_identifier, system_user_token) VALUES ('Cust2', 'App-2')",
        "DELETE FROM tenant_refusals",
        "SELECT * FROM shared_tickets",
        "SELECT * FROM grants",
        "SELECT * FROM tenant_revision",
        "CREATE OR REPLACE FUNCTION ticketd_register_tenant(context_identifier TEXT, system_user_token TEXT) \
         RETURNS BIGINT LANGUAGE SQL AS 'SELECT 1::bigint'",
    ] {
        let refusal = connection.execute(AssertSqlSafe(statement)).await.unwrap_err();
        let code = refusal.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{statement}: {refusal}");
    }
    // A role that nobody granted anything may not even call it.
    let nobody = format!("nobody_in_{}", registrar.database);
    registrar.cluster.execute(&registrar.database, &format!("CREATE ROLE {nobody} LOGIN")).await;
    let mut connection = registrar.connect(&nobody).await;
    let refusal = connection.execute("SELECT ticketd_register_tenant('Cust1', 'App-1')").await.unwrap_err();
    assert!(refusal.to_string().contains("permission denied for function"), "{refusal}");
}

#[tokio::test]
async fn a_callers_search_path_does_not_lead_the_function_astray() {
    let Some((store, registrar, ())) = open().await else { return };
    let mut changes = store.changes();
    let mut connection = registrar.connect(&registrar.role).await;
    // What a caller can make: temporary tables and functions, which a careless function would find first and run as its owner.
    let trap = "CREATE TEMP TABLE tenant_intake (request BIGINT, context_identifier TEXT, system_user_token TEXT); \
                CREATE FUNCTION pg_temp.spring() RETURNS TRIGGER LANGUAGE plpgsql AS \
                $$BEGIN RAISE EXCEPTION 'sprung as %', current_user; END$$; \
                CREATE TRIGGER spring BEFORE INSERT ON tenant_intake FOR EACH ROW EXECUTE FUNCTION pg_temp.spring(); \
                CREATE FUNCTION pg_temp.left(TEXT, INTEGER) RETURNS TEXT LANGUAGE SQL AS $$SELECT 'Sprung'$$; \
                SET search_path = pg_temp, public, pg_catalog";
    connection.execute(trap).await.unwrap();
    connection.execute("SELECT public.ticketd_register_tenant('Cust1', 'App-1')").await.unwrap();
    let heard = tokio::time::timeout(std::time::Duration::from_secs(20), changes.recv()).await;
    assert_eq!(heard.expect("it is found").unwrap(), named("Cust1"));
    assert_eq!(store.tenants.find(named("Cust1")).await.unwrap().unwrap().system_user_token, token("App-1"));
}

#[tokio::test]
async fn no_token_is_in_the_servers_log_and_vacuum_removes_what_is_left_of_it() {
    let Some(cluster) = Cluster::start(&["log_min_messages = info"]) else { return };
    // It lives as long as the process, like the one that tests share.
    let cluster: &'static Cluster = Box::leak(Box::new(cluster));
    let url = cluster.create_database().await;
    let database = open_database(&settings(&url)).await.unwrap();
    let registrar = Registrar::new(cluster, &url).await;
    for (name, token) in
        [("Cust1", "Canary-8k8Q7DmBgo"), ("Canary-8k8Q7DmBgo", "Cust1"), ("", &"Canary".repeat(10_000))]
    {
        registrar.hand_in(name, token).await;
    }
    let mut connection = registrar.connect(&registrar.role).await;
    connection.execute("SELECT ticketd_register_tenant(NULL, 'Canary-8k8Q7DmBgo')").await.unwrap();
    let verdicts = database.take_handed_in(&|_| Ok(named("Cust1")), 20, at(0)).await.unwrap();
    assert_eq!(verdicts.len(), 4);
    let log = std::fs::read_to_string(cluster.directory.join("log")).unwrap();
    assert!(!log.contains("Canary") && log.contains("ready to accept"), "{log}");

    let size = async || -> i64 {
        let mut connection = registrar.connect("postgres").await;
        let size = "SELECT pg_relation_size('tenant_intake')";
        sqlx::query_scalar(size).fetch_one(&mut connection).await.unwrap()
    };
    assert!(size().await > 0, "what is taken is still in the file");
    cluster.execute(&registrar.database, "VACUUM tenant_intake").await;
    assert_eq!(size().await, 0);
}

#[tokio::test]
async fn it_is_handed_in_with_psql_as_documented() {
    let Some((store, registrar, ())) = open().await else { return };
    if !is_installed("psql") {
        return missing("psql (Debian: apt-get install postgresql-client)").unwrap_or_default();
    }
    let mut changes = store.changes();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cust12345.token");
    std::fs::write(&file, "O'Hara App-8k8Q7DmBgo\n").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script =
        format!("\\set token `cat {}`\nSELECT ticketd_register_tenant('Cust12345', :'token');\n", file.display());
    let psql = r#"printf %s "$1" | psql -q -v ON_ERROR_STOP=1 "$0""#;
    let url = registrar.cluster.url(&registrar.database).replace("postgres@", &format!("{}@", registrar.role));
    must(as_user("sh").args(["-c", psql]).args([url, script]));
    let heard = tokio::time::timeout(std::time::Duration::from_secs(20), changes.recv()).await;
    assert_eq!(heard.expect("it is found").unwrap(), named("Cust12345"));
    let tenant = store.tenants.find(named("Cust12345")).await.unwrap().unwrap();
    assert_eq!(tenant.system_user_token, token("O'Hara App-8k8Q7DmBgo"));
}

#[tokio::test]
async fn who_may_not_read_the_intake_hears_of_changes_all_the_same() {
    let Some((store, registrar, ())) = open().await else { return };
    drop(store);
    let role = format!("former_{}", registrar.database);
    // Its rights are those of before the intake's layout.
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; \
         REVOKE ALL ON tenant_intake, tenant_refusals FROM {role}"
    );
    registrar.cluster.execute(&registrar.database, &grant).await;
    let url = registrar.cluster.url(&registrar.database).replace("postgres@", &format!("{role}@"));
    let mut listening = settings(&url);
    listening.postgres.session_url = Some(url.clone());
    let store = Store::open(&listening, Arc::new(SystemClock)).await.unwrap();
    let mut changes = store.changes();
    let other = super::open(&registrar.cluster.url(&registrar.database)).await;
    other.tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    let heard = tokio::time::timeout(std::time::Duration::from_secs(20), changes.recv()).await;
    assert_eq!(heard.expect("it is heard of").unwrap(), named("Cust1"));
}
