//! What is in the file is sealed, stays where it is, and follows its keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::Database;
use crate::clock::{ManualClock, SystemClock};
use crate::crypto::{SealingKey, SecretHash};
use crate::identifiers::{ApplicationId, CodeVerifier, Environment, Nonce, RefreshToken};
use crate::store::contract::sign_ins::pending;
use crate::store::contract::{at, named, sealing, token};
use crate::store::engine::{Engine, TenantRecords};
use crate::store::sealer::Sealer;
use crate::store::{Grant, PendingSignIn, PostgresSettings, Resealed, Sealing, Settings, Store, StoreError};

const CANARY: &str = "Canary App-8k8Q7DmBgo";

struct Fixture(TempDir);

impl Fixture {
    fn new() -> Self {
        let fixture = Self(TempDir::new().unwrap());
        for name in ["old", "new"] {
            std::fs::write(fixture.path(name), SealingKey::random().unwrap().to_text().as_bytes()).unwrap();
        }
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sealing(&self, keys: &[&str]) -> Sealing {
        Sealing { key_files: keys.iter().map(|name| self.path(name)).collect(), ..sealing() }
    }

    async fn open(&self, sealing: Sealing) -> Result<Store, StoreError> {
        Store::open(&settings(self.0.path(), sealing), Arc::new(SystemClock)).await
    }

    async fn fill_grant(&self, keys: &[&str]) {
        let store = self.open(self.sealing(keys)).await.unwrap();
        store.grants.put(&grant("admin@example.com")).await.unwrap();
        store.close().await;
    }

    /// The database beside the store, to change what is in it.
    async fn database(&self, key: &str) -> Database {
        let url = format!("sqlite://{}", self.path("t.db").display());
        Database::open(&url, Arc::new(Sealer::open(&self.sealing(&[key])).unwrap())).await.unwrap()
    }

    /// Registers the tenants and closes the store.
    async fn fill(&self, keys: &[&str], tenants: &[&str]) {
        let store = self.open(self.sealing(keys)).await.unwrap();
        for name in tenants {
            store.tenants.put(named(name), token(CANARY), false, at(0)).await.unwrap();
        }
        store.close().await;
    }
}

fn settings(directory: &Path, sealing: Sealing) -> Settings {
    Settings {
        url: format!("sqlite://{}/t.db", directory.display()),
        tenants_directory: None,
        postgres: PostgresSettings::default(),
        sealing,
    }
}

fn grant(user: &str) -> Grant {
    Grant {
        context_identifier: named("Cust1"),
        user: user.to_owned(),
        refresh_token: RefreshToken::new(CANARY),
        associate_id: None,
        create_time: at(0),
        update_time: at(0),
    }
}

async fn reseal(store: &Store) -> (usize, Vec<String>) {
    let (mut done, mut unreadable) = (0, Vec::new());
    let tell = |outcome| match outcome {
        Resealed::Done => done += 1,
        Resealed::Unreadable { record, problem } => unreadable.push(format!("{record}: {problem}")),
    };
    store.reseal(tell).await.unwrap();
    (done, unreadable)
}

async fn assert_is_there(store: &Store, name: &str) {
    let found = store.tenants.find(named(name)).await.unwrap().unwrap();
    assert_eq!(found.system_user_token.expose(), CANARY, "{name}");
}

#[tokio::test]
async fn no_file_of_the_database_holds_a_secret() {
    let fixture = Fixture::new();
    let store = fixture.open(fixture.sealing(&["old"])).await.unwrap();
    store.tenants.put(named("Cust1"), token(CANARY), false, at(0)).await.unwrap();
    store.grants.put(&grant("admin@example.com")).await.unwrap();
    let sign_in = PendingSignIn { nonce: Nonce::new(CANARY), code_verifier: CodeVerifier::new(CANARY), ..pending(9) };
    store.sign_ins.add(SecretHash::of("state"), &sign_in, at(0)).await.unwrap();
    // The write-ahead log while it is open, the database afterwards.
    for close in [false, true] {
        if close {
            store.close().await;
        }
        let mut bytes = 0;
        for entry in std::fs::read_dir(fixture.0.path()).unwrap() {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            bytes += content.len();
            for piece in CANARY.as_bytes().windows(8) {
                assert!(!content.windows(8).any(|window| window == piece));
            }
        }
        assert!(bytes > 4096);
    }
}

#[tokio::test]
async fn what_is_moved_or_changed_is_refused() {
    let fixture = Fixture::new();
    fixture.fill(&["old"], &["Cust1", "Cust2"]).await;
    let sealer = |sealing| Arc::new(Sealer::open(&sealing).unwrap());
    let url = settings(fixture.0.path(), sealing()).url;
    let database = Database::open(&url, sealer(fixture.sealing(&["old"]))).await.unwrap();
    let swap = "WITH before AS MATERIALIZED (SELECT tenant, system_user_token FROM tenants) \
                UPDATE tenants SET system_user_token = \
                (SELECT system_user_token FROM before WHERE before.tenant <> tenants.tenant)";
    let refused = async |database: &Database, name: &str| {
        let refusal = database.find(named(name)).await.unwrap_err();
        assert!(matches!(refusal, StoreError::BadRecord { .. }), "{refusal:?}");
        assert!(!refusal.to_string().contains("Canary"), "{refusal}");
    };
    sqlx::query(swap).execute(&database.writer).await.unwrap();
    refused(&database, "Cust1").await;
    refused(&database, "Cust2").await;
    // Swapped back they are good again: it was the place that was wrong.
    sqlx::query(swap).execute(&database.writer).await.unwrap();
    assert!(database.find(named("Cust1")).await.unwrap().is_some());
    // A plain token is none that we put there.
    let plain = "UPDATE tenants SET system_user_token = CAST('Canary App-1' AS BLOB) WHERE tenant = 'cust2'";
    sqlx::query(plain).execute(&database.writer).await.unwrap();
    refused(&database, "Cust2").await;
    database.close().await;

    // Another environment's or application's process cannot read it.
    let other_environment = Sealing { environment: Environment::Online, ..fixture.sealing(&["old"]) };
    let other_application = Sealing { application: ApplicationId::new("other"), ..fixture.sealing(&["old"]) };
    for sealing in [other_environment, other_application] {
        let database = Database::open(&url, sealer(sealing)).await.unwrap();
        refused(&database, "Cust1").await;
        database.close().await;
    }
}

#[tokio::test]
async fn a_grant_that_is_moved_with_its_name_to_another_user_is_refused() {
    let fixture = Fixture::new();
    let store = fixture.open(fixture.sealing(&["old"])).await.unwrap();
    for user in ["Admin@example.com", "user@example.com"] {
        store.grants.put(&grant(user)).await.unwrap();
    }
    let copy = "UPDATE grants SET (name, refresh_token) = \
                (SELECT name, refresh_token FROM grants WHERE user = 'admin@example.com') \
                WHERE user = 'user@example.com'";
    sqlx::query(copy).execute(&fixture.database("old").await.writer).await.unwrap();
    let refusal = store.grants.find(named("Cust1"), "user@example.com").await.unwrap_err();
    assert!(matches!(refusal, StoreError::BadGrant { .. }), "{refusal:?}");
    let listed = store.grants.list(named("Cust1"), None, 10).await.unwrap();
    assert_eq!(listed, [grant("Admin@example.com")]);
}

#[tokio::test]
async fn a_list_of_grants_goes_on_past_those_that_cannot_be_used() {
    let fixture = Fixture::new();
    let store = fixture.open(fixture.sealing(&["old"])).await.unwrap();
    for user in ["a", "b", "c", "d", "e", "f", "g"] {
        store.grants.put(&grant(user)).await.unwrap();
    }
    let damage = "UPDATE grants SET refresh_token = x'01' WHERE user IN ('a', 'b', 'c', 'e', 'g')";
    sqlx::query(damage).execute(&fixture.database("old").await.writer).await.unwrap();
    for (limit, expected) in [(0, vec![]), (1, vec![grant("d")]), (2, vec![grant("d"), grant("f")])] {
        assert_eq!(store.grants.list(named("Cust1"), None, limit).await.unwrap(), expected, "{limit}");
    }
    assert_eq!(store.grants.list(named("Cust1"), None, 3).await.unwrap(), [grant("d"), grant("f")]);
    assert_eq!(store.grants.list(named("Cust1"), Some("d"), 1).await.unwrap(), [grant("f")]);
}

#[tokio::test]
async fn a_store_does_not_open_without_a_key_it_needs() {
    let fixture = Fixture::new();
    fixture.fill(&["old"], &["Cust1"]).await;
    let refusal = fixture.open(fixture.sealing(&["new"])).await.unwrap_err();
    let StoreError::SealingKeyAbsent { id } = refusal else { panic!("{refusal:?}") };
    let old = SealingKey::read(&std::fs::read(fixture.path("old")).unwrap()).unwrap();
    assert_eq!(id, old.id());
    assert_is_there(&fixture.open(fixture.sealing(&["new", "old"])).await.unwrap(), "Cust1").await;

    std::fs::write(fixture.path("garbage"), "garbage").unwrap();
    for keys in [["garbage", "old"], ["old", "missing"]] {
        let refusal = fixture.open(fixture.sealing(&keys)).await.unwrap_err();
        assert!(matches!(refusal, StoreError::SealingKeyFile { .. }), "{refusal:?}");
    }
    let twice = fixture.open(fixture.sealing(&["old", "old"])).await.unwrap_err();
    assert!(matches!(twice, StoreError::SealingKeyTwice { .. }), "{twice:?}");
    let none = fixture.open(fixture.sealing(&[])).await.unwrap_err();
    assert!(matches!(none, StoreError::NoSealingKey), "{none:?}");
}

#[tokio::test]
async fn resealing_frees_the_old_key_and_leaves_alone_what_it_cannot_open() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..250).map(|number| format!("Cust{number}")).collect();
    fixture.fill(&["old"], &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let store = fixture.open(fixture.sealing(&["new", "old"])).await.unwrap();
    assert_eq!(store.count_to_reseal().await.unwrap(), 250);
    fixture.fill_grant(&["old", "new"]).await;
    assert_eq!(store.count_to_reseal().await.unwrap(), 251);
    let database = fixture.database("new").await;
    // One in the middle of a step, one at an end.
    for damaged in ["cust120", "cust99"] {
        let damage =
            "UPDATE tenants SET system_user_token = CAST(system_user_token || x'00' AS BLOB) WHERE tenant = $1";
        sqlx::query(damage).bind(damaged).execute(&database.writer).await.unwrap();
    }
    let (done, unreadable) = reseal(&store).await;
    assert_eq!((done, unreadable.len()), (249, 2), "{unreadable:?}");
    assert!(unreadable[0].starts_with("tenants.system_user_token of cust120: "), "{unreadable:?}");
    assert_eq!(reseal(&store).await.0, 0, "what is done is done");
    for damaged in ["Cust120", "Cust99"] {
        store.tenants.put(named(damaged), token(CANARY), false, at(1)).await.unwrap();
    }
    assert_eq!(store.count_to_reseal().await.unwrap(), 0);
    store.close().await;

    let store = fixture.open(fixture.sealing(&["new"])).await.unwrap();
    for name in &names {
        assert_is_there(&store, name).await;
    }
    let found = store.grants.find(named("Cust1"), "ADMIN@example.com").await.unwrap().unwrap();
    assert_eq!(found.refresh_token.expose(), CANARY);
}

#[tokio::test]
async fn changed_key_files_are_used_without_a_restart_unless_a_needed_key_is_gone() {
    let fixture = Fixture::new();
    fixture.fill(&["old"], &["Cust1"]).await;
    let [old, new] = ["old", "new"].map(|name| std::fs::read(fixture.path(name)).unwrap());
    let clock = ManualClock::new(at(0));
    let settings = settings(fixture.0.path(), fixture.sealing(&["old", "new"]));
    let store = Store::open(&settings, Arc::new(clock.clone())).await.unwrap();
    let look = async || {
        // Once until it sleeps, and once until it sleeps again.
        for wait in [Duration::from_secs(10), Duration::ZERO] {
            while clock.sleepers() < 2 {
                tokio::task::yield_now().await;
            }
            clock.advance(wait);
        }
    };
    // Without the old key nothing changes: a tenant needs it.
    std::fs::write(fixture.path("old"), &new).unwrap();
    look().await;
    assert_is_there(&store, "Cust1").await;
    assert_eq!(store.count_to_reseal().await.unwrap(), 0);
    // Then the two change places, as when a key is rotated.
    std::fs::write(fixture.path("new"), &old).unwrap();
    while store.count_to_reseal().await.unwrap() == 0 {
        look().await;
    }
    assert_eq!(reseal(&store).await, (1, vec![]));
    assert_is_there(&store, "Cust1").await;
}
