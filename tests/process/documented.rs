//! The commands that the documents show, run as they stand there.

use crate::place::{Place, Running, TENANT, finish};

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const CALLING: &str = include_str!("../../docs/calling.md");
const INSTALL: &str = include_str!("../../docs/install.md");
const UPGRADING: &str = include_str!("../../docs/upgrading.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");
const STATUS: &str = include_str!("../../src/grpc/status.rs");

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_way_leads_to_a_ticket() {
    let shown = run_all(README).await;
    assert!(shown.contains("The configuration is good."), "{shown}");
    assert!(shown.contains("Cust12345 is registered"), "{shown}");
    assert!(shown.contains("state:        running"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_commands_work() {
    run_all(OPERATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_installation_is_what_its_page_says() {
    let shown = run_all(INSTALL).await;
    assert!(shown.contains("SERVING") && shown.contains("state:        running"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_an_upgrade_work() {
    let shown = run_all(UPGRADING).await;
    assert!(shown.contains(concat!("ticketd ", env!("CARGO_PKG_VERSION"))) && shown.contains("SERVING"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_look_for_trouble_work() {
    let place = Place::new().await;
    let token = place.path("cust12345.token");
    place.output(&["tenants", "put", TENANT, "--token-file", token.to_str().unwrap()]).await;
    let shown = run_all_at(&place, TROUBLESHOOTING).await;
    assert!(shown.contains("state:        running"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_call_web_services_work() {
    let shown = run_all(CALLING).await;
    assert_eq!(shown.matches("\"ContactId\":").count(), 4, "{shown}");
    let all = shown.lines().last().unwrap();
    assert!(all.contains(r#""context_identifier":"Cust12345""#) && all.contains(r#""status":200"#), "{shown}");
}

#[test]
fn every_reason_that_a_call_can_be_refused_with_is_explained() {
    let is_reason = |text: &&str| text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let reasons: Vec<_> = STATUS.split('"').filter(is_reason).collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    for reason in reasons {
        assert!(OPERATIONS.contains(&format!("`{reason}`")), "{reason}");
    }
}

/// Runs each `$ ticketd …` line of a document in its order, and answers what they print. Each must succeed.
async fn run_all(document: &str) -> String {
    run_all_at(&Place::new().await, document).await
}

async fn run_all_at(place: &Place, document: &str) -> String {
    let commands: Vec<_> = document.lines().filter_map(|line| line.strip_prefix("$ ")).filter(is_ours).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let (mut shown, mut server) = (String::new(), None::<Running>);
    for command in commands {
        let addressed = server.as_ref().map_or_else(
            || command.to_owned(),
            |server| {
                let command = command.replace("http://127.0.0.1:8443", &server.url());
                command.replace("http://127.0.0.1:8081", &server.health_url())
            },
        );
        if command.contains("ticketd serve") {
            server = Some(Running::start(place.shell(&format!("exec {}", addressed.trim_end_matches('&')))).await);
            continue;
        }
        let outcome = finish(place.shell(&addressed)).await;
        assert_eq!(outcome.code, Some(0), "{command}: {outcome:?}");
        shown.push_str(&outcome.output);
    }
    shown
}

fn is_ours(command: &&str) -> bool {
    let starts = ["ticketd ", "cat ", "TICKETD_"];
    starts.iter().any(|start| command.starts_with(start)) && command.contains("ticketd ")
}
