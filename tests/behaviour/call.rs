//! `ticketd call`: the program itself as a client of the server under test, with time in the test's hand.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use superoffice_sandbox::{Behaviour, Caller, CannedAnswer, Endpoint, Refusal, TenantState};
use tempfile::TempDir;
use ticketd::grpc::proto::authorization_service_client::AuthorizationServiceClient;
use ticketd::grpc::proto::{CreateAuthorizationUrlRequest, ExchangeAuthorizationCodeRequest};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use url::Url;

use crate::world::{CALLBACK, TENANT, World, within};

const PRINCIPAL: &str = "v1/User/currentPrincipal";

/// A directory with the configuration of the world's server.
struct Desk {
    world: World,
    directory: TempDir,
    address: String,
}

#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    output: String,
    errors: String,
}

impl Outcome {
    fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap()
    }

    /// The lines of `--all` by tenant.
    fn lines(&self) -> BTreeMap<String, Value> {
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["context_identifier"].as_str().unwrap().to_owned(), line)
        };
        self.output.lines().map(line).collect()
    }
}

impl Desk {
    async fn new() -> Self {
        let (world, directory) = (World::start().await, tempfile::tempdir().unwrap());
        let sandbox = &world.sandbox;
        let write = |name: &str, content: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, content).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("client-secret", sandbox.client_secret());
        write("sealing.key", include_str!("../fixtures/keys/sealing.key"));
        write("private-key.pem", sandbox.partner_private_key_pem().unwrap());
        let config = format!(
            "[superoffice]\nenvironment = \"sod\"\nclient_id = {:?}\nclient_secret_file = \"client-secret\"\n\
             signing_key_files = [\"private-key.pem\"]\nallow_custom_base_url = true\nbase_url = {:?}\n\
             [store]\nurl = \"sqlite://unused.db\"\nsealing_key_files = [\"./sealing.key\"]\n\
              [server]\nallow_unidentified_callers = true\n",
            sandbox.client_id(),
            sandbox.base_url()
        );
        write("ticketd.toml", &config);
        let address = format!("http://{}", world.address());
        Self { world, directory, address }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticketd"));
        command
            .args(["call", "--config", "ticketd.toml", "--address", &self.address])
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn call(&self, arguments: &[&str]) -> Outcome {
        let output = within(self.command(arguments).output()).await.unwrap();
        let outcome = Outcome {
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        };
        for secret in ["7T:", "8A:", self.world.sandbox.client_secret()] {
            assert!(!outcome.output.contains(secret) && !outcome.errors.contains(secret), "{outcome:?}");
        }
        outcome
    }

    fn web_api_requests(&self) -> u64 {
        self.world.sandbox.requests(Endpoint::WebApi)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_goes_to_stdout_as_it_is_and_the_status_to_stderr() {
    let desk = Desk::new().await;
    let body = "{ \"Name\" :\t\"Acme\",\r\n \"é\": 1.0 }\n".to_owned();
    let odd = Behaviour::Answer(CannedAnswer { status: 200, body: body.clone() });
    let odd = desk.world.sandbox.set_behaviour(odd.at(Endpoint::WebApi));
    let outcome = desk.call(&[TENANT, "get", PRINCIPAL]).await;
    assert_eq!((outcome.code, outcome.output.as_str()), (Some(0), body.as_str()));
    assert_eq!(outcome.errors, format!("Cust12345: 200 (application/json; charset=utf-8, {} bytes)\n", body.len()));
    desk.world.sandbox.clear_behaviour(odd);
    let outcome = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
    assert_eq!(outcome.json()["DatabaseContextIdentifier"], TENANT);
    assert_eq!(desk.world.sandbox.exchanges(TENANT), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn companies_are_made_of_an_argument_a_file_and_stdin() {
    let desk = Desk::new().await;
    std::fs::write(desk.directory.path().join("contact.json"), r#"{"Name":"From a file"}"#).unwrap();
    let post = [TENANT, "POST", "v1/Contact", "--data"];
    for data in [r#"{"Name":"From an argument"}"#, "@contact.json"] {
        let outcome = desk.call(&[&post[..], &[data]].concat()).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    let mut command = desk.command(&[&post[..], &["-"]].concat());
    let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(br#"{"Name":"From stdin"}"#).await.unwrap();
    assert!(within(process.wait()).await.unwrap().success());
    let contacts = desk.world.sandbox.contacts(TENANT);
    let names: Vec<&str> = contacts.iter().map(|contact| contact.name.as_str()).collect();
    assert_eq!(names, ["From an argument", "From a file", "From stdin"]);
    assert!(contacts.iter().all(|contact| contact.created_by == Caller::SystemUser));
    let list = desk.call(&[TENANT, "GET", "v1/Contact?$select=name"]).await;
    assert_eq!(list.json()["value"].as_array().unwrap().len(), 3);
    let missing = desk.call(&[&post[..], &["@missing.json"]].concat()).await;
    assert_eq!((missing.code, missing.output.as_str()), (Some(1), ""), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_ticket_is_replaced_once() {
    let desk = Desk::new().await;
    for (status, exchanges) in [(401, 2), (403, 3)] {
        desk.world.sandbox.change_settings(|settings| settings.stale_ticket_status = status);
        assert_eq!(desk.call(&[TENANT, "GET", PRINCIPAL]).await.code, Some(0));
        desk.world.clock.advance(Duration::from_secs(31));
        assert_eq!(desk.world.sandbox.revoke_tickets(TENANT), 1);
        let outcome = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(desk.world.sandbox.exchanges(TENANT), exchanges);
    }
    // Whatever ticket comes, this API refuses it: one more try, and the refusal is passed on.
    desk.world.clock.advance(Duration::from_secs(31));
    desk.world.sandbox.set_behaviour(Behaviour::Status(401).at(Endpoint::WebApi));
    let before = desk.web_api_requests();
    let outcome = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
    assert_eq!((outcome.code, desk.web_api_requests() - before), (Some(77), 2), "{outcome:?}");
    assert!(outcome.errors.starts_with("Cust12345: 401 ("), "{}", outcome.errors);
    // The new ticket is seconds old, so there is no other one to try.
    let outcome = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
    assert_eq!((outcome.code, desk.web_api_requests() - before), (Some(77), 3), "{outcome:?}");
    assert_eq!(desk.world.sandbox.exchanges(TENANT), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_has_moved_is_found_and_keeps_its_ticket() {
    let desk = Desk::new().await;
    assert_eq!(desk.call(&[TENANT, "GET", PRINCIPAL]).await.code, Some(0));
    desk.world.sandbox.move_tenant(TENANT, 1).unwrap();
    let before = desk.web_api_requests();
    let outcome = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
    assert_eq!((outcome.code, desk.web_api_requests() - before), (Some(0), 2), "{outcome:?}");
    assert_eq!(desk.world.sandbox.exchanges(TENANT), 1);
    // Nobody knows where it is: the answer is passed on.
    desk.world.sandbox.set_behaviour(Behaviour::Status(421).at(Endpoint::WebApi));
    let outcome = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
    assert_eq!(outcome.code, Some(4), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_what_went_wrong() {
    let mut desk = Desk::new().await;
    for (behaviour, code) in [
        (Behaviour::Status(404), 4),
        (Behaviour::Redirect("https://evil.example/".to_owned()), 4),
        (Behaviour::Status(500), 5),
        (Behaviour::Status(502), 5),
        (Behaviour::Status(503), 69),
        (Behaviour::Throttled("30".to_owned()), 69),
        (Behaviour::Drop, 69),
        (Behaviour::TruncatedBody, 69),
        (Behaviour::HugeBody(1 << 30), 1),
    ] {
        let knob = desk.world.sandbox.set_behaviour(behaviour.clone().at(Endpoint::WebApi));
        let outcome = desk.call(&[TENANT, "GET", PRINCIPAL, "--max-answer", "1"]).await;
        assert_eq!(outcome.code, Some(code), "{behaviour:?}: {outcome:?}");
        desk.world.sandbox.clear_behaviour(knob);
    }
    let before = desk.world.sandbox.total_exchanges();
    for (arguments, code) in [
        (&["Cust404", "GET", PRINCIPAL][..], 77),
        (&[TENANT, "GET", PRINCIPAL, "--user", "nobody@example.com"], 77),
        (&[TENANT, "BREW", PRINCIPAL], 64),
        (&[TENANT, "GET", "../../Cust2/api/v1/Contact"], 64),
        (&[TENANT, "GET", "https://evil.example/"], 64),
        (&[TENANT, "GET"], 64),
        (&["GET"], 64),
        (&["no tenant", "GET", PRINCIPAL], 64),
        (&["--all", TENANT, "GET", PRINCIPAL], 64),
        (&["--all", "GET", PRINCIPAL, "--user", "x@example.com"], 64),
        (&[TENANT, "GET", PRINCIPAL, "--concurrency", "2"], 64),
        (&[TENANT, "GET", PRINCIPAL, "--content-type", "a\r\nb"], 64),
    ] {
        let outcome = desk.call(arguments).await;
        assert_eq!((outcome.code, outcome.output.as_str()), (Some(code), ""), "{arguments:?} {outcome:?}");
    }
    assert_eq!(desk.world.sandbox.total_exchanges(), before, "what cannot be sent costs no ticket");
    assert_eq!(before, 1);
    desk.address = "http://127.0.0.1:1".to_owned();
    assert_eq!(desk.call(&[TENANT, "GET", PRINCIPAL]).await.code, Some(69));
    assert_eq!(desk.call(&["--all", "GET", PRINCIPAL]).await.code, Some(69));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticketd_that_says_nothing_is_not_waited_for_longer_than_told() {
    let mut desk = Desk::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    desk.address = format!("http://{}", silent.local_addr().unwrap());
    for target in [TENANT, "--all"] {
        let outcome = desk.call(&[target, "GET", PRINCIPAL, "--timeout", "200ms"]).await;
        assert_eq!((outcome.code, outcome.output.as_str()), (Some(69), ""), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_does_not_run_is_not_called() {
    let desk = Desk::new().await;
    desk.world.sandbox.set_tenant_state(TENANT, TenantState::Suspended).unwrap();
    let suspended = desk.call(&[TENANT, "GET", PRINCIPAL]).await;
    assert_eq!((suspended.code, desk.web_api_requests()), (Some(77), 0), "{suspended:?}");
    let skipped = desk.call(&["--all", "GET", PRINCIPAL]).await;
    assert_eq!((skipped.code, desk.web_api_requests()), (Some(0), 0), "{skipped:?}");
    assert!(skipped.lines()[TENANT]["skipped"].is_string(), "{skipped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_access_token_is_used_and_replaced_when_it_is_refused() {
    let desk = Desk::new().await;
    let world = &desk.world;
    let mut authorization = AuthorizationServiceClient::new(world.channel());
    let begin = CreateAuthorizationUrlRequest { redirect_uri: CALLBACK.to_owned(), ..Default::default() };
    let url = within(authorization.create_authorization_url(begin)).await.unwrap().into_inner().authorization_url;
    let user = "admin@cust12345.example.com";
    let redirect: Url = world.sandbox.approve(&url, user).unwrap().parse().unwrap();
    let parameter = |wanted: &str| redirect.query_pairs().find(|(name, _)| name == wanted).unwrap().1.into_owned();
    let finish = ExchangeAuthorizationCodeRequest { state: parameter("state"), code: parameter("code") };
    assert!(within(authorization.exchange_authorization_code(finish)).await.unwrap().into_inner().grant_kept);

    let post = [TENANT, "POST", "v1/Contact", "--user", user, "--data", r#"{"Name":"Acme"}"#];
    let outcome = desk.call(&post).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    // It expires at SuperOffice and not by ticketd's clock, as one that is revoked does.
    world.sandbox.clock().advance(Duration::from_hours(1));
    let before = world.sandbox.requests(Endpoint::Tokens);
    let outcome = desk.call(&post).await;
    assert_eq!(outcome.code, Some(77), "seconds old, it is not replaced: {outcome:?}");
    world.clock.advance(Duration::from_secs(5));
    let outcome = desk.call(&post).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(world.sandbox.requests(Endpoint::Tokens) - before, 1);
    assert_eq!(outcome.json()["CreatedBy"]["Name"], user);
    assert_eq!((world.sandbox.contacts(TENANT).len(), world.sandbox.exchanges(TENANT)), (2, 0));
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    assert_eq!(desk.call(&post).await.code, Some(0));
    // That SuperOffice does not know a tenant's state withholds nothing: its API is asked, which says 503 here.
    world.sandbox.set_tenant_state(TENANT, TenantState::Unknown).unwrap();
    let before = desk.web_api_requests();
    let outcome = desk.call(&post).await;
    assert_eq!((outcome.code, desk.web_api_requests() - before), (Some(69), 1), "{outcome:?}");
    world.sandbox.set_tenant_state(TENANT, TenantState::Suspended).unwrap();
    let outcome = desk.call(&post).await;
    assert_eq!((outcome.code, desk.web_api_requests() - before), (Some(77), 1), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenant_is_called_and_none_holds_up_another() {
    let desk = Desk::new().await;
    let sandbox = &desk.world.sandbox;
    for tenant in ["Cust1", "Cust2", "Cust3", "Cust4", "Cust5"] {
        desk.world.add_tenant(tenant).await;
    }
    sandbox.set_behaviour(Behaviour::Refused(Refusal::Code(1)).for_tenant("Cust1"));
    sandbox.set_tenant_state("Cust2", TenantState::Suspended).unwrap();
    sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::WebApi).for_tenant("Cust3"));
    sandbox.set_behaviour(Behaviour::Status(404).at(Endpoint::WebApi).for_tenant("Cust4"));
    let outcome = desk.call(&["--all", "GET", PRINCIPAL, "--timeout", "2s"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let lines = outcome.lines();
    assert_eq!(lines.len(), 6, "{}", outcome.output);
    for tenant in ["Cust5", TENANT] {
        let line = &lines[tenant];
        assert_eq!((&line["status"], &line["body"]["DatabaseContextIdentifier"]), (&json!(200), &json!(tenant)));
    }
    assert!(lines["Cust1"]["error"].as_str().unwrap().contains("TENANT_AUTHORIZATION_REVOKED"), "{lines:?}");
    assert!(lines["Cust2"]["skipped"].is_string(), "{lines:?}");
    assert_eq!(lines["Cust3"]["error"], "SuperOffice did not answer in time");
    assert_eq!(lines["Cust4"]["status"], 404);
    let summary = "6 tenants: 2 done, 3 failed, 1 skipped because they do not run\nticketd: 3 tenants failed\n";
    assert_eq!(outcome.errors, summary);

    sandbox.clear_behaviours();
    for tenant in ["Cust1", "Cust3", "Cust4"] {
        desk.world.delete_tenant(tenant).await;
    }
    let outcome = desk.call(&["--all", "GET", PRINCIPAL]).await;
    assert_eq!((outcome.code, outcome.output.lines().count()), (Some(0), 3), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_in_trouble_fail_no_other_on_their_host() {
    let desk = Desk::new().await;
    let sandbox = &desk.world.sandbox;
    for number in 1..=20 {
        desk.world.add_tenant(&format!("Cust{number}")).await;
    }
    sandbox.set_behaviour(Behaviour::Throttled("60".to_owned()).at(Endpoint::WebApi).for_tenant("Cust1"));
    for number in 10..18 {
        sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::WebApi).for_tenant(&format!("Cust{number}")));
    }
    let outcome = desk.call(&["--all", "GET", PRINCIPAL]).await;
    let lines = outcome.lines();
    let healthy = |tenant: &&String| *tenant != "Cust1" && !(10..18).any(|number| **tenant == format!("Cust{number}"));
    for tenant in lines.keys().filter(healthy) {
        assert_eq!(lines[tenant]["status"], 200, "{tenant}: {}", lines[tenant]);
    }
    println!("21 tenants on one host, 9 of them in trouble: {}", outcome.errors.lines().next().unwrap());
    assert_eq!(lines.keys().filter(healthy).count(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_listed_page_by_page_and_called_some_at_a_time() {
    let desk = Desk::new().await;
    let sandbox = &desk.world.sandbox;
    for number in 1..=119 {
        desk.world.add_tenant(&format!("Cust{number}")).await;
    }
    sandbox.set_behaviour(Behaviour::Slow(Duration::from_millis(20)).at(Endpoint::WebApi));
    let outcome = desk.call(&["--all", "GET", PRINCIPAL, "--concurrency", "5"]).await;
    assert_eq!((outcome.code, outcome.lines().len()), (Some(0), 120), "{}", outcome.errors);
    assert_eq!(sandbox.total_exchanges(), 120);
    let peak = sandbox.peak_concurrency_at(Endpoint::WebApi);
    println!("120 tenants called with at most 5 at once: {peak} at the most");
    assert!((2..=5).contains(&peak), "{peak}");
    let again = desk.call(&["--all", "GET", PRINCIPAL]).await;
    assert_eq!((again.code, sandbox.total_exchanges()), (Some(0), 120), "another pass exchanges nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new().await;
    desk.world.add_tenant("Cust1").await;
    for arguments in [&[TENANT, "GET", PRINCIPAL][..], &["--all", "GET", PRINCIPAL]] {
        let mut process = desk.command(arguments).spawn().unwrap();
        drop(process.stdout.take());
        let output = within(process.wait_with_output()).await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !errors.contains("panic"), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_shown_on_a_terminal_alone() {
    let desk = Desk::new().await;
    let silent = desk.call(&["--all", "GET", PRINCIPAL]).await;
    assert_eq!(silent.errors, "1 tenants: 1 done, 0 failed, 0 skipped because they do not run\n");

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let stderr = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = desk.command(&["--all", "GET", PRINCIPAL]);
    command.env("TERM", "xterm").stderr(stderr);
    let process = command.spawn().unwrap();
    // The process alone holds the other end from now on.
    drop(command);
    let shown = tokio::task::spawn_blocking(move || {
        let (mut shown, mut bytes) = (Vec::new(), [0; 1024]);
        let mut terminal = std::fs::File::from(terminal);
        // Linux ends a terminal without a writer by an error.
        while let Ok(read @ 1..) = terminal.read(&mut bytes) {
            shown.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let output = within(process.wait_with_output()).await.unwrap();
    let shown = within(shown).await.unwrap();
    assert!(shown.contains(" of 1 tenants") && shown.contains("1 tenants: 1 done"), "{shown}");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &line["status"]), (Some(0), &json!(200)));
}
