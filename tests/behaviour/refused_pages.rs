//! What the pages say when ticketd itself cannot go on.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use crate::visitor::{Answer, PUBLIC_URL, Visitor, target};
use crate::world::{World, within};

const NEWCOMER: &str = "Cust777";
const ADMINISTRATOR: &str = "admin@cust777.example.com";

async fn world() -> World {
    let world = World::builder().pages(PUBLIC_URL).start().await;
    world.sandbox.add_tenant(NEWCOMER);
    world
}

async fn database(world: &World) -> SqliteConnection {
    let url = world.config().store.url;
    let file = url.strip_prefix("sqlite://").unwrap();
    SqliteConnectOptions::new().filename(file).connect().await.unwrap()
}

fn assert_is_page(answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.reason()), (status, Some(reason)), "{}", answer.body);
    assert!(answer.body.contains("What to do next") && answer.body.contains("lang=\"en\""), "{}", answer.body);
    assert_eq!(status == 503, answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!((answer.header("location"), answer.header("set-cookie")), (None, None));
    for detail in ["sqlite", "ticketd.db", "directory", "/tmp"] {
        assert!(!answer.body.contains(detail), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_tenant_whose_token_is_in_a_file_is_not_changed() {
    let mount = TempDir::new().unwrap();
    let path = mount.path().to_owned();
    let builder = World::builder().pages(PUBLIC_URL);
    let world = builder.config(move |config| config.store.tenants_directory = Some(path.clone())).start().await;
    let current = world.sandbox.add_tenant(NEWCOMER).system_user_token;
    for (content, expected) in [("Another App-0000000000", None), (&*current, Some(303))] {
        std::fs::write(mount.path().join(NEWCOMER), content).unwrap();
        let mut visitor = Visitor::default();
        let begun = visitor.begin(&world, "").await;
        let redirect = target(&world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap());
        let answer = visitor.get(&world, &redirect).await;
        match expected {
            None => assert_is_page(&answer, 409, "TENANT_READ_ONLY"),
            Some(status) => assert_eq!(answer.status, status, "{}", answer.body),
        }
        assert_eq!(std::fs::read_to_string(mount.path().join(NEWCOMER)).unwrap(), content);
    }
}

#[tokio::test]
async fn when_ten_thousand_wait_nobody_else_begins_and_those_go_on() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, "").await;
    let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9999) \
                INSERT INTO pending_sign_ins SELECT CAST(printf('%032d', n) AS BLOB), NULL, '', x'', x'', NULL, NULL, \
                (SELECT max(expire_time) FROM pending_sign_ins) FROM numbers";
    let mut database = database(&world).await;
    sqlx::query(fill).execute(&mut database).await.unwrap();
    assert_is_page(&Visitor::default().post(&world, "").await, 503, "TOO_MANY_SIGN_INS");
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap());
    assert_eq!(visitor.get(&world, &redirect).await.status, 303);
    Visitor::default().begin(&world, "").await;
    database.close().await.unwrap();
}

#[tokio::test]
async fn while_the_store_takes_nothing_a_sign_in_waits() {
    let world = world().await;
    let mut visitor = Visitor::default();
    let begun = visitor.begin(&world, "").await;
    let redirect = target(&world.sandbox.approve(&begun.authorization_url, ADMINISTRATOR).unwrap());
    let mut database = database(&world).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    let mut stranger = Visitor::default();
    let (finish, start) =
        within(async { tokio::join!(visitor.get(&world, &redirect), stranger.post(&world, "")) }).await;
    assert_is_page(&finish, 503, "STORE_UNAVAILABLE");
    assert_is_page(&start, 503, "STORE_UNAVAILABLE");
    sqlx::raw_sql("ROLLBACK").execute(&mut database).await.unwrap();
    assert_eq!(visitor.get(&world, &redirect).await.status, 303, "nothing is used up");
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_link_says_nothing_that_cannot_be_a_users_name() {
    let world = world().await;
    for hint in ["x".repeat(321), "%E2%80%AEmoc.live%40nimda".to_owned(), "a%E2%80%8Bb".to_owned()] {
        let page = Visitor::default().get(&world, &format!("/onboarding/start?login_hint={hint}")).await;
        assert_is_page(&page, 400, "REQUEST_MALFORMED");
        assert_is_page(&Visitor::default().post(&world, &format!("login_hint={hint}")).await, 400, "REQUEST_MALFORMED");
    }
    let page = Visitor::default().get(&world, &format!("/onboarding/start?login_hint={}", "x".repeat(320))).await;
    assert_eq!(page.status, 200);
}
