//! A server that cannot start says why and what to do, and ends at once.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::{ConnectOptions, Connection};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::place::{Outcome, Place, Running, finish, health, ticket, until, within};

const AT_ONCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_address_in_use_is_named() {
    let place = Place::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for key in ["server.address", "server.health_address"] {
        place.configure(key, &format!("\"{}\"", taken.local_addr().unwrap()));
        let address = taken.local_addr().unwrap();
        fails(&place, 1, &[&format!("{key} {address} cannot be listened on: Address already in use")]).await;
        place.configure(key, "\"127.0.0.1:0\"");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_named_with_what_to_do() {
    let place = Place::new().await;
    let url = |name: &str| format!("\"sqlite://{}\"", place.path(name).display());

    place.configure("url", &url("missing/ticketd.db"));
    fails(&place, 64, &["store.url (line ", "missing: No such file or directory"]).await;

    // Not even root can make a file there.
    place.configure("url", "\"sqlite:///proc/ticketd.db\"");
    fails(&place, 1, &["/proc/ticketd.db cannot be created: ", "must exist and be writable for ticketd"]).await;

    place.configure("url", &url("directory"));
    fs::create_dir(place.path("directory")).unwrap();
    fails(&place, 1, &["directory is a directory or device: name a file in store.url"]).await;

    place.configure("url", &url("garbage.db"));
    place.write("garbage.db", &"garbage ".repeat(1_000));
    fails(&place, 1, &["garbage.db is no SQLite database: name another file in store.url, or restore a backup"]).await;
    assert_eq!(fs::read_to_string(place.path("garbage.db")).unwrap(), "garbage ".repeat(1_000), "it is left alone");

    place.configure("url", &url("foreign.db"));
    database(&place, "foreign.db", "CREATE TABLE theirs (a)").await;
    fails(&place, 1, &["foreign.db is another program's database"]).await;

    place.configure("url", &url("newer.db"));
    place.output(&["tenants", "list"]).await;
    let newer = "INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 1)";
    database(&place, "newer.db", newer).await;
    fails(
        &place,
        1,
        &["was written by a newer ticketd (layout 99, this one knows ", "): run that version or restore a backup"],
    )
    .await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_named() {
    let place = Place::new().await;
    place.configure("signing_key_files", "[\"/nonexistent/key.pem\", \"./garbage.pem\"]");
    place.write("garbage.pem", "garbage");
    fails(&place, 64, &["cannot read /nonexistent/key.pem: No such file", "./garbage.pem is no usable signing key"])
        .await;
}

#[tokio::test]
async fn addresses_that_others_can_reach_and_bad_filters_are_refused() {
    let place = Place::new().await;
    place.configure("server.address", "\"0.0.0.0:8443\"");
    place.configure("log_filter", "\"ticketd=loud\"");
    let expected = ["server.address (line ", "loopback interface", "is no log filter: ", "give one like"];
    fails(&place, 64, &expected).await;
}

#[tokio::test]
async fn a_machine_without_certificate_authorities_is_told_what_is_missing() {
    let place = Place::new().await;
    // SuperOffice itself: the sandbox on plain HTTP needs none.
    let text = fs::read_to_string(place.path("ticketd.toml")).unwrap();
    place.write("ticketd.toml", &text.replace("\nbase_url", "\n# base_url"));
    for (variable, value) in [
        ("SSL_CERT_FILE", PathBuf::from("/nonexistent")),
        ("SSL_CERT_DIR", PathBuf::from("/nonexistent")),
        ("SSL_CERT_FILE", place.path("ticketd.toml")),
    ] {
        let mut command = place.ticketd(["serve"]);
        command.env(variable, value);
        let Outcome { code, output: _, errors } = finish(command).await;
        assert_eq!(code, Some(1), "{variable}: {errors}");
        assert!(errors.contains("are the system's root certificates (ca-certificates) installed?"), "{errors}");
    }
}

#[tokio::test]
async fn closed_streams_stop_nothing() {
    let place = Place::new().await;
    place.put_tenant().await;
    place.configure("health_address", &format!("\"127.0.0.1:{}\"", free_port().await));
    let health_address = configured_health_address(&place);
    let mut command = place.shell("exec ticketd serve <&- >&- 2>&-");
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_it_says(health_address, "readiness").await;
    let id = rustix::process::Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    assert_eq!(within(process.wait()).await.unwrap().code(), Some(0));

    let closed = finish(place.shell("ticketd check-config >&- 2>&-")).await;
    assert_eq!((closed.code, closed.output, closed.errors), (Some(0), String::new(), String::new()));
    // Those who read the result must not take half of it for the whole.
    let full = finish(place.shell("ticketd check-config > /dev/full")).await;
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.errors.contains("cannot write the output: No space left on device"), "{full:?}");
    let left = finish(place.shell("ticketd tenants list | true")).await;
    assert_eq!((left.code, left.errors.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stderr_that_nobody_reads_any_more_ends_nothing() {
    let place = Place::new().await;
    place.put_tenant().await;
    let port = free_port().await;
    place.configure("health_address", &format!("\"127.0.0.1:{port}\""));
    let mut process = place.ticketd(["serve"]).spawn().unwrap();
    drop(process.stderr.take());
    until_it_says(configured_health_address(&place), "readiness").await;
    assert!(process.try_wait().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_starts_it_is_alive_and_not_ready_and_heeds_signals() {
    let place = Place::new().await;
    place.put_tenant().await;
    place.configure("health_address", &format!("\"127.0.0.1:{}\"", free_port().await));
    let health_address = configured_health_address(&place);
    let file = place.path("ticketd.db");
    let mut lock = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();

    let starting = tokio::spawn(Running::start(place.ticketd(["serve"])));
    until_it_says(health_address, "liveness").await;
    assert_eq!(health(health_address, "readiness").await.unwrap(), ServingStatus::NotServing);
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    let mut server = within(starting).await.unwrap();
    assert_eq!(health(health_address, "readiness").await.unwrap(), ServingStatus::Serving);
    ticket(&mut server.tickets()).await.unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));

    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let mut process = place.ticketd(["serve"]).spawn().unwrap();
    until_it_says(health_address, "liveness").await;
    let id = rustix::process::Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    assert_eq!(within(process.wait()).await.unwrap().code(), Some(0));
    lock.close().await.unwrap();
}

/// Starts a server that must fail at once, with these words.
async fn fails(place: &Place, code: i32, expected: &[&str]) {
    let began = Instant::now();
    let outcome = place.run(&["serve"]).await;
    let took = began.elapsed();
    let Outcome { code: actual, output, errors } = &outcome;
    assert_eq!((*actual, output.as_str()), (Some(code), ""), "{errors}");
    for words in expected {
        assert!(errors.contains(words) || errors.contains(&words.replace('"', "\\\"")), "{words} in {errors}");
    }
    assert!(took < AT_ONCE, "{took:?}");
    assert!(!errors.contains("panicked"), "{errors}");
}

async fn database(place: &Place, name: &str, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.path(name)).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// For a server that cannot say where it listens.
async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn configured_health_address(place: &Place) -> SocketAddr {
    let text = fs::read_to_string(place.path("ticketd.toml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("health_address = ")).unwrap();
    line.trim_matches('"').parse().unwrap()
}

async fn until_it_says(health_address: SocketAddr, service: &str) {
    until(async || health(health_address, service).await.ok() == Some(ServingStatus::Serving)).await;
}
