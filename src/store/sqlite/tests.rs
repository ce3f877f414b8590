use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::store::contract::grants::grants_contract;
use crate::store::contract::notices::notices_contract;
use crate::store::contract::sign_ins::{owner, pending, sign_ins_contract};
use crate::store::contract::{at, contract, named, pin, sealing, token};
use crate::store::engine::{ChangeLog, TenantRecords};
use crate::store::{PostgresSettings, Seen, Settings, Store, TakenSignIn, Tenants};

async fn open_empty() -> (Arc<dyn Tenants>, (Store, TempDir)) {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    (Arc::clone(&store.tenants), (store, directory))
}

async fn open_store() -> (Store, TempDir) {
    let directory = TempDir::new().unwrap();
    (open(directory.path()).await, directory)
}

contract!(open_empty);
grants_contract!(open_store);
notices_contract!(open_store);
sign_ins_contract!(open_store);

#[tokio::test]
async fn sign_ins_that_wait_are_bounded_and_their_places_come_free() {
    let (store, directory) = open_store().await;
    let database = open_at(&url(directory.path())).await.unwrap();
    sqlx::query(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000) \
         INSERT INTO pending_sign_ins SELECT CAST(printf('%032d', n) AS BLOB), NULL, '', x'', x'', NULL, NULL, 600000 \
         FROM numbers",
    )
    .execute(&database.writer)
    .await
    .unwrap();
    let state = crate::crypto::SecretHash::of("s1");
    let refusal = store.sign_ins.add(state, &pending(900), at(599)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::TooManyPending), "{refusal:?}");
    store.sign_ins.add(state, &pending(900), at(600)).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pending_sign_ins").fetch_one(&database.readers).await.unwrap();
    assert_eq!(left, 1, "the expired ones are gone, not only hidden");
}

#[tokio::test]
async fn notices_are_bounded_and_their_places_come_free() {
    let (store, directory) = open_store().await;
    let database = open_at(&url(directory.path())).await.unwrap();
    sqlx::query(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000) \
         INSERT INTO seen_notices SELECT CAST(printf('%032d', n) AS BLOB), 600000 FROM numbers",
    )
    .execute(&database.writer)
    .await
    .unwrap();
    let mut changes = store.changes();
    let see = async |second| store.notices.see([1; 32], at(900), Some(named("Cust1")), at(second)).await.unwrap();
    assert_eq!(see(599).await, Seen::Full);
    assert!(changes.try_recv().is_err(), "what is not remembered changes nothing");
    assert_eq!(see(600).await, Seen::First);
    assert_eq!(changes.try_recv().unwrap(), named("Cust1"));
}

#[tokio::test]
async fn a_grant_or_sign_in_that_makes_no_sense_is_an_error_and_shows_no_secret() {
    let (store, directory) = open_store().await;
    let database = open_at(&url(directory.path())).await.unwrap();
    let state = crate::crypto::SecretHash::of("s1");
    store.sign_ins.add(state, &pending(600), at(0)).await.unwrap();
    for damage in [
        "UPDATE pending_sign_ins SET tenant = 'no such/../name'",
        "INSERT INTO grants VALUES ('cust1', 'a', 'a', x'ff63616e617279', NULL, '1970-01-01T00:00:00Z', '1970-01-01T00:00:00Z')",
        "INSERT INTO grants VALUES ('cust1', 'b', 'b', CAST('canary' AS BLOB), NULL, 'yesterday', 'today')",
    ] {
        sqlx::query(damage).execute(&database.writer).await.unwrap();
    }
    let refusal = store.sign_ins.take(state, owner(), at(1)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Database { .. }), "{refusal:?}");
    for user in ["a", "b"] {
        let refusal = store.grants.find(named("Cust1"), user).await.unwrap_err();
        assert!(matches!(refusal, StoreError::BadGrant { .. }), "{refusal:?}");
        assert!(!format!("{refusal} {refusal:?}").contains("canary"), "{refusal:?}");
    }
    assert_eq!(store.grants.list(named("Cust1"), None, 10).await.unwrap(), []);
    assert!(store.grants.delete(named("Cust1"), "a").await.unwrap(), "it can be deleted");
}

#[tokio::test]
async fn a_sign_in_without_an_owner_is_nobodys() {
    let (store, directory) = open_store().await;
    let database = open_at(&url(directory.path())).await.unwrap();
    let state = crate::crypto::SecretHash::of("s1");
    store.sign_ins.add(state, &pending(600), at(0)).await.unwrap();
    sqlx::query("UPDATE pending_sign_ins SET browser = NULL").execute(&database.writer).await.unwrap();
    assert_eq!(store.sign_ins.take(state, owner(), at(1)).await.unwrap(), TakenSignIn::OtherOwner);
}

#[tokio::test]
async fn a_database_of_the_first_layout_is_brought_up_to_date() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    let put = store.tenants.put(named("Cust1"), token("App-1"), false, at(5)).await.unwrap();
    let database = open_at(&url(directory.path())).await.unwrap();
    for undo in [
        "DROP INDEX tenants_sealed_with",
        "DROP TABLE pending_sign_ins",
        "DROP TABLE grants",
        "DROP TABLE seen_notices",
        "DROP TABLE tenant_intake",
        "DROP TABLE tenant_refusals",
        "DELETE FROM _sqlx_migrations WHERE version > 1",
    ] {
        sqlx::query(undo).execute(&database.writer).await.unwrap();
    }
    store.close().await;
    let store = open(directory.path()).await;
    assert_eq!(store.tenants.find(named("Cust1")).await.unwrap(), Some(put));
    assert_eq!(store.grants.find(named("Cust1"), "a").await.unwrap(), None);
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    store.tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    let modes: Vec<(String, u32)> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert!(modes.iter().any(|(name, _)| name == "t.db-wal"), "{modes:?}");
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");

    store.close().await;
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["t.db"], "a clean close leaves one file");
}

#[tokio::test]
async fn every_commit_reaches_the_disk_and_readers_cannot_write() {
    let directory = TempDir::new().unwrap();
    let database = open_at(&url(directory.path())).await.unwrap();
    for (pool, query_only) in [(&database.writer, 0), (&database.readers, 1)] {
        let pragma = async |name: &'static str| -> i64 { sqlx::query_scalar(name).fetch_one(pool).await.unwrap() };
        assert_eq!(pragma("PRAGMA synchronous").await, 2, "FULL");
        assert_eq!(pragma("PRAGMA secure_delete").await, 1);
        assert_eq!(pragma("PRAGMA busy_timeout").await, 2000);
        assert_eq!(pragma("PRAGMA query_only").await, query_only);
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
        assert_eq!(mode, "wal");
    }
}

#[tokio::test]
async fn two_hundred_writers_lose_nothing() {
    let (tenants, (store, directory)) = open_empty().await;
    let writers = (0..200).map(|writer| {
        let tenants = Arc::clone(&tenants);
        tokio::spawn(async move {
            let name = named(&format!("Cust{writer}"));
            tenants.put(name, token(&format!("App-{writer}")), false, at(writer)).await.unwrap();
            pin(&*tenants, name.as_str(), &writer.to_string()).await;
        })
    });
    for outcome in join_all(writers).await {
        outcome.unwrap();
    }
    store.close().await;

    let store = open(directory.path()).await;
    let found = store.tenants.list(None, 1000).await.unwrap();
    assert_eq!(found.len(), 200);
    for tenant in found {
        let number = tenant.serial.unwrap();
        assert_eq!(tenant.context_identifier, named(&format!("Cust{number}")));
        assert_eq!(tenant.system_user_token, token(&format!("App-{number}")));
    }
    let database = open_at(&url(directory.path())).await.unwrap();
    let check: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&database.readers).await.unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn what_was_put_survives_a_store_that_was_never_closed() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    let put = store.tenants.put(named("Cust1"), token("App-1"), false, at(5)).await.unwrap();
    drop(store);
    assert_eq!(open(directory.path()).await.tenants.find(named("Cust1")).await.unwrap(), Some(put));
}

#[tokio::test]
async fn many_processes_may_make_the_same_database_at_once() {
    let directory = TempDir::new().unwrap();
    let opened = join_all((0..16).map(|_| {
        let url = url(directory.path());
        tokio::spawn(async move { open_at(&url).await })
    }))
    .await;
    for database in opened {
        assert_eq!(database.unwrap().unwrap().revision().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (tenants, (store, _directory)) = open_empty().await;
    store.close().await;
    assert!(matches!(tenants.find(named("Cust1")).await, Err(StoreError::Closed)));
    assert!(matches!(tenants.delete(named("Cust1")).await, Err(StoreError::Closed)));
    store.close().await;
}

#[tokio::test]
async fn a_database_that_another_keeps_locked_is_busy_for_writers_only() {
    let (tenants, (_store, directory)) = open_empty().await;
    tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    let other = open_at(&url(directory.path())).await.unwrap();
    let lock = other.writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refusal = tenants.put(named("Cust1"), token("App-2"), false, at(1)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Busy { .. }) && refusal.is_transient(), "{refusal:?}");
    assert_eq!(tenants.find(named("Cust1")).await.unwrap().unwrap().system_user_token, token("App-1"));
    lock.rollback().await.unwrap();
    tenants.put(named("Cust1"), token("App-2"), false, at(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_place_for_a_database_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();

    let missing = open_at(&format!("sqlite://{}/no/t.db", path.display())).await.unwrap_err();
    assert!(matches!(missing, StoreError::Create { .. }), "{missing:?}");
    assert!(missing.to_string().contains("/no/t.db") && missing.to_string().contains("must exist"), "{missing}");

    let is_directory = open_at(&format!("sqlite://{}", path.display())).await.unwrap_err();
    assert!(matches!(is_directory, StoreError::NotAFile { .. }), "{is_directory:?}");
    let device = open_at("sqlite:///dev/null").await.unwrap_err();
    assert!(matches!(device, StoreError::NotAFile { .. }), "{device:?}");

    // Nobody, root included, can make a file here.
    let forbidden = open_at("sqlite:///sys/t.db").await.unwrap_err();
    assert!(matches!(forbidden, StoreError::Create { .. }), "{forbidden:?}");

    fs::write(path.join("text"), "this is a text, and a long one at that, ".repeat(100)).unwrap();
    let text = open_at(&format!("sqlite://{}", path.join("text").display())).await.unwrap_err();
    assert!(matches!(text, StoreError::NotADatabase { .. }), "{text:?}");
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let database = open_at(&url(directory.path())).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (7, 'later', '2030-01-01', TRUE, x'00', 1)")
        .execute(&database.writer)
        .await
        .unwrap();
    database.close().await;
    let refusal = open_at(&url(directory.path())).await.unwrap_err();
    assert!(matches!(refusal, StoreError::NewerDatabase { version: 7, known: 5, .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("newer ticketd"), "{refusal}");
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let options = SqliteConnectOptions::new().filename(directory.path().join("t.db")).create_if_missing(true);
    let other = SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("CREATE TABLE bookmarks (url TEXT)").execute(&other).await.unwrap();
    other.close().await;
    let before = fs::read(directory.path().join("t.db")).unwrap();
    let refusal = open_at(&url(directory.path())).await.unwrap_err();
    assert!(matches!(refusal, StoreError::ForeignDatabase { .. }), "{refusal:?}");
    assert_eq!(fs::read(directory.path().join("t.db")).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_database_gives_errors_and_no_panic() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    for number in 0..300 {
        store.tenants.put(named(&format!("Cust{number}")), token(&"x".repeat(500)), false, at(0)).await.unwrap();
    }
    store.close().await;
    let path = directory.path().join("t.db");
    let sound = fs::read(&path).unwrap();
    let mut damaged_once = false;
    for first_damaged in [1, 2, 3, sound.len() / 4096 / 2] {
        let mut bytes = sound.clone();
        bytes.iter_mut().skip(first_damaged * 4096).for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, &bytes).unwrap();
        match try_open(directory.path()).await {
            Err(error) => damaged_once |= matches!(error, StoreError::Damaged { .. }),
            Ok(store) => {
                let listed = store.tenants.list(None, 1000).await;
                damaged_once |= matches!(listed, Err(StoreError::Damaged { .. }));
                for number in 0..300 {
                    drop(store.tenants.find(named(&format!("Cust{number}"))).await);
                }
                store.close().await;
            }
        }
    }
    assert!(damaged_once, "damage is told by its name");
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    if let Ok(store) = try_open(directory.path()).await {
        let listed = store.tenants.list(None, 1000).await;
        assert!(matches!(listed, Err(StoreError::Damaged { .. })), "{listed:?}");
    }
}

#[tokio::test]
async fn a_record_that_makes_no_sense_is_an_error_for_one_and_left_out_of_the_list() {
    let (tenants, (_store, directory)) = open_empty().await;
    let database = open_at(&url(directory.path())).await.unwrap();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        tenants.put(named(name), token("App-1"), false, at(0)).await.unwrap();
    }
    for damage in [
        "UPDATE tenants SET system_user_token = x'ff' WHERE tenant = 'a'",
        "UPDATE tenants SET system_user_token = CAST('canary.1' AS BLOB) WHERE tenant = 'b'",
        "UPDATE tenants SET context_identifier = 'other' WHERE tenant = 'c'",
        "UPDATE tenants SET create_time = 'yesterday' WHERE tenant = 'd'",
        "UPDATE tenants SET update_time = CAST(x'ff' AS TEXT) WHERE tenant = 'e'",
        "UPDATE tenants SET tenant = 'no such/../name' WHERE tenant = 'f'",
    ] {
        sqlx::query(damage).execute(&database.writer).await.unwrap();
    }
    for name in ["a", "b", "c", "d", "e"] {
        let refusal = tenants.find(named(name)).await.unwrap_err();
        assert!(matches!(refusal, StoreError::BadRecord { .. }), "{refusal:?}");
        assert!(!format!("{refusal} {refusal:?}").contains("canary"), "{refusal:?}");
    }
    let listed = tenants.list(None, 1).await.unwrap();
    assert_eq!(listed.iter().map(|tenant| tenant.context_identifier.as_str()).collect::<Vec<_>>(), ["g"]);

    for name in ["a", "b", "c", "d", "e"] {
        let repaired = tenants.put(named(name), token("App-2"), false, at(9)).await.unwrap();
        assert_eq!((repaired.create_time, repaired.update_time), (Some(at(9)), Some(at(9))));
        assert_eq!(tenants.find(named(name)).await.unwrap(), Some(repaired));
    }
}

#[tokio::test]
async fn the_change_log_stays_within_its_bound() {
    let directory = TempDir::new().unwrap();
    let database = open_at(&url(directory.path())).await.unwrap();
    database.put(named("old"), &token("App-1"), false, at(0)).await.unwrap();
    sqlx::query("UPDATE sqlite_sequence SET seq = 100001 WHERE name = 'tenant_changes'")
        .execute(&database.writer)
        .await
        .unwrap();
    for text in ["App-1", "App-2", "App-3"] {
        database.put(named("new"), &token(text), false, at(0)).await.unwrap();
    }
    let kept = database.changes_after(0, 100).await.unwrap();
    assert_eq!(kept, [(100_004, Some(named("new")))]);
    database.put(named("new"), &token("App-3"), false, at(0)).await.unwrap();
    assert_eq!(database.revision().await.unwrap(), 100_004, "the same token is no change");
}

#[tokio::test]
async fn no_output_of_a_handle_has_a_secret() {
    let (tenants, (store, _directory)) = open_empty().await;
    let tenant = tenants.put(named("Cust1"), token("canary-8k8Q7DmBgo"), false, at(0)).await.unwrap();
    let shown = format!("{store:?} {tenants:?} {tenant:?} {:?}", tenants.list(None, 10).await);
    assert!(!shown.contains("canary"), "{shown}");
}

async fn open_at(url: &str) -> Result<Database, StoreError> {
    Database::open(url, Arc::new(Sealer::open(&sealing()).unwrap())).await
}

fn url(directory: &Path) -> String {
    format!("sqlite://{}/t.db", directory.display())
}

async fn open(directory: &Path) -> Store {
    try_open(directory).await.unwrap()
}

async fn try_open(directory: &Path) -> Result<Store, StoreError> {
    let settings = Settings {
        url: url(directory),
        tenants_directory: None,
        postgres: PostgresSettings::default(),
        sealing: sealing(),
    };
    Store::open(&settings, Arc::new(SystemClock)).await
}
