//! What operators see on the admin port.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use superoffice_sandbox::{Behaviour, Endpoint, Refusal, TenantState};
use ticketd::crypto::{KeyRing, Place, SealingKey};
use ticketd::identifiers::{ApplicationId, Environment};

use crate::cluster::Cluster;
use crate::mesh::Mesh;
use crate::visitor::{Answer, raw_at};
use crate::world::{TENANT, World, eventually, within};

/// A tenant whose administrator has withdrawn the approval.
const REVOKED: &str = "Cust20001";
/// A tenant whose API and exchange fail, and whose ticket is good yet.
const UNSTEADY: &str = "Cust20002";
const SUSPENDED: &str = "Cust20003";

const POLICY: &str =
    "{apiVersion: policy/v1, callers: [{id: spiffe://corp/sync, rpcs: [GetSystemTicket], tenants: ['*']}]}";

/// A world in which some tenants do well and some do not, three hours after its start.
pub(crate) async fn troubled() -> World {
    let world = World::builder().admin_port().start().await;
    for tenant in [REVOKED, UNSTEADY, SUSPENDED, "Cust20004"] {
        world.add_tenant(tenant).await;
    }
    world.clock.advance(Duration::from_hours(50));
    // The second call is for the ticket that is in memory: it is in use.
    for tenant in [TENANT, UNSTEADY, TENANT, UNSTEADY] {
        world.ticket(tenant).await.unwrap();
    }
    world.sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).at(Endpoint::Exchange).for_tenant(REVOKED));
    world.ticket(REVOKED).await.unwrap_err();
    world.sandbox.set_behaviour(Behaviour::Status(500).at(Endpoint::WebApi).for_tenant(UNSTEADY));
    let renewal = ticket_of(&world, UNSTEADY).await["next_renewal_time"].as_str().unwrap().to_owned();
    let first = ticket_of(&world, TENANT).await["next_renewal_time"].as_str().unwrap().to_owned();
    let due: jiff::Timestamp = renewal.max(first).parse().unwrap();
    world.clock.advance(due.duration_since(world.clock_now()).unsigned_abs() + Duration::from_secs(1));
    within(async { while tenant(&world, UNSTEADY).await["condition"] != "renewal_fails" {} }).await;
    within(async { while !is_kept_alive(&ticket_of(&world, TENANT).await) {} }).await;
    world.ticket(TENANT).await.unwrap();
    world.sandbox.set_tenant_state(SUSPENDED, TenantState::Suspended).unwrap();
    world.ticket(SUSPENDED).await.unwrap_err();
    world.clock.advance(Duration::from_secs(20));
    world
}

pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    raw_at(address, request.as_bytes()).await
}

async fn status(world: &World, query: &str) -> Value {
    let answer = get(world.admin(), &format!("/status.json{query}")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

async fn tenant(world: &World, name: &str) -> Value {
    let mut status = status(world, &format!("?prefix={name}&limit=1")).await;
    status["tenants"]["items"][0].take()
}

async fn ticket_of(world: &World, name: &str) -> Value {
    tenant(world, name).await["ticket"].take()
}

fn is_kept_alive(ticket: &Value) -> bool {
    ticket["proven_time"].as_str() > ticket["issue_time"].as_str()
}

fn names(status: &Value) -> Vec<&str> {
    let items = status["tenants"]["items"].as_array().unwrap().iter();
    items.map(|item| item["context_identifier"].as_str().unwrap()).collect()
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
    Instant::now()
}

#[tokio::test]
async fn the_status_tells_how_this_replica_and_its_tenants_do() {
    let world = troubled().await;
    let told = status(&world, "").await;
    let replica = &told["replica"];
    assert_eq!((&replica["readiness"], &replica["is_ready"]), (&json!("ready"), &json!(true)));
    assert_eq!(replica["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&replica["environment"], &replica["database"]), (&json!("sod"), &json!("SQLite")));
    assert!(replica["uptime_seconds"].as_u64().unwrap() > 50 * 3_600);
    assert_eq!(told["upstreams"]["login"]["is_circuit_open"], false);
    assert_eq!(names(&told), [TENANT, REVOKED, UNSTEADY, SUSPENDED, "Cust20004"]);
    assert_eq!(told["tenants"]["next"], Value::Null);
    let items = told["tenants"]["items"].as_array().unwrap();
    let conditions: Vec<_> = items.iter().map(|item| item["condition"].as_str().unwrap()).collect();
    assert_eq!(conditions, ["served", "fails", "renewal_fails", "not_running", "idle"]);

    // A ticket that was kept alive: as old as its exchange, as good as its last proof.
    let ticket = &items[0]["ticket"];
    assert!(is_kept_alive(ticket), "{ticket}");
    assert!(ticket["next_renewal_time"].is_string() && ticket["fingerprint"].is_string(), "{ticket}");
    let fingerprint = world.ticket(TENANT).await.unwrap().fingerprint;
    assert_eq!(ticket["fingerprint"], fingerprint);
    let failure = &items[1]["last_failure"];
    assert_eq!((&failure["reason"], &failure["in_a_row"]), (&json!("TENANT_AUTHORIZATION_REVOKED"), &json!(1)));
    assert_eq!(failure["is_over"], false);
    assert_eq!(items[2]["last_failure"]["reason"], "UPSTREAM_UNAVAILABLE");
    assert_eq!(items[3]["state"], "Suspended");
    assert_eq!(items[4]["ticket"], Value::Null);
    assert_eq!(told["failing_tenants"]["total"], 3);

    // What is over is remembered as such, and what somebody changes is forgotten.
    world.sandbox.clear_behaviours();
    world.clock.advance(Duration::from_mins(2));
    world.ticket(REVOKED).await.unwrap();
    let mended = tenant(&world, REVOKED).await;
    assert_eq!((&mended["condition"], &mended["last_failure"]["is_over"]), (&json!("served"), &json!(true)));
    world.delete_tenant(REVOKED).await;
    let told = status(&world, "").await;
    assert!(!names(&told).contains(&REVOKED) && !told.to_string().contains(REVOKED), "{told}");
}

#[tokio::test]
async fn the_pages_show_the_same_and_hold_what_is_typed_for_text() {
    let world = troubled().await;
    let page = get(world.admin(), "/").await;
    assert_eq!(page.heading(), "Ready");
    for shown in [TENANT, "TENANT_AUTHORIZATION_REVOKED", "renewal fails", "Suspended", "closed", "Next"] {
        assert_eq!(page.body.contains(shown), shown != "Next", "{shown}: {}", page.body);
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));

    let of_tenant = get(world.admin(), "/tenants/cust12345").await;
    assert_eq!((of_tenant.status, of_tenant.heading()), (200, TENANT), "as it is registered");
    assert!(of_tenant.body.contains("Next renewal"));
    for nobody in ["/tenants/Cust999", "/tenants/%3Cscript%3E", "/tenants/%ff", "/tenants/1"] {
        let answer = get(world.admin(), nobody).await;
        assert_eq!(answer.status, 404, "{nobody}");
        assert!(answer.body.contains("It is not registered here"), "{}", answer.body);
    }
    let typed = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for (target, status) in [
        (format!("/?prefix={typed}"), 400),
        (format!("/?after={typed}"), 400),
        (format!("/status.json?prefix={typed}"), 400),
        ("/?prefix=%ff%00&limit=-1".to_owned(), 400),
        (format!("/?{typed}=1"), 200),
        ("/?prefix=Cust2&after=Cust1".to_owned(), 200),
        ("/?prefix=Nobody".to_owned(), 200),
    ] {
        let answer = get(world.admin(), &target).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(!answer.body.contains("<script") && !answer.body.contains("alert"), "{target}: {}", answer.body);
    }
    let selected = status(&world, "?prefix=CUST2&after=Cust1&limit=3").await;
    assert_eq!(names(&selected), [REVOKED, UNSTEADY, SUSPENDED]);
    assert_eq!(selected["tenants"]["next"], SUSPENDED);
}

#[tokio::test]
async fn upstreams_that_fail_are_told() {
    let world = World::builder().admin_port().start().await;
    for number in 1..=5 {
        world.add_tenant(&format!("Cust{number}")).await;
    }
    world.sandbox.set_behaviour(Behaviour::Throttled("90".to_owned()).at(Endpoint::Exchange));
    world.ticket("Cust1").await.unwrap_err();
    let throttled = status(&world, "").await;
    assert_eq!(throttled["upstreams"]["login"]["wait_seconds"], 90, "{throttled}");
    assert!(get(world.admin(), "/").await.body.contains("wants us to wait 1 min"));
}

#[tokio::test]
async fn certificates_are_told_with_their_end() {
    let mesh = Mesh::under(POLICY).await;
    let told: Value = serde_json::from_str(&get(mesh.admin(), "/status.json").await.body).unwrap();
    let told: Vec<_> = told["certificates"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(told, ["ticketd's certificate", "callers' authorities of corp"]);
    let page = get(mesh.admin(), "/").await.body;
    assert!(page.contains("ticketd's certificate") && !page.contains("do not come over TLS"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_tell_who_has_a_lease_and_what_is_in_the_database() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.create_database().await;
    let world = World::builder().admin_port().config(move |config| config.store.url.clone_from(&url)).start().await;
    let other = world.replica().await;
    other.ticket(TENANT).await.unwrap();
    world.add_tenant("Cust1").await;
    let shown = tenant(&world, TENANT).await;
    assert_eq!((&shown["condition"], &shown["ticket"]), (&json!("idle"), &Value::Null), "the other replica has it");
    assert!(shown["shared"]["expire_time"].is_string(), "{shown}");

    let hanging = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let (address, name) = (other.address(), "Cust1");
    let call = tokio::spawn(async move { crate::world::ticket_at(address, name, None).await });
    let sandbox = &world.sandbox;
    eventually("the exchange is under way", || sandbox.requests(Endpoint::Exchange) >= 2).await;
    let theirs = tenant(&world, name).await;
    let holder = theirs["shared"]["lease_holder"].as_str().unwrap();
    assert_eq!(theirs["shared"]["is_lease_ours"], false);
    assert!(get(world.admin(), "/").await.body.contains(&format!("lease held by replica <code>{holder}</code>")));
    let told_by_itself = get(other.admin(), "/status.json").await.body;
    assert!(told_by_itself.contains(&format!("\"name_in_leases\": \"{holder}\"")), "{told_by_itself}");
    assert!(get(other.admin(), "/").await.body.contains("lease held by this replica"));
    world.sandbox.clear_behaviour(hanging);
    within(call).await.unwrap().unwrap();
}

#[tokio::test]
async fn while_the_store_is_away_the_page_shows_the_rest() {
    let world = World::builder().admin_port().start().await;
    let mut database = database(&world).await;
    sqlx::query("ALTER TABLE tenants RENAME TO elsewhere").execute(&mut database).await.unwrap();
    let page = get(world.admin(), "/").await;
    assert_eq!((page.status, page.heading()), (200, "Ready"));
    assert!(page.body.contains("The tenants cannot be read."), "{}", page.body);
    assert_eq!(status(&world, "").await["tenants"], json!({ "error": "STORE_UNAVAILABLE" }));
    let of_tenant = get(world.admin(), "/tenants/Cust12345").await;
    assert_eq!(of_tenant.status, 503);
    for detail in ["sqlite", "ticketd.db", "no such table"] {
        assert!(!page.body.contains(detail) && !of_tenant.body.contains(detail), "{detail}");
    }
}

async fn database(world: &World) -> SqliteConnection {
    let url = world.config().store.url;
    let file = url.strip_prefix("sqlite://").unwrap();
    SqliteConnectOptions::new().filename(file).connect().await.unwrap()
}

/// Registers Cust100000 to Cust199999 by SQL. Those that the test looks at have tokens that open: to seal the others would
/// take longer than the test does.
async fn register_a_hundred_thousand(world: &World) {
    let key = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/sealing.key")).unwrap();
    let keys = KeyRing::new(SealingKey::read(&key).unwrap(), Vec::new());
    let application = ApplicationId::new("app");
    let looked_at = (0..=1_000).chain(50_001..=50_051).chain([77_777]).chain(99_990..=99_999);
    let rows: Vec<_> = looked_at
        .map(|number| {
            let tenant = format!("cust{}", 100_000 + number);
            let row = [tenant.as_str()];
            let column = "tenants.system_user_token";
            let place = Place {
                environment: Environment::Sod,
                application: &application,
                row: &row,
                column,
                schema_version: 1,
            };
            let token = keys.seal(format!("Application-{number:010}").as_bytes(), &place).unwrap();
            let token = token.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            json!([tenant, token])
        })
        .collect();
    let every = "WITH RECURSIVE numbers (n) AS (SELECT 100000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 199999) \
         INSERT INTO tenants SELECT 'cust' || n, 'Cust' || n, unhex(?1 ->> '$[0][1]'), ?2, ?2 FROM numbers";
    let of_those =
        "UPDATE tenants SET system_user_token = unhex(value ->> 1) FROM json_each(?1) WHERE tenant = value ->> 0";
    let (rows, time) = (Value::from(rows).to_string(), world.clock_now().to_string());
    let mut database = database(world).await;
    sqlx::query(every).bind(&rows).bind(time).execute(&mut database).await.unwrap();
    sqlx::query(of_those).bind(&rows).execute(&mut database).await.unwrap();
}

#[tokio::test]
async fn a_hundred_thousand_tenants_are_paged_and_searched_without_reading_them_all() {
    let world = World::builder().admin_port().start().await;
    let begun = now();
    register_a_hundred_thousand(&world).await;
    println!("100,000 tenants registered in {:?}", begun.elapsed());
    let mut slowest = Duration::ZERO;
    for (what, target, contained) in [
        ("first page", "/", "Cust100049"),
        ("page in the middle", "/?after=Cust150000", "Cust150050"),
        ("search by a long prefix", "/?prefix=cust19999", "Cust199999"),
        ("search by a short prefix", "/?prefix=C", "Cust100049"),
        ("search in vain", "/?prefix=Custx", "There are no others"),
        ("tenant", "/tenants/Cust177777", "<h1>Cust177777</h1>"),
        ("1,000 for programs", "/status.json?limit=1000", "Cust100999"),
    ] {
        let begun = now();
        let answer = get(world.admin(), target).await;
        let took = begun.elapsed();
        slowest = slowest.max(took);
        println!("{what}: {took:?}, {} bytes", answer.body.len());
        assert!(answer.body.contains(contained), "{what}: {}", answer.body);
        assert!(answer.body.len() < 1_000_000, "{what}");
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let last = status(&world, "?prefix=Cust1999&after=Cust199990").await;
    assert_eq!((names(&last).len(), &last["tenants"]["next"]), (9, &Value::Null));
}
