use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::contract::{at, contract, locate, named, pin, sealing, token};
use super::*;
use crate::clock::{ManualClock, Sleep};

/// A store with an empty directory beside its database.
struct Fixture {
    store: Store,
    clock: ManualClock,
    root: TempDir,
}

impl Fixture {
    async fn open() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("tenants")).unwrap();
        let clock = ManualClock::new(at(0));
        let store = Store::open(&settings(root.path()), Arc::new(clock.clone())).await.unwrap();
        Self { store, clock, root }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.root.path().join("tenants").join(name), content).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.root.path().join("tenants").join(name)).unwrap();
    }

    /// Lets one second pass, and waits until what it starts is done.
    async fn look(&self) {
        for _ in 0..2 {
            while self.clock.sleepers() < 3 {
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_secs(1));
        }
        while self.clock.sleepers() < 3 {
            tokio::task::yield_now().await;
        }
    }
}

fn settings(root: &Path) -> Settings {
    Settings {
        url: format!("sqlite://{}/t.db", root.display()),
        tenants_directory: Some(root.join("tenants")),
        postgres: PostgresSettings::default(),
        sealing: sealing(),
    }
}

fn published(receiver: &mut Receiver<ContextIdentifier>) -> Vec<ContextIdentifier> {
    let mut all = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(context_identifier) => all.push(context_identifier),
            Err(TryRecvError::Empty) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn open_empty() -> (Arc<dyn Tenants>, Fixture) {
    let fixture = Fixture::open().await;
    (Arc::clone(&fixture.store.tenants), fixture)
}

contract!(open_empty);

#[tokio::test]
async fn the_directory_wins_and_what_is_observed_stays_in_the_database() {
    let (tenants, fixture) = open_empty().await;
    tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    pin(&*tenants, "Cust1", "1111").await;
    fixture.write("CUST1", "App-2\n");
    fixture.look().await;

    let tenant = tenants.find(named("cust1")).await.unwrap().unwrap();
    assert_eq!(tenant.context_identifier.as_str(), "CUST1");
    assert_eq!(tenant.system_user_token, token("App-2"));
    assert_eq!(tenant.source, TenantSource::Directory);
    assert_eq!((tenant.create_time, tenant.update_time), (None, None));
    assert_eq!(tenant.serial.as_deref(), Some("1111"));

    fixture.remove("CUST1");
    let tenant = tenants.find(named("cust1")).await.unwrap().unwrap();
    assert_eq!((tenant.source, tenant.system_user_token), (TenantSource::Database, token("App-1")));
}

#[tokio::test]
async fn a_new_file_hides_the_databases_tenant_from_the_next_look_on_and_no_other_waits_for_it() {
    let (tenants, fixture) = open_empty().await;
    tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    let mut changes = fixture.store.changes();
    fixture.write("Cust1", "App-2");
    fixture.write("Cust2", "App-2");
    let found = async |name| tenants.find(named(name)).await.unwrap().unwrap().system_user_token;
    assert_eq!(found("Cust2").await, token("App-2"), "the database has none of this name");
    assert_eq!(found("Cust1").await, token("App-1"));
    fixture.look().await;
    assert_eq!(found("Cust1").await, token("App-2"));
    assert!(published(&mut changes).contains(&named("Cust1")), "its ticket is dropped");
}

#[tokio::test]
async fn an_unusable_file_hides_the_databases_tenant() {
    let (tenants, fixture) = open_empty().await;
    tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    fixture.write("Cust1", "");
    fixture.look().await;
    assert!(matches!(tenants.find(named("Cust1")).await, Err(StoreError::TenantFile { .. })));
    assert_eq!(tenants.list(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_tenant_of_the_directory_is_read_only() {
    let (tenants, fixture) = open_empty().await;
    fixture.write("Cust1", "App-1");
    fixture.write("Cust2", "");
    for name in ["Cust1", "Cust2"] {
        for accept_serial in [false, true] {
            let refusal = tenants.put(named(name), token("App-2"), accept_serial, at(0)).await.unwrap_err();
            assert!(matches!(refusal, StoreError::ReadOnly { .. }), "{refusal:?}");
        }
        let refusal = tenants.delete(named(name)).await.unwrap_err();
        assert!(matches!(refusal, StoreError::ReadOnly { .. }), "{refusal:?}");
    }
    let refusal = tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::ReadOnly { .. }), "{refusal:?}");
    fixture.remove("Cust1");
    assert_eq!(tenants.find(named("Cust1")).await.unwrap(), None, "nothing was written");
}

#[tokio::test]
async fn another_serial_can_be_accepted_for_a_tenant_of_the_directory() {
    let (tenants, fixture) = open_empty().await;
    let mut changes = fixture.store.changes();
    fixture.write("Cust1", "App-1");
    assert_eq!(pin(&*tenants, "Cust1", "1111").await, "1111");
    locate(&*tenants, "Cust1", "https://sod.superoffice.com/Cust1/").await;
    assert_eq!(pin(&*tenants, "Cust1", "2222").await, "1111");
    let tenant = tenants.put(named("Cust1"), token("App-1"), true, at(0)).await.unwrap();
    assert_eq!((tenant.source, tenant.serial), (TenantSource::Directory, None));
    assert_eq!(tenant.webapi_url.as_deref(), Some("https://sod.superoffice.com/Cust1/"));
    assert_eq!(published(&mut changes), [named("Cust1")]);
    assert_eq!(pin(&*tenants, "Cust1", "2222").await, "2222");
}

#[tokio::test]
async fn the_list_merges_both_in_pages_of_any_size() {
    let (tenants, fixture) = open_empty().await;
    for name in ["a", "c", "e", "g", "i"] {
        tenants.put(named(name), token("App-1"), false, at(0)).await.unwrap();
    }
    for (name, content) in [("A", "App-2"), ("b", "App-2"), ("c", ""), ("d", "App-2"), ("h", "App-2"), ("I", "App-2")] {
        fixture.write(name, content);
    }
    fixture.look().await;
    for size in 1..12 {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = tenants.list(after, size).await.unwrap();
            names.extend(page.iter().map(|tenant| tenant.context_identifier.to_string()));
            after = page.last().map(|tenant| tenant.context_identifier);
            if page.len() < usize::try_from(size).unwrap() {
                break;
            }
        }
        assert_eq!(names, ["A", "b", "d", "e", "g", "h", "I"], "pages of {size}");
    }
}

#[tokio::test]
async fn only_what_changes_a_ticket_is_published_and_once() {
    let (tenants, fixture) = open_empty().await;
    let mut changes = fixture.store.changes();
    let put =
        async |text: &str, accept_serial| tenants.put(named("Cust1"), token(text), accept_serial, at(0)).await.unwrap();
    put("App-1", false).await;
    assert_eq!(published(&mut changes), [named("Cust1")], "new");
    put("App-1", false).await;
    put("App-1", true).await;
    pin(&*tenants, "Cust1", "1111").await;
    locate(&*tenants, "Cust1", "https://sod.superoffice.com/Cust1/").await;
    assert!(!tenants.delete(named("Cust2")).await.unwrap());
    assert_eq!(published(&mut changes), [], "the same token, and nothing pinned to forget");
    put("App-2", false).await;
    assert_eq!(published(&mut changes), [named("Cust1")], "another token");
    put("App-2", true).await;
    assert_eq!(published(&mut changes), [named("Cust1")], "the pinned serial is forgotten");
    tenants.delete(named("Cust1")).await.unwrap();
    assert_eq!(published(&mut changes), [named("Cust1")], "gone");
    fixture.look().await;
    assert_eq!(published(&mut changes), [], "the look publishes nothing a second time");
}

#[tokio::test]
async fn what_another_process_changes_is_published_by_the_next_look() {
    let (_, fixture) = open_empty().await;
    let mut changes = fixture.store.changes();
    let elsewhere = Settings { tenants_directory: None, ..settings(fixture.root.path()) };
    let other = Store::open(&elsewhere, Arc::new(ManualClock::new(at(0)))).await.unwrap();
    for number in 0..10 {
        other.tenants.put(named(&format!("Cust{number}")), token("App-1"), false, at(0)).await.unwrap();
    }
    other.tenants.delete(named("Cust3")).await.unwrap();
    other.close().await;
    assert_eq!(published(&mut changes), []);
    fixture.look().await;
    let seen = published(&mut changes);
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert_eq!(seen.last(), Some(&named("Cust3")));
    fixture.look().await;
    assert_eq!(published(&mut changes), []);
}

#[tokio::test]
async fn what_a_notice_to_another_process_changes_is_published_by_the_next_look() {
    let (_, fixture) = open_empty().await;
    let mut changes = fixture.store.changes();
    let elsewhere = Settings { tenants_directory: None, ..settings(fixture.root.path()) };
    let other = Store::open(&elsewhere, Arc::new(ManualClock::new(at(0)))).await.unwrap();
    for expected in [Seen::First, Seen::Before] {
        assert_eq!(other.notices.see([1; 32], at(600), Some(named("Cust1")), at(0)).await.unwrap(), expected);
    }
    assert_eq!(fixture.store.notices.see([1; 32], at(600), None, at(0)).await.unwrap(), Seen::Before);
    other.close().await;
    assert_eq!(published(&mut changes), []);
    fixture.look().await;
    assert_eq!(published(&mut changes), [named("Cust1")]);
}

#[tokio::test]
async fn what_changes_in_the_directory_is_published_by_the_next_look() {
    let (tenants, fixture) = open_empty().await;
    tenants.put(named("Cust1"), token("App-1"), false, at(0)).await.unwrap();
    let mut changes = fixture.store.changes();
    fixture.write("Cust1", "App-2");
    fixture.write("Cust2", "App-1");
    assert_eq!(published(&mut changes), []);
    fixture.look().await;
    let mut seen = published(&mut changes);
    seen.sort();
    assert_eq!(seen, [named("Cust1"), named("Cust2")]);
    fixture.remove("Cust1");
    fixture.look().await;
    assert_eq!(published(&mut changes), [named("Cust1")]);
    fixture.look().await;
    assert_eq!(published(&mut changes), []);
}

#[tokio::test]
async fn closing_and_dropping_end_what_runs_in_the_background() {
    let fixture = Fixture::open().await;
    while fixture.clock.sleepers() < 2 {
        tokio::task::yield_now().await;
    }
    fixture.store.close().await;
    assert_eq!(fixture.clock.sleepers(), 0);

    let fixture = Fixture::open().await;
    while fixture.clock.sleepers() < 2 {
        tokio::task::yield_now().await;
    }
    let background = fixture.store.background.clone();
    drop(fixture.store);
    background.wait().await;
    assert_eq!(fixture.clock.sleepers(), 0);
}

/// A clock at which every wait is a fault.
#[derive(Debug)]
struct BrokenClock;

impl Clock for BrokenClock {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn now(&self) -> Timestamp {
        at(0)
    }

    fn sleep(&self, _duration: Duration) -> Sleep {
        panic!("the clock is broken")
    }
}

#[tokio::test]
async fn the_end_of_a_watch_is_told() {
    let fixture = Fixture::open().await;
    fixture.look().await;
    assert!(fixture.store.watch_ended().now_or_never().is_none());
    let ended = fixture.store.watch_ended();
    fixture.store.close().await;
    ended.await;

    let root = TempDir::new().unwrap();
    let settings = Settings { tenants_directory: None, ..settings(root.path()) };
    let store = Store::open(&settings, Arc::new(BrokenClock)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), store.watch_ended()).await.expect("a panic is an end");
    store.close().await;
}

#[tokio::test]
async fn a_store_without_its_directory_does_not_open() {
    let root = TempDir::new().unwrap();
    let refusal = Store::open(&settings(root.path()), Arc::new(ManualClock::new(at(0)))).await.unwrap_err();
    assert!(matches!(refusal, StoreError::TenantsDirectory { .. }), "{refusal:?}");
}

#[tokio::test]
async fn opening_and_closing_can_be_part_of_a_spawned_task() {
    let root = TempDir::new().unwrap();
    let settings = Settings { tenants_directory: None, ..settings(root.path()) };
    let opened = tokio::spawn(async move {
        let store = Store::open(&settings, Arc::new(ManualClock::new(at(0)))).await?;
        store.close().await;
        Ok::<_, StoreError>(())
    });
    opened.await.unwrap().unwrap();
}
