use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::ManualClock;
use crate::identifiers::{ApplicationId, Environment};
use crate::store::{Sealing, Settings, Store};

const USER: &str = "Me@example.com";

/// A store that does not take new refresh tokens for a while, and whose answers may be late.
#[derive(Debug)]
struct Failing {
    grants: Arc<dyn Grants>,
    failures: Arc<AtomicU32>,
    reads: Arc<AtomicU32>,
    /// While it is held, what was read is on its way.
    answers: Arc<Semaphore>,
}

#[async_trait]
impl Grants for Failing {
    async fn find(&self, tenant: ContextIdentifier, user: &str) -> Result<Option<Grant>, StoreError> {
        let found = self.grants.find(tenant, user).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
        let _answered = self.answers.acquire().await.unwrap();
        found
    }

    async fn list(&self, tenant: ContextIdentifier, after: Option<&str>, limit: u32) -> Result<Vec<Grant>, StoreError> {
        self.grants.list(tenant, after, limit).await
    }

    async fn put(&self, grant: &Grant) -> Result<(), StoreError> {
        self.grants.put(grant).await
    }

    async fn replace(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        expected: &RefreshToken,
        new: &RefreshToken,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(StoreError::Busy { path: PathBuf::from("t.db") });
        }
        self.grants.replace(tenant, user, expected, new, now).await
    }

    async fn remove_refused(
        &self,
        tenant: ContextIdentifier,
        user: &str,
        expected: &RefreshToken,
    ) -> Result<bool, StoreError> {
        self.grants.remove_refused(tenant, user, expected).await
    }

    async fn delete(&self, tenant: ContextIdentifier, user: &str) -> Result<bool, StoreError> {
        self.grants.delete(tenant, user).await
    }
}

struct Scene {
    kept: KeptGrants,
    failures: Arc<AtomicU32>,
    reads: Arc<AtomicU32>,
    answers: Arc<Semaphore>,
    store: Store,
    clock: ManualClock,
    _directory: TempDir,
}

impl Scene {
    /// With a grant whose refresh token is `r0`.
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite://{}/t.db", directory.path().display());
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        // The store's own watch sleeps by another clock, so that every sleeper of this one is ours.
        let sealing = Sealing {
            key_files: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key").into()],
            environment: Environment::Sod,
            application: ApplicationId::new("app"),
        };
        let postgres = crate::store::PostgresSettings::default();
        let settings = Settings { url, tenants_directory: None, postgres, sealing };
        let store = Store::open(&settings, Arc::new(crate::clock::SystemClock)).await.unwrap();
        let failures = Arc::new(AtomicU32::new(0));
        let (reads, answers) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(1)));
        let failing = Failing {
            grants: Arc::clone(&store.grants),
            failures: Arc::clone(&failures),
            reads: Arc::clone(&reads),
            answers: Arc::clone(&answers),
        };
        let kept = KeptGrants::new(Arc::new(failing), Arc::new(clock.clone()));
        let scene = Self { kept, failures, reads, answers, store, clock, _directory: directory };
        scene.sign_in("r0").await;
        scene
    }

    async fn sign_in(&self, refresh_token: &str) {
        let grant = Grant {
            context_identifier: tenant(),
            user: USER.to_owned(),
            refresh_token: RefreshToken::new(refresh_token),
            associate_id: None,
            create_time: Timestamp::UNIX_EPOCH,
            update_time: Timestamp::UNIX_EPOCH,
        };
        self.kept.put(&grant).await.unwrap();
    }

    async fn found(&self) -> UsableGrant {
        self.kept.find(tenant(), "me@EXAMPLE.com").await.unwrap().unwrap()
    }

    async fn usable(&self) -> String {
        self.found().await.refresh_token.expose().to_owned()
    }

    async fn stored(&self) -> String {
        let grant = self.store.grants.find(tenant(), USER).await.unwrap().unwrap();
        grant.refresh_token.expose().to_owned()
    }

    async fn rotate(&self, new: &str) {
        let grant = self.found().await;
        self.kept.rotate(&grant, RefreshToken::new(new)).await;
    }

    fn is_nothing_unsaved(&self) -> bool {
        self.kept.0.unsaved().is_empty()
    }

    /// Lets time pass until the store has the token.
    async fn until_stored(&self, token: &str) {
        while self.stored().await != token {
            self.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    }
}

fn tenant() -> ContextIdentifier {
    "Cust1".parse().unwrap()
}

#[tokio::test]
async fn a_new_refresh_token_is_stored_at_once() {
    let scene = Scene::new().await;
    scene.rotate("r1").await;
    assert_eq!((scene.stored().await.as_str(), scene.usable().await.as_str()), ("r1", "r1"));
    assert!(scene.is_nothing_unsaved());
}

#[tokio::test]
async fn what_the_store_does_not_take_is_used_from_memory_and_stored_when_it_does() {
    let scene = Scene::new().await;
    scene.failures.store(3, Ordering::SeqCst);
    scene.rotate("r1").await;
    assert_eq!((scene.stored().await.as_str(), scene.usable().await.as_str()), ("r0", "r1"));
    scene.until_stored("r1").await;
    while !scene.is_nothing_unsaved() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.failures.load(Ordering::SeqCst), 0, "it was tried until the store took it");
}

#[tokio::test]
async fn of_several_that_the_store_did_not_take_the_last_is_stored() {
    let scene = Scene::new().await;
    scene.failures.store(2, Ordering::SeqCst);
    scene.rotate("r1").await;
    scene.rotate("r2").await;
    assert_eq!((scene.stored().await.as_str(), scene.usable().await.as_str()), ("r0", "r2"));
    scene.until_stored("r2").await;
}

#[tokio::test]
async fn a_token_that_was_stored_late_is_still_replaced_by_the_next() {
    let scene = Scene::new().await;
    scene.failures.store(1, Ordering::SeqCst);
    scene.rotate("r1").await;
    // It is on its way to SuperOffice when the store takes what it is.
    let in_flight = scene.found().await;
    scene.until_stored("r1").await;
    scene.kept.rotate(&in_flight, RefreshToken::new("r2")).await;
    assert_eq!(scene.stored().await, "r2");
}

#[tokio::test]
async fn an_answer_that_comes_late_forgets_no_newer_token() {
    let scene = Scene::new().await;
    let held = scene.answers.acquire().await.unwrap();
    let kept = scene.kept.clone();
    let late = tokio::spawn(async move { kept.find(tenant(), USER).await.map(drop) });
    while scene.reads.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for (old, new, failures) in [("r0", "r1", 0), ("r1", "r2", 1)] {
        scene.failures.store(failures, Ordering::SeqCst);
        let [stored, refresh_token] = [old, old].map(RefreshToken::new);
        let grant = UsableGrant { tenant: tenant(), user: USER.to_owned(), stored, refresh_token };
        scene.kept.rotate(&grant, RefreshToken::new(new)).await;
    }
    drop(held);
    late.await.unwrap().unwrap();
    assert_eq!((scene.stored().await.as_str(), scene.usable().await.as_str()), ("r1", "r2"));
    scene.until_stored("r2").await;
}

#[tokio::test]
async fn a_newer_sign_in_wins_over_what_is_in_memory() {
    let scene = Scene::new().await;
    scene.failures.store(2, Ordering::SeqCst);
    scene.rotate("r1").await;
    scene.sign_in("s1").await;
    assert_eq!(scene.usable().await, "s1");
    scene.clock.advance(Duration::from_mins(5));
    scene.rotate("s2").await;
    scene.until_stored("s2").await;
}

#[tokio::test]
async fn a_refused_token_takes_the_grant_along_and_a_newer_one_stays() {
    let scene = Scene::new().await;
    let refused = scene.found().await;
    scene.sign_in("s1").await;
    assert!(!scene.kept.remove_refused(&refused).await.unwrap(), "another one is kept by now");
    scene.failures.store(1, Ordering::SeqCst);
    scene.rotate("s2").await;
    let refused = scene.found().await;
    assert!(scene.kept.remove_refused(&refused).await.unwrap());
    assert!(scene.kept.find(tenant(), USER).await.unwrap().is_none());
    assert!(scene.is_nothing_unsaved());
}

#[tokio::test]
async fn no_output_has_a_secret() {
    let scene = Scene::new().await;
    scene.failures.store(1, Ordering::SeqCst);
    scene.rotate("canary-3f9a61c2").await;
    let shown = format!("{:?} {:?}", scene.kept, scene.found().await);
    assert!(shown.contains("redacted") && !shown.contains("3f9a"), "{shown}");
}
